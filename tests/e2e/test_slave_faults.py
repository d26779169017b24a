"""Slaves vanish, freeze and come back: each frame counts once, from the attempt that holds."""

import signal

import pytest

from tests.e2e.commands import FILES, GATED
from tests.e2e.farm import Farm, counted_once
from tests.e2e.processes import signal_pod

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


def test_slave_pod_deleted_in_mid_frame(farm: Farm) -> None:
    farm.session()
    farm.job(command=GATED, frames="1-4", output={"files": FILES})
    lost = farm.wait_rendering(2)[0]["metadata"]["name"]
    farm.delete("Pod", lost, body={"gracePeriodSeconds": 0})
    farm.wait("that node ended", lambda: farm.node_phase(lost) in (None, "Ended"))
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-4")
    assert len(farm.outputs()) == 4


def test_slave_frozen_past_its_lease_and_thawed(farm: Farm) -> None:
    """The thawed slave is told to drop its attempt; its files never replace the accepted ones."""
    farm.session()
    command = f'{GATED}; echo "by $HOSTNAME" >> "out.$(printf %04d "$DRQUEUE_FRAME")"'
    farm.job(command=command, frames="1-2", output={"files": FILES})
    frozen = farm.wait_rendering(2)[0]
    pod = farm.get("Pod", frozen["metadata"]["name"])
    assert pod is not None
    signal_pod(pod, signal.SIGSTOP)
    farm.wait(
        "the frozen slave's lease given away",
        lambda: [
            frame
            for frame in farm.frames(check=False).values()
            if frame["attempts"][0]["result"] == "lost"
        ],
    )
    farm.open_gate()
    farm.wait_succeeded(2)
    signal_pod(pod, signal.SIGCONT)  # at once: it is not wanted any more, and killed in time
    accepted = farm.outputs_text()
    farm.wait_job()
    farm.wait("the thawed slave gone", lambda: farm.node_phase(pod["metadata"]["name"]) is None)
    assert farm.outputs_text() == accepted
    assert pod["metadata"]["name"] not in "".join(accepted.values())
    counted_once(farm.frames().values(), "1-2")

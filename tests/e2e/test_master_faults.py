"""The master dies in mid job: slaves render on, its successor goes on from the journal."""

import signal

import pytest

from tests.e2e.commands import FILES, GATED
from tests.e2e.farm import Farm, counted_once
from tests.e2e.processes import signal_pod

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


def _rendering(farm: Farm) -> None:
    farm.session()
    farm.job(command=GATED, frames="1-6", output={"files": FILES})
    farm.wait_rendering(2)


def _ends_well(farm: Farm) -> None:
    farm.open_gate()
    farm.wait_job()
    frames = farm.frames()
    counted_once(frames.values(), "1-6")
    assert sorted(farm.noted("started")) == [1, 2, 3, 4, 5, 6], frames  # none was started twice
    assert len(farm.outputs()) == 6


def test_master_killed(farm: Farm) -> None:
    _rendering(farm)
    pod = farm.master()
    signal_pod(pod, signal.SIGKILL, "drqueue-master")
    farm.wait("the master again", lambda: farm.restarted(pod))
    _ends_well(farm)


def test_master_pod_deleted(farm: Farm) -> None:
    _rendering(farm)
    pod = farm.master()
    farm.delete("Pod", pod["metadata"]["name"], body={"gracePeriodSeconds": 0})
    farm.wait(
        "another master",
        lambda: [
            p
            for p in farm.pods("master", "Running")
            if p["metadata"]["uid"] != pod["metadata"]["uid"]
        ],
    )
    _ends_well(farm)

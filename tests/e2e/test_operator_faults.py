"""The operator dies, the API server goes, the chart is upgraded: no frame is lost or done twice."""

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.commands import FILES, GATED, QUICK
from tests.e2e.conftest import Installed
from tests.e2e.farm import Farm, counted_once
from tests.e2e.processes import signal_pod

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


@pytest.fixture
def kill_operator(installed: Installed) -> Iterator[Callable[[], None]]:
    """Kill the operator that leads; the next test gets one that was never killed."""

    def kill() -> None:
        signal_pod(installed.operator_pod(), signal.SIGKILL, "drqueue-operator")

    yield kill
    installed.replace_operator()


def test_operator_killed_while_nodes_are_created(
    farm: Farm, kill_operator: Callable[[], None]
) -> None:
    farm.session(nodes=4)
    farm.job(command=GATED, frames="1-8", output={"files": FILES})
    farm.wait("a first node", lambda: farm.objects("RenderNode"))
    kill_operator()

    farm.wait_rendering(4)
    assert len(farm.objects("RenderNode")) == 4
    assert len(farm.pods("slave")) == 4
    farm.open_gate()
    farm.wait_job()
    frames = farm.frames()
    counted_once(frames.values(), "1-8")
    assert sorted(farm.noted("ended")) == list(range(1, 9)), frames


def test_operator_killed_while_frames_render(farm: Farm, kill_operator: Callable[[], None]) -> None:
    farm.session()
    farm.job(command=GATED, frames="1-4", output={"files": FILES})
    farm.wait_rendering(2)
    kill_operator()
    farm.open_gate()
    farm.wait_job()
    frames = farm.frames()
    counted_once(frames.values(), "1-4")
    assert sorted(farm.noted("started")) == [1, 2, 3, 4], frames  # none was started twice


def test_api_server_away_for_twenty_seconds(farm: Farm, installed: Installed) -> None:
    farm.session()
    farm.job(command=GATED, frames="1-4", output={"files": FILES})
    farm.wait_rendering(2)
    with installed.api_server_stopped(seconds=20):
        pass
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-4")
    assert sorted(farm.noted("started")) == [1, 2, 3, 4]


def test_chart_upgraded_while_rendering(farm: Farm, installed: Installed) -> None:
    farm.session()
    farm.job(command=GATED, frames="1-4", output={"files": FILES})
    farm.wait_rendering(2)
    before = {pod["metadata"]["uid"] for pod in farm.pods("slave")}
    installed.upgrade({"podAnnotations": {"test/upgraded": "yes"}})
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-4")
    assert sorted(farm.noted("started")) == [1, 2, 3, 4]
    assert before, "slaves were there before the upgrade"


def test_operator_goes_quiet(farm: Farm, installed: Installed) -> None:
    """With a job done and its session asleep, the operator writes its lease and nothing else."""
    farm.session()
    farm.job(command=QUICK, frames="1-2")
    farm.wait_job()
    farm.wait("the session asleep", lambda: not farm.pods("master") and not farm.pods("slave"))
    installed.wait_quiet(seconds=20)

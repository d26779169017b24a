"""Sessions, jobs and namespaces deleted in every phase: nothing is left but what policy keeps."""

from collections.abc import Callable

import pytest

from tests.e2e.commands import FILES, GATED, QUICK
from tests.e2e.farm import Farm, counted_once
from tests.e2e.waiting import wait

pytestmark = pytest.mark.e2e


def _pending(farm: Farm) -> None:
    farm.session(nodeClassName="no-such-class")
    farm.job(command=GATED, frames="1-4")
    farm.wait_condition("RenderSession", "show", reason="NodeClassNotFound")


def _launching(farm: Farm) -> None:
    farm.session()
    farm.job(command=GATED, frames="1-4")
    farm.wait("a node", lambda: farm.objects("RenderNode"))


def _rendering(farm: Farm) -> None:
    farm.session()
    farm.job(command=GATED, frames="1-4")
    farm.wait_rendering(2)


def _done(farm: Farm) -> None:
    farm.session()
    farm.job(command=QUICK, frames="1-2")
    farm.wait_job()


PHASES = pytest.mark.parametrize("reach", [_pending, _launching, _rendering, _done])


@PHASES
def test_session_deleted(farm: Farm, reach: Callable[[Farm], None]) -> None:
    reach(farm)
    claims = len(farm.objects("PersistentVolumeClaim"))
    farm.delete("RenderSession", "show")
    farm.wait("the session gone", lambda: farm.get("RenderSession", "show") is None)
    farm.wait_nothing_left(claims=claims)
    assert farm.get("RenderJob", "job") is not None, "jobs outlive their session"


@PHASES
def test_job_deleted(farm: Farm, reach: Callable[[Farm], None]) -> None:
    reach(farm)
    farm.delete("RenderJob", "job")
    farm.wait("the job gone", lambda: farm.get("RenderJob", "job") is None)
    farm.wait("no nodes", lambda: not farm.objects("RenderNode") and not farm.pods("slave"))


@PHASES
def test_namespace_deleted(farm: Farm, reach: Callable[[Farm], None]) -> None:
    reach(farm)
    farm.core.delete_namespace(farm.namespace)

    def gone() -> bool:
        listed = farm.core.list_namespace(field_selector=f"metadata.name={farm.namespace}")
        return not listed.items

    wait("the namespace gone", gone, timeout=120, seen=farm.snapshot)


def test_claim_goes_with_its_session_when_not_retained(farm: Farm) -> None:
    farm.session(storage={"size": "1Gi", "retain": False})
    farm.job(command=QUICK, frames="1-2")
    farm.wait_job()
    farm.delete("RenderSession", "show")
    farm.wait_nothing_left(claims=0)


def test_another_session_takes_over_the_volume(farm: Farm) -> None:
    """Frames already done never run again, under whichever session the volume lives."""
    _rendering(farm)
    session = farm.get("RenderSession", "show") or {}
    claim = session["status"]["claimName"]
    farm.delete("RenderSession", "show")
    farm.wait_nothing_left(claims=1)
    farm.session("second", storage={"size": "1Gi", "claimName": claim})
    farm.patch("RenderJob", "job", {"spec": {"sessionName": "second"}})
    farm.wait_rendering(2)
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-4")


def test_class_deleted_under_a_running_session(farm: Farm) -> None:
    name = farm.own_class()
    farm.session(nodeClassName=name)
    farm.job(command=GATED, frames="1-4", output={"files": FILES})
    farm.wait_rendering(2)
    farm.delete_class(name)
    farm.wait_condition("RenderSession", "show", reason="NodeClassNotFound")
    farm.open_gate()
    farm.wait_succeeded(2)
    farm.own_class(name)
    farm.wait_job()
    counted_once(farm.frames().values(), "1-4")
    assert sorted(farm.noted("started")) == [1, 2, 3, 4]


def test_secrets_deleted_under_a_running_session(farm: Farm) -> None:
    _rendering(farm)
    for secret in farm.objects("Secret"):
        farm.delete("Secret", secret["metadata"]["name"])
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-4")

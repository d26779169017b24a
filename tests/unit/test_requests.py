"""What people ask for once is asked for once, whichever write fails."""

import pytest
from drqueue.api.names import REQUEST_PREFIX
from drqueue.control.context import Reconcile
from drqueue.control.errors import Passing
from drqueue.control.job import JobReconciler
from drqueue.control.kinds import Key
from drqueue.control.session import SessionReconciler
from drqueue.farm.protocol import Changes

from tests.unit.operator_world import TENANT, World, report

JOB, SESSION = Key("RenderJob", TENANT, "turntable"), Key("RenderSession", TENANT, "teapots")
NODE = Key("RenderNode", TENANT, "teapots-0")
IDS = [f"r{number:02}" for number in range(20)]


def asking(value: str) -> dict[str, str]:
    return {f"{REQUEST_PREFIX}{request}": value for request in IDS}


def left(world: World, key: Key) -> list[str]:
    obj = world.get(key)
    assert obj is not None
    return sorted(obj["metadata"].get("annotations") or {})


async def look(world: World, reconciler: Reconcile, key: Key) -> None:
    """Twice while the object cannot be patched, then until nothing is left to do."""
    world.api.fail[f"patch {key.kind}"] = Passing("the API server is overloaded", status=500)
    for _ in range(2):
        with pytest.raises(Passing):
            await reconciler(world.ctx, key)
    world.api.fail.clear()
    for _ in range(4):
        await reconciler(world.ctx, key)


async def test_each_request_reaches_the_master_once_though_taking_them_off_fails() -> None:
    world = World()
    await world.make("RenderNodeClass", {"spec.renderers": ["povray"]})
    session = await world.make("RenderSession")
    job = await world.make(
        "RenderJob",
        {
            "metadata.annotations": asking('{"verb": "rerun"}'),
            "status": {"phase": "Waiting", "acceptedBy": session["metadata"]["uid"]},
        },
    )
    known = report(job["metadata"]["uid"], "turntable")
    world.masters.reported = Changes(epoch="e", sequence=1, jobs=(known,))
    await look(world, JobReconciler(), JOB)
    told = [request.id for order in world.masters.told for request in order.requests]
    assert told == IDS
    assert left(world, JOB) == []


async def test_a_node_is_drained_once_though_taking_the_requests_off_fails() -> None:
    world = World()
    asked = asking('{"verb": "drain", "node": "teapots-0"}')
    session = await world.make("RenderSession", {"metadata.annotations": asked})
    node = {"spec.sessionUid": session["metadata"]["uid"], "metadata.name": NODE.name}
    await world.make("RenderNode", {**node, "spec.drain": True})  # the plan drains it no more
    await look(world, SessionReconciler(), SESSION)
    patched = [path for verb, path, _ in world.api.requests if verb == "patch"]
    drained = [path for path in patched if path.endswith(NODE.name)]
    assert len(drained) == len(IDS)
    assert left(world, SESSION) == []

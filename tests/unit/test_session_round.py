"""Whole rounds of a session's reconciler, with an API server in memory."""

from drqueue.control import conditions
from drqueue.control.errors import NoCapacity
from drqueue.control.kinds import Key
from drqueue.control.session import SessionReconciler
from drqueue.farm.protocol import Changes

from tests.unit.operator_world import TENANT, World, report

SESSION = Key("RenderSession", TENANT, "teapots")
FULL = NoCapacity("exceeded quota: few, requested: count/rendernodes.drqueue.org=1", status=403)


async def awake() -> World:
    """A session whose master runs and knows of a job that is there, and of one that is gone."""
    world = World()
    await world.make("RenderNodeClass", {"spec.renderers": ["povray"]})
    session = await world.make("RenderSession", {"spec.storage": {"claimName": "frames"}})
    job = await world.make("RenderJob", {"status.phase": "Waiting"})
    await world.bound_claim("frames")
    await world.ready_master(session)
    known = report(job["metadata"]["uid"], "turntable")
    former = report("uid-of-a-deleted-one", "former")
    world.masters.reported = Changes(epoch="e", sequence=1, jobs=(known, former))
    return world


async def look(world: World, reconciler: SessionReconciler) -> float | None:
    return (await reconciler(world.ctx, SESSION)).requeue_after


def available(world: World) -> tuple[str, str, str]:
    found = conditions.find(world.store.get(SESSION), "NodesAvailable")
    return found["status"], found["reason"], found["message"]


def asked_for(world: World) -> int:
    return sum(verb == "create" and "rendernodes" in path for verb, path, _ in world.api.requests)


async def test_nodes_that_are_refused_are_said_and_the_master_is_told_all_the_same() -> None:
    world, reconciler = await awake(), SessionReconciler()
    world.api.fail["create RenderNode"] = FULL
    assert await look(world, reconciler) == 0.05
    assert world.masters.forgotten == ["uid-of-a-deleted-one"]
    assert asked_for(world) == 2
    assert await look(world, reconciler) == 60.0
    said = f"nodes: no more may be made: {FULL.message}"
    assert available(world) == ("False", "NodeRefused", said)
    ready = conditions.find(world.store.get(SESSION), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "NodeRefused")
    assert asked_for(world) == 2, "it is not asked again before a minute is over"

    world.later(60)
    await look(world, reconciler)
    assert asked_for(world) == 4
    del world.api.fail["create RenderNode"]
    world.later(60)
    await look(world, reconciler)
    assert world.names("RenderNode") == [f"RenderNode teapots-uidre-{index}" for index in (0, 1)]
    await look(world, reconciler)
    assert available(world)[1] == "Starting"

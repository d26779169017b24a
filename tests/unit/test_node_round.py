"""Whole rounds of a node's reconciler, with an API server in memory."""

from drqueue.api.names import LABEL_NODE, LABEL_NODE_UID, POD_FINALIZER
from drqueue.control import conditions
from drqueue.control.kinds import Key, Object
from drqueue.control.node import NodeReconciler
from drqueue.providers.pod_parts import labels

from tests.unit.operator_world import TENANT, World

NAME = "teapots-12345-0"
NODE, POD = Key("RenderNode", TENANT, NAME), Key("Pod", TENANT, NAME)


async def to_launch() -> World:
    """A node that nothing keeps from being launched."""
    world = World()
    status = {"claimName": "frames", "master": "Running"}
    session = await world.make("RenderSession", {"status": status})
    uid = session["metadata"]["uid"]
    await world.make("RenderNode", {"spec.sessionUid": uid, "spec.startupDeadline": "90s"})
    return world


def pod_of(node: str, uid: str) -> Object:
    """A slave's pod by our node's name."""
    marks = labels("teapots", "uid-rendersession", "slave")
    meta = {
        "name": NAME,
        "namespace": TENANT,
        "labels": {**marks, LABEL_NODE: node, LABEL_NODE_UID: uid},
        "finalizers": [POD_FINALIZER],
    }
    return {"kind": "Pod", "metadata": meta, "spec": {}}


def ready(world: World) -> tuple[str, str]:
    found = conditions.find(world.store.get(NODE), "Ready")
    return found.get("reason", ""), found.get("message", "")


async def test_a_pods_name_that_is_taken_is_said_and_waited_for_no_longer_than_any_start() -> None:
    world, reconciler = await to_launch(), NodeReconciler()
    await world.put({"kind": "Pod", "metadata": {"name": NAME, "namespace": TENANT}, "spec": {}})
    taken = f"a pod {NAME} that is not this node's is there: it has to go"
    assert (await reconciler(world.ctx, NODE)).requeue_after == 60.0
    assert ready(world) == ("LaunchRefused", taken)
    assert world.events == [("LaunchRefused", taken)]
    world.later(60)
    assert (await reconciler(world.ctx, NODE)).requeue_after == 30.0
    world.later(30)
    await reconciler(world.ctx, NODE)
    node = world.store.get(NODE)
    assert node is not None
    assert (node["status"]["phase"], node["status"]["endReason"]) == ("Ended", "StartupDeadline")
    assert ready(world)[1] == f"not ready after 90 s: refused: {taken}"
    assert world.get(POD) is not None


async def test_a_pod_of_a_node_that_is_gone_makes_room() -> None:
    world, reconciler = await to_launch(), NodeReconciler()
    await world.put(pod_of(NAME, "uid-of-a-former-one"))
    await reconciler(world.ctx, NODE)
    assert world.get(POD) is None
    world.store.gone(POD)
    await reconciler(world.ctx, NODE)
    pod = world.get(POD)
    assert pod is not None
    assert pod["metadata"]["labels"][LABEL_NODE_UID] == "uid-rendernode"
    await reconciler(world.ctx, NODE)
    assert ready(world)[0] == "Launching"


async def test_a_pod_of_a_node_that_lives_is_left_alone() -> None:
    world, reconciler = await to_launch(), NodeReconciler()
    other = await world.make("RenderNode", {"metadata.name": "teapots-7", "metadata.uid": "uid-7"})
    await world.put(pod_of("teapots-7", other["metadata"]["uid"]))
    await reconciler(world.ctx, NODE)
    pod = world.get(POD)
    assert pod is not None and "deletionTimestamp" not in pod["metadata"]
    assert ready(world)[0] == "LaunchRefused"

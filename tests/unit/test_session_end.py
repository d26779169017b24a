"""The end of a session, with an API server in memory."""

import pytest
from drqueue.api.names import FINALIZER, LABEL_SESSION_UID, reader_name
from drqueue.control import children
from drqueue.control.children import SessionId
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.session_end import finish
from drqueue.providers.pod_parts import labels

from tests.manifests import settled_seconds
from tests.unit.operator_world import TENANT, World

SESSION = SessionId(TENANT, "teapots", "uid-rendersession")
OTHER = SessionId(TENANT, "teapots", "uid-of-a-former-one")
KEY = Key("RenderSession", TENANT, SESSION.name)


def parts(session: SessionId) -> list[Object]:
    """What a session has beside its nodes."""
    pods = [(session.master, "master"), (reader_name(session.name, session.uid), "reader")]
    keys = session.meta(session.master, "master")
    return [
        *({"kind": "Pod", "metadata": session.meta(name, part), "spec": {}} for name, part in pods),
        {"kind": "Secret", "metadata": keys},
        children.master_service(session),
        *children.network_policies(session, "drqueue"),
    ]


def orphan(obj: Object) -> Object:
    """As the garbage collector leaves it behind an owner that was deleted with `orphan`."""
    del obj["metadata"]["ownerReferences"]
    return obj


async def end(world: World) -> None:
    for _ in range(3):
        session = world.store.get(KEY)
        if session is not None:
            await finish(world.ctx, session)


@pytest.mark.parametrize("orphaned", [False, True])
async def test_what_a_session_had_goes_with_it_whoever_owns_it(orphaned: bool) -> None:
    world = World()
    going = {"metadata.deletionTimestamp": "2026-11-25T12:00:00Z"}
    await world.make("RenderSession", going)
    for part in parts(SESSION):
        await world.put(orphan(part) if orphaned else part)
    for part in parts(OTHER):
        await world.put(part)
    await end(world)
    assert world.get(KEY) is None
    left = list(world.api.objects.values())
    assert len(left) == len(parts(OTHER))
    assert all(obj["metadata"]["labels"][LABEL_SESSION_UID] == OTHER.uid for obj in left)


async def test_a_node_that_its_session_does_not_own_any_more_is_counted_and_ended() -> None:
    world = World()
    await world.make("RenderSession", {"metadata.deletionTimestamp": "2026-11-25T12:00:00Z"})
    node = await world.make(
        "RenderNode",
        {
            "spec.sessionUid": SESSION.uid,
            "metadata.labels": labels(SESSION.name, SESSION.uid, "slave"),
            "status.readyAt": "2026-11-25T11:50:00Z",
        },
    )
    master = parts(SESSION)[0]
    await world.put(orphan(master))
    await end(world)
    assert "deletionTimestamp" in world.api.objects[key_of(node)]["metadata"]
    assert world.get(key_of(master)) is not None, "nodes render with it still"
    status = {"endedAt": "2026-11-25T12:00:30Z"}
    await world.ctx.client.patch(key_of(node), {"status": status})
    await end(world)
    ended = world.get(KEY)
    assert ended is not None
    assert settled_seconds(ended["status"]) == 600, "up to the deletion"
    await world.ctx.client.remove_finalizer(world.api.objects[key_of(node)], FINALIZER)
    await end(world)
    assert not world.api.objects

"""A session's part in its class: claims, cool-down, and what is there when the operator starts."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from drqueue.control import session_shares
from drqueue.control.cooling import FIRST_PAUSE
from drqueue.control.kinds import Key
from drqueue.control.launches import Launches, as_status
from drqueue.control.session_plan import NodeView, Seen
from drqueue.control.shares import Shares
from drqueue.control.store import Store

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
CLASS = Key("RenderNodeClass", None, "cpu-small")


class Farm:
    """What `session_shares` reads of a context."""

    def __init__(self, **limits: Any) -> None:
        self.store, self.now = Store(lambda: 0.0), NOW
        self.queued: dict[Key, float] = {}
        self.node_class: dict[str, Any] = {
            "kind": "RenderNodeClass",
            "metadata": {"name": CLASS.name, "uid": "uid-class", "generation": 1},
            "spec": {"limits": limits},
        }
        self.start()

    def start(self) -> None:
        """As the operator starts: nothing is remembered."""
        self.ctx: Any = SimpleNamespace(
            store=self.store,
            shares=Shares(),
            launches=Launches(),
            clock=lambda: self.now,
            queue=SimpleNamespace(add=self.add),
        )

    def add(self, key: Key, after: float = 0.0) -> None:
        """The work queue's."""
        self.queued[key] = after

    def session(self, name: str, nodes: int = 0, **spec: Any) -> dict[str, Any]:
        """A session, with so many nodes in the store."""
        version = str(len(self.queued) + 1)
        meta = {"namespace": "studio", "creationTimestamp": "2026-01-31T10:00:00Z"}
        obj: dict[str, Any] = {
            "kind": "RenderSession",
            "metadata": {**meta, "name": name, "uid": f"uid-{name}", "resourceVersion": version},
            "spec": {"nodeClassName": CLASS.name, **spec},
        }
        self.store.apply_event(obj)
        for index in range(nodes):
            self.store.apply_event(node(name, index))
        return obj

    def take_part(self, obj: dict[str, Any], seen: Seen, wish: int) -> session_shares.Terms:
        return session_shares.take_part(self.ctx, obj, self.node_class, seen, wish)


def node(session: str, index: int, **status: Any) -> dict[str, Any]:
    name = f"{session}-{index}"
    meta = {"namespace": "studio", "name": name, "uid": f"uid-{name}", "resourceVersion": "1"}
    return {
        "kind": "RenderNode",
        "metadata": meta,
        "spec": {"sessionName": session, "nodeClassName": CLASS.name},
        "status": status,
    }


def ready(count: int) -> tuple[NodeView, ...]:
    return tuple(NodeView(index, f"uid-{index}", ready_at=NOW) for index in range(count))


def test_without_limits_nothing_is_said() -> None:
    farm = Farm()
    terms = farm.take_part(farm.session("one"), Seen(), 1000)
    assert terms == session_shares.Terms()


def test_an_operator_that_starts_counts_what_is_there() -> None:
    farm = Farm(nodes=4)
    farm.session("one", nodes=3)
    two = farm.session("two")
    assert farm.take_part(two, Seen(), 4).allowed == 0
    assert farm.queued[CLASS] == 0.0
    assert session_shares.read_limits(farm.node_class["spec"]).nodes == 4


def test_who_cannot_start_nodes_keeps_none_from_others() -> None:
    farm = Farm(nodes=4)
    waits = farm.session("waits")
    farm.take_part(waits, Seen(may_launch=False), 4)
    assert farm.take_part(farm.session("two"), Seen(), 4).allowed is None


def test_nothing_is_given_up_on_a_guess() -> None:
    farm = Farm(nodes=4)
    one, two = farm.session("one"), farm.session("two")
    farm.take_part(one, Seen(ready(2)), 2)
    farm.take_part(two, Seen(), 3)
    seen = Seen(ready(2), blocks=0, blocks_known=False)
    assert farm.take_part(one, seen, 0).allowed == 2
    assert farm.take_part(one, Seen(ready(2)), 0).allowed == 0


def test_a_session_that_goes_leaves_its_nodes_to_others() -> None:
    farm = Farm(nodes=4)
    one, two = farm.session("one"), farm.session("two")
    farm.take_part(one, Seen(ready(4)), 4)
    farm.take_part(two, Seen(), 4)
    session_shares.end(farm.ctx, one, [node("one", index) for index in range(4)])
    farm.queued.clear()
    session_shares.leave(farm.ctx, Key("RenderSession", "studio", "one"))
    assert farm.queued == {CLASS: 0.0}
    farm.ctx.shares.share(CLASS.name, session_shares.read_limits(farm.node_class["spec"]), NOW)
    assert farm.take_part(two, Seen(), 4).allowed in (4, None)


def test_failing_nodes_make_their_tenant_wait_then_try_one_also_after_a_restart() -> None:
    farm = Farm()
    one = farm.session("one")
    farm.take_part(one, Seen(), 5)
    failed = node("one", 0, endReason="StartupDeadline", endedAt="2026-01-31T12:00:00Z")
    failed["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "reason": "StartupDeadline", "message": "no image"}
    ]
    session_shares.launch_ended(farm.ctx, failed)
    terms = farm.take_part(one, Seen(), 5)
    assert (terms.launch_room, terms.look_again) == (0, NOW + FIRST_PAUSE)
    assert "no image" in terms.why_not
    cooling = farm.ctx.launches.of(CLASS.name)
    farm.node_class["status"] = {"observedGeneration": 1, "launch": as_status(cooling)}
    farm.start()
    assert farm.take_part(one, Seen(), 5).launch_room == 0
    farm.now += FIRST_PAUSE
    assert farm.take_part(one, Seen(), 5).launch_room == 1
    probing = Seen((NodeView(0, "uid-0"),))
    assert farm.take_part(one, probing, 5).launch_room == 0
    farm.queued.clear()
    assert session_shares.launch_ready(farm.ctx, node("one", 0), farm.now) is None
    assert set(farm.queued) == {CLASS, Key("RenderSession", "studio", "one")}
    assert farm.take_part(one, probing, 5).launch_room is None


def test_a_launch_that_is_refused_is_said_to_its_tenant_alone() -> None:
    farm = Farm(nodes=10)
    one = farm.session("one")
    ended = node("one", 0, endReason="StartupDeadline", endedAt="2026-01-31T12:00:00Z")
    ended["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "reason": "StartupDeadline", "message": "its quota"}
    ]
    for namespace in ("studio", "other"):
        ended["metadata"]["namespace"] = namespace
        session_shares.launch_ended(farm.ctx, ended, refused=True)
    before = farm.now - timedelta(hours=1)
    session_shares.launch_ready(farm.ctx, node("one", 1), before)
    terms = farm.take_part(one, Seen(ready(1)), 5)
    assert (terms.launch_room, terms.why_not) == (0, "its quota")
    told = as_status(farm.ctx.launches.of(CLASS.name))
    assert len(told["tenants"]) == 2
    assert "its quota" not in str(told)
    third = farm.session("third")
    third["metadata"]["namespace"] = "third"
    assert farm.take_part(third, Seen(), 5).launch_room is None


def of(tenant: str, obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "namespace": tenant}}


@pytest.mark.parametrize("other_started", [False, True])
def test_two_bad_tenants_after_a_restart(other_started: bool) -> None:
    farm = Farm()
    farm.take_part(farm.session("one"), Seen(), 5)
    failed = node("one", 0, endReason="StartupDeadline", endedAt="2026-01-31T12:00:00Z")
    session_shares.launch_ended(farm.ctx, failed)
    cooling = farm.ctx.launches.of(CLASS.name)
    farm.node_class["status"] = {"observedGeneration": 1, "launch": as_status(cooling)}
    farm.start()
    if other_started:  # it is heard of before the class and its status are
        there = of("good", node("well", 0))
        session_shares.launch_ready(farm.ctx, there, farm.now - timedelta(minutes=9))
    farm.now += timedelta(seconds=1)
    one = farm.session("one")
    assert farm.take_part(one, Seen(), 5).launch_room == 0, "it is remembered"
    farm.now += FIRST_PAUSE
    for tenant in ("studio", "bad"):
        session_shares.launch_ended(farm.ctx, of(tenant, failed))
    waits = farm.take_part(of("good", farm.session("well")), Seen(), 5)
    assert waits.launch_room == (None if other_started else 0)


def test_an_edit_of_the_class_ends_a_streak() -> None:
    farm = Farm()
    one = farm.session("one")
    farm.take_part(one, Seen(), 5)
    session_shares.launch_ended(farm.ctx, node("one", 0, endReason="Failed"))
    assert farm.take_part(one, Seen(), 5).launch_room == 0
    farm.node_class["metadata"]["generation"] = 2
    assert farm.take_part(one, Seen(), 5).launch_room is None


@pytest.mark.parametrize(
    ("allowed", "chosen", "status"),
    [([], None, None), ([], "Park", "False"), (["Park"], "Park", "True"), ([], "Shutdown", "True")],
)
def test_a_session_is_told_whether_its_class_allows_its_policy(
    allowed: list[str], chosen: str | None, status: str | None
) -> None:
    farm = Farm()
    farm.node_class["spec"]["idle"] = {"policy": "Shutdown", "allowed": allowed}
    session = farm.session("one")
    if chosen:
        session["spec"]["idlePolicy"] = chosen
    found = session_shares.idle_policy(session, farm.node_class)
    assert (found.status if found else None) == status

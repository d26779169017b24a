"""Ghosts in the store cost nobody a second: the API server is asked before sums change."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from drqueue.api.names import FINALIZER
from drqueue.api.values import format_time
from drqueue.billing.settlement import NodeTime, billable_seconds
from drqueue.control.context import Context
from drqueue.control.errors import Conflict
from drqueue.control.kinds import Object, Objects
from drqueue.control.launches import Launches
from drqueue.control.session_end import _until, finish
from drqueue.control.session_nodes import unrecorded
from drqueue.control.session_settling import are_to_be_marked, surely_there
from drqueue.control.settings import Settings
from drqueue.control.shares import Shares
from drqueue.control.store import Store
from drqueue.providers.base import NodeId, Observation

from tests.manifests import manifest


class Server:
    """An API server with these nodes; counts how often it was asked."""

    def __init__(self, *uids: str) -> None:
        self.uids, self.asked = uids, 0
        self.written: list[Any] = []
        """Statuses."""

    async def pages(self, kind: str, namespace: str, **how: Any) -> AsyncIterator[Any]:
        assert (kind, namespace) == ("RenderNode", "studio-a")
        assert how == {"labels": "drqueue.org/session-uid=s", "metadata_only": True}
        self.asked += 1
        yield [{"metadata": {"uid": uid}} for uid in self.uids], 7

    async def update_status(self, obj: Object, status: dict[str, Any]) -> Object:
        self.written.append(status)
        return {**obj, "status": status}

    @property
    def context(self) -> Context:
        return cast(Context, SimpleNamespace(client=self))


def session(*settling: str) -> Object:
    made = manifest("RenderSession")
    made["metadata"] |= {"uid": "s", "namespace": "studio-a"}
    made["status"] = {"settling": [{"uid": uid, "seconds": 5} for uid in settling]}
    return made


def node(uid: str, *, ended: bool = False) -> Object:
    made = manifest("RenderNode")
    made["metadata"]["uid"] = uid
    made["status"] = {"readyAt": "2026-11-25T10:00:00Z"}
    if ended:
        made["status"]["endedAt"] = "2026-11-25T10:01:00Z"
    return made


def uids(nodes: Objects) -> list[str]:
    return [found["metadata"]["uid"] for found in nodes]


async def test_nobody_is_asked_while_the_sums_stay() -> None:
    server = Server("a", "b")
    nodes = [node("a"), node("b", ended=True)]
    assert await surely_there(server.context, session("b"), nodes) == nodes
    assert server.asked == 0


async def test_a_ghost_that_ended_is_not_added_again() -> None:
    server = Server("a")
    nodes = [node("a"), node("ghost", ended=True)]
    assert uids(await surely_there(server.context, session(), nodes)) == ["a"]
    assert server.asked == 1


async def test_a_settled_node_is_forgotten_once_it_is_really_gone() -> None:
    assert await surely_there(Server().context, session("a"), []) == []
    with pytest.raises(Conflict):
        await surely_there(Server("a").context, session("a"), [])


async def test_sums_are_final_only_when_no_node_is_left_anywhere() -> None:
    assert await surely_there(Server().context, session(), [], final=True) == []
    with pytest.raises(Conflict):
        await surely_there(Server("late").context, session(), [], final=True)


async def test_nodes_are_marked_only_when_all_that_use_time_are_known() -> None:
    began = datetime(2026, 11, 25, 10, tzinfo=UTC)
    at_once = began + timedelta(seconds=100)
    there, ghost = node("a"), node("ghost")
    assert not are_to_be_marked(session(), [there], 101, at_once)
    assert are_to_be_marked(session(), [there], 100, at_once)
    assert are_to_be_marked(session(), [there, ghost], 200, at_once)
    assert uids(await surely_there(Server("a").context, session(), [there, ghost], True)) == ["a"]
    with pytest.raises(Conflict):
        await surely_there(Server("a", "late").context, session(), [there], True)
    known = session()
    known["status"]["unpaid"] = [{"uid": "a", "since": "2026-11-25T10:01:40Z"}]
    assert not are_to_be_marked(known, [there], 100, at_once)


def test_a_deletion_bills_to_its_instant() -> None:
    began = datetime(2026, 11, 25, 10, tzinfo=UTC)
    deleted = began + timedelta(seconds=90)
    late = NodeTime("a", began, began + timedelta(seconds=120))
    early = NodeTime("b", began, began + timedelta(seconds=60))
    running = NodeTime("c", began)
    unpaid = replace(late, unpaid_since=began + timedelta(seconds=30))
    assert billable_seconds(_until(deleted, unpaid), deleted) == 30
    assert _until(deleted, late).ended_at == deleted
    assert _until(deleted, early) == early
    assert _until(deleted, running) == running


class Outside:
    """A provider that saw nodes Ready, by their UIDs."""

    def __init__(self, **seen: Observation) -> None:
        self.seen = seen

    async def observe(self, node: NodeId, now: datetime) -> Observation | None:
        return self.seen.get(node.uid)


async def test_nodes_that_are_ready_and_not_written_down_are_seen_on_their_pods() -> None:
    began = datetime(2026, 11, 25, 10, tzinfo=UTC)
    at_once = began + timedelta(seconds=100)
    starting = Observation("studio-a/c", began)
    outside = Outside(
        a=Observation("studio-a/a", began, ready=True, ready_at=began),
        b=Observation("studio-a/b", began, ready_at=began, ended=True, ended_at=at_once),
        c=starting,
        known=Observation("studio-a/known", began, ready=True, ready_at=began),
    )
    ctx = cast(Context, SimpleNamespace(providers={"kubernetes": outside}))
    nodes = [node(uid) for uid in ("a", "b", "c", "gone", "known")]
    for unknown in nodes[:4]:
        del unknown["status"]
    for each in nodes:
        each["metadata"] |= {"namespace": "s", "creationTimestamp": "2026-11-25T10:00:00Z"}
    found = await unrecorded(ctx, nodes, {}, at_once)
    assert found == (
        NodeTime("a", began, made_at=began),
        NodeTime("b", began, at_once, made_at=began),
    )


@pytest.mark.parametrize("minutes", [-30, 0, 30])
async def test_a_deletion_is_settled_by_kubernetes_clock(minutes: int) -> None:
    began = datetime(2026, 11, 25, 10, tzinfo=UTC)
    deleted = began + timedelta(minutes=10)
    store, server = Store(lambda: 0.0), Server("a")
    ended = node("a")
    ended["metadata"] |= {
        "namespace": "studio-a",
        "resourceVersion": "1",
        "labels": {"drqueue.org/session": "teapots"},
        "deletionTimestamp": format_time(deleted),
    }
    ended["spec"] |= {"sessionName": "teapots", "sessionUid": "s"}
    ended["status"]["endedAt"] = format_time(deleted + timedelta(seconds=5))
    store.apply_event(ended)
    going = session()
    going["metadata"] |= {
        "name": "teapots",
        "finalizers": [FINALIZER],
        "deletionTimestamp": format_time(deleted),
    }
    going["status"] = {"funding": {"state": "Funded", "nodes": 1, "seconds": 7200}}
    ctx = SimpleNamespace(
        client=server,
        store=store,
        settings=Settings(billing_namespace="books"),
        shares=Shares(),
        launches=Launches(),
        clock=lambda: deleted + timedelta(minutes=minutes),
        queue=SimpleNamespace(add=lambda key, after=0.0: None),
    )
    await finish(cast(Context, ctx), going)
    (status,) = server.written
    assert status["settledDays"] == [{"day": "2026-11-25", "seconds": 600}]
    assert status["settling"] == [{"uid": "a", "seconds": 600}]
    assert status["renderTime"]["used"] == "10m"

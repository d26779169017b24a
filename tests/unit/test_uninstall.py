"""The uninstall hook: whatever it finds and wherever it is cut short, it ends in the same place."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from drqueue.api.names import FINALIZER, POD_FINALIZER
from drqueue.api.values import format_time
from drqueue.control.client import Client
from drqueue.control.errors import Conflict, NotFound, Passing
from drqueue.control.hooks import insist
from drqueue.control.kinds import Key, Object, Objects, key_of
from drqueue.control.uninstall import Uninstall
from drqueue.control.uninstall_plan import became_ready, ended, is_over, settled
from drqueue.providers.pod_status import has_ended
from hypothesis import given
from hypothesis import strategies as st

from tests.manifests import settled_seconds

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    return format_time(START + timedelta(seconds=seconds))


class FakeServer(Client):
    """Objects in memory with versions and finalizers, and a wire that may break at any write."""

    def __init__(self, objects: Objects) -> None:
        self.objects = {key_of(obj): copy.deepcopy(obj) for obj in objects}
        self.writes = 0
        self.breaks: dict[int, str] = {}
        """Number of a write -> `before` or `after` its effect."""
        self.now = START
        for obj in self.objects.values():
            obj["metadata"].setdefault("uid", f"uid-{obj['metadata']['name']}")
            obj["metadata"]["resourceVersion"] = "1"

    def elapsed(self) -> float:
        return (self.now - START).total_seconds()

    async def get(self, key: Key) -> Object:
        if key not in self.objects:
            raise NotFound(f"{key} not found")
        return copy.deepcopy(self.objects[key])

    async def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> Objects:
        found = [obj for key, obj in self.objects.items() if key.kind == kind]
        if labels:
            found = [o for o in found if "drqueue.org/component" in o["metadata"].get("labels", {})]
        return copy.deepcopy(found)

    async def update_status(self, obj: Object, status: Mapping[str, Any]) -> Object:
        if obj.get("status", {}) == status:
            return obj
        return self._write(obj, lambda held: held.update(status=dict(status)))

    async def remove_finalizer(self, obj: Object, finalizer: str) -> None:
        if finalizer in obj["metadata"].get("finalizers", []) and key_of(obj) in self.objects:
            self._write(obj, lambda held: held["metadata"]["finalizers"].remove(finalizer))

    async def delete(
        self,
        key: Key,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
    ) -> bool:
        if key not in self.objects:
            return False
        stamp = format_time(self.now + timedelta(seconds=grace_seconds or 0))

        def mark(held: Object) -> None:
            held["metadata"].setdefault("deletionTimestamp", stamp)
            held["metadata"]["deletionGracePeriodSeconds"] = grace_seconds

        self._write(self.objects[key], mark)
        return True

    def _write(self, obj: Object, change: Any) -> Object:
        self.writes += 1
        breaks = self.breaks.get(self.writes)
        if breaks == "before":
            raise Passing("the connection broke")
        key = key_of(obj)
        if key not in self.objects:
            raise NotFound(f"{key} not found")
        held = self.objects[key]
        if held["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise Conflict(f"{key} is another by now")
        change(held)
        held["metadata"]["resourceVersion"] = str(int(held["metadata"]["resourceVersion"]) + 1)
        meta = held["metadata"]
        running = key.kind == "Pod" and held["spec"].get("nodeName") and not has_ended(held)
        running = running and meta.get("deletionGracePeriodSeconds") != 0
        if "deletionTimestamp" in meta and not meta.get("finalizers") and not running:
            del self.objects[key]
        if breaks == "after":
            raise Passing("the answer was lost")
        return copy.deepcopy(held)

    def kubelet(self) -> None:
        """End the containers of pods that are being deleted."""
        for obj in list(self.objects.values()):
            if obj["kind"] == "Pod" and "deletionTimestamp" in obj["metadata"]:
                if obj["spec"].get("nodeName") and not is_over(obj, self.now):
                    finished = {"terminated": {"finishedAt": format_time(self.now)}}
                    obj["status"].update(phase="Failed", containerStatuses=[{"state": finished}])
                    obj["metadata"]["resourceVersion"] += "0"
                if not obj["metadata"].get("finalizers"):
                    del self.objects[key_of(obj)]


def obj(kind: str, name: str, **parts: Any) -> Object:
    meta = {"namespace": "studio", "name": name, "creationTimestamp": at(-900)}
    meta |= parts.pop("metadata", {})
    version = "v1" if kind == "Pod" else "drqueue.org/v1alpha1"
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": {}, **parts}


def node(name: str, **status: Any) -> Object:
    return obj(
        "RenderNode",
        name,
        metadata={"finalizers": [FINALIZER]},
        spec={"sessionName": "teapots", "sessionUid": "uid-teapots"},
        status=status,
    )


def slave(name: str, *, machine: str | None, ready_at: float | None = None) -> Object:
    conditions = []
    if ready_at is not None:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": at(ready_at)}]
    return obj(
        "Pod",
        name,
        metadata={
            "finalizers": [POD_FINALIZER],
            "labels": {"drqueue.org/component": "slave", "drqueue.org/node": name},
        },
        spec={"nodeName": machine} if machine else {},
        status={"phase": "Running" if machine else "Pending", "conditions": conditions},
    )


def farm() -> Objects:
    return [
        obj(
            "RenderSession",
            "teapots",
            metadata={"finalizers": [FINALIZER, "example.org/x"]},
            spec={"nodes": 4, "renderTime": "1h"},
        ),
        obj("RenderJob", "turn", metadata={"finalizers": [FINALIZER]}),
        node("running", phase="Ready", readyAt=at(-100), block="turn/1-2"),
        slave("running", machine="m1", ready_at=-100),
        node("fresh", phase="Launching"),  # Ready, and the operator never came to note it
        slave("fresh", machine="m1", ready_at=-7),
        node("pending", phase="Launching"),
        slave("pending", machine=None),
        node("ended", phase="Ended", readyAt=at(-500), endedAt=at(-200), endReason="Drained"),
        slave("orphan", machine="m2", ready_at=-50),
        obj(
            "Pod",
            "teapots-master",
            metadata={"labels": {"drqueue.org/component": "master"}},
            spec={"nodeName": "m1"},
            status={"phase": "Running"},
        ),
    ]


async def run(server: FakeServer, operator_pods: list[list[str]] | None = None) -> list[str]:
    """Run the hook as a Job would: until it is done, a second and a kubelet's round apart."""
    leaving = list(operator_pods or [])
    said: list[str] = []

    async def stop() -> list[str]:
        return leaving.pop(0) if leaving else []

    async def sleep(seconds: float) -> None:
        server.now += timedelta(seconds=seconds)
        server.kubelet()

    hook = Uninstall(server, stop, lambda: server.now, say=said.append)
    done = await insist(
        hook.once,
        120,
        monotonic=server.elapsed,
        sleep=sleep,
        say=said.append,
    )
    assert done, said
    return said


def check_end(server: FakeServer) -> None:
    assert {key.kind for key in server.objects} == {"RenderSession", "RenderJob"}
    session = server.objects[Key("RenderSession", "studio", "teapots")]
    assert session["metadata"]["finalizers"] == ["example.org/x"]
    assert server.objects[Key("RenderJob", "studio", "turn")]["metadata"]["finalizers"] == []
    settling = {entry["uid"]: entry["seconds"] for entry in session["status"]["settling"]}
    assert len(session["status"]["settling"]) == len(settling) == 4
    assert settling["uid-ended"] == 300
    assert settling["uid-pending"] == 0
    # from Ready to the container's end, whenever the hook came to see it
    assert 100 <= settling["uid-running"] <= 130
    assert 7 <= settling["uid-fresh"] <= 37
    assert settled_seconds(session["status"]) == sum(settling.values())


async def test_it_takes_all_away_and_settles() -> None:
    server = FakeServer(farm())
    said = await run(server)
    check_end(server)
    assert "RenderNode/studio/running: ended" in said
    writes = server.writes
    await run(server)
    assert server.writes == writes, "a second run has nothing to write"


@given(
    st.dictionaries(
        st.integers(min_value=1, max_value=40), st.sampled_from(["before", "after"]), max_size=8
    )
)
async def test_wherever_it_is_cut_short(breaks: dict[int, str]) -> None:
    server = FakeServer(farm())
    server.breaks = breaks
    await run(server)
    check_end(server)


async def test_it_touches_nothing_while_the_operator_runs() -> None:
    server = FakeServer(farm())
    said = await run(server, [["drqueue-operator-abc"], ["drqueue-operator-abc"]])
    assert said[0] == "waits for the operator's pod drqueue-operator-abc to end"
    assert said.count(said[0]) == 1
    check_end(server)


async def test_masters_outlive_slaves() -> None:
    server = FakeServer(farm())
    hook = Uninstall(server, _none, lambda: server.now, say=lambda line: None)
    assert await hook.once()
    master = server.objects[Key("Pod", "studio", "teapots-master")]
    assert "deletionTimestamp" not in master["metadata"]
    assert "deletionTimestamp" in server.objects[Key("Pod", "studio", "running")]["metadata"]


async def _none() -> list[str]:
    return []


async def test_a_machine_that_is_gone_holds_nothing_up() -> None:
    server = FakeServer(farm())
    server.kubelet = lambda: None  # type: ignore[method-assign]
    server.objects.pop(Key("Pod", "studio", "teapots-master"))
    await run(server)
    session = server.objects[Key("RenderSession", "studio", "teapots")]
    settling = {entry["uid"]: entry["seconds"] for entry in session["status"]["settling"]}
    assert settling["uid-running"] == 115, "up to the end of its grace, not to when that was seen"


async def test_it_gives_up_in_time_and_says_what_is_left() -> None:
    server = FakeServer(farm())
    said: list[str] = []

    async def sleep(seconds: float) -> None:
        server.now += timedelta(seconds=seconds)

    done = await insist(
        Uninstall(server, _none, lambda: server.now, say=said.append).once,
        5,
        monotonic=server.elapsed,
        sleep=sleep,
        say=said.append,
    )
    assert not done
    assert "waits for slave Pod/studio/running to end" in said


@pytest.mark.parametrize(
    ("pod", "over"),
    [
        (slave("a", machine="m"), False),
        (slave("a", machine=None), False),
        ({**slave("a", machine="m"), "status": {"phase": "Failed"}}, True),
    ],
)
def test_is_over(pod: Object, over: bool) -> None:
    assert is_over(pod, START) is over


def test_became_ready_is_noted_once() -> None:
    pod = slave("a", machine="m", ready_at=-5)
    assert became_ready(node("a", phase="Launching"), pod, START) == {
        "phase": "Launching",
        "readyAt": at(-5),
    }
    assert became_ready(node("a", readyAt=at(-9)), pod, START) is None
    assert became_ready(node("a"), slave("a", machine="m"), START) is None


def test_an_end_already_recorded_stands() -> None:
    recorded = node("a", phase="Ended", readyAt=at(0), endedAt=at(60))
    assert ended(recorded, None, START + timedelta(hours=9)) == recorded["status"]


def test_a_node_whose_pod_vanished_ends_at_its_last_sign_of_life() -> None:
    lost = node("a", phase="Ready", readyAt=at(0), drainStartedAt=at(40))
    status = ended(lost, None, START + timedelta(hours=9))
    assert (status["phase"], status["endedAt"]) == ("Ended", at(40))


def test_what_ran_on_after_time_was_used_up_is_not_settled() -> None:
    session = obj("RenderSession", "teapots", spec={"nodes": 1, "renderTime": "4h"})
    one = node("a", phase="Ended", readyAt=at(0), endedAt=at(5000))
    one["metadata"]["uid"] = "uid-a"
    session["status"] = {"unpaid": [{"uid": "uid-a", "since": at(3600)}]}
    assert settled_seconds(settled(session, one)) == 3600


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10_000)), max_size=30),
    st.integers(1, 8),
)
def test_settled_counts_each_node_once_and_no_more_than_granted(
    ends: list[tuple[int, int]], hours: int
) -> None:
    session = obj("RenderSession", "teapots", spec={"nodes": 1, "renderTime": f"{hours}h"})
    first: dict[int, int] = {}
    for index, seconds in ends:
        first.setdefault(index, seconds)
        one = node(f"n{index}", phase="Ended", readyAt=at(0), endedAt=at(seconds))
        one["metadata"]["uid"] = f"uid-{index}"
        session["status"] = settled(session, one)
    if ends:
        assert settled_seconds(session["status"]) == min(sum(first.values()), hours * 3600)
        assert len(session["status"]["settling"]) == len(first)

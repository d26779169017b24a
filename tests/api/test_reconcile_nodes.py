"""Nodes that idle, that are shared, and that do not start: by the real operator."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from drqueue.api.values import parse_time
from drqueue.control.launches import mark

from tests.api.reconciling import Farm, Object

RUNS: dict[str, Any] = {"spec__renderer": "general", "spec__parameters": {"Command": "true"}}
ONE_FRAME: dict[str, Any] = {**RUNS, "spec__frames": "1", "spec__blockSize": 1}
DEADLINE = "10s"
"""For nodes that shall not start; at the end of their tests some shall, on a slow machine too."""


def uid(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def render_one(farm: Farm, session: Object, node: Object, job: str) -> None:
    slave = farm.slave(node["metadata"]["name"], session)
    slave.render(slave.lease(), [1])
    farm.wait_phase("RenderJob", job, "Succeeded")


@pytest.mark.parametrize("parked_time", ["Billed", "Free"])
def test_a_parked_node_is_kept_taken_again_and_ended(farm: Farm, parked_time: str) -> None:
    spec: dict[str, Any] = {"idle": {"policy": "Park", "parkTime": "30s"}}
    spec["price"] = {"currency": "EUR", "machinePerHour": "1", "parkedTime": parked_time}
    farm.patch("RenderNodeClass", farm.class_name, {"spec": spec})
    session = farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", "first", **ONE_FRAME)
    (node,) = farm.wait_nodes(1)
    render_one(farm, session, node, "first")
    (parked,) = farm.wait_nodes(1, "Parked")
    assert parked["spec"]["idleSince"]
    farm.wait(
        "the session counts it",
        lambda: farm.status("RenderSession", "teapots")["nodes"]["parked"] == 1,
    )
    parked_at = parse_time(parked["spec"]["idleSince"])
    farm.wait(
        "another second: spells within one are one",
        lambda: datetime.now(UTC) >= parked_at + timedelta(seconds=1),
    )
    farm.make("RenderJob", "second", **ONE_FRAME)
    (again,) = farm.wait_nodes(1)
    assert uid(again) == uid(node)
    assert "idleSince" not in again["spec"]
    render_one(farm, session, again, "second")
    (parked,) = farm.wait_nodes(1, "Parked")
    spells = parked["status"].get("parked", [])
    if parked_time == "Free":
        assert len(spells) == 2
        assert spells[0]["since"] <= spells[0]["until"] <= spells[1]["since"]
    else:
        assert spells == []
    farm.wait_nodes(0)
    farm.wait_phase("RenderSession", "teapots", "Asleep")


def test_a_session_may_choose_among_what_its_class_allows(farm: Farm) -> None:
    idle = {"policy": "Shutdown", "allowed": ["ShutdownWithDelay"]}
    farm.patch("RenderNodeClass", farm.class_name, {"spec": {"idle": idle}})
    session = farm.make("RenderSession", spec__nodes=1, spec__idlePolicy="Park")
    farm.wait_reason("RenderSession", "teapots", "IdlePolicy", "NotAllowed")
    farm.make("RenderJob", "first", **ONE_FRAME)
    (node,) = farm.wait_nodes(1)
    render_one(farm, session, node, "first")
    farm.wait_nodes(0)
    farm.patch("RenderSession", "teapots", {"spec": {"idlePolicy": "ShutdownWithDelay"}})
    farm.wait_reason("RenderSession", "teapots", "IdlePolicy", "AsAsked")
    farm.make("RenderJob", "second", **ONE_FRAME)
    (node,) = farm.wait_nodes(1)
    render_one(farm, session, node, "second")
    farm.wait_nodes(1, "Parked")
    farm.patch("RenderSession", "teapots", {"spec": {"suspend": True}})
    farm.wait_nodes(0)


def test_a_share_that_shrinks_takes_no_node_from_a_running_block(farm: Farm) -> None:
    limits = {"limits": {"nodes": 2}, "drainGrace": "1s"}
    farm.patch("RenderNodeClass", farm.class_name, {"spec": limits})
    session = farm.make("RenderSession", spec__nodes=4)
    farm.make("RenderJob", **RUNS)
    nodes = farm.wait_nodes(2)
    slaves = {n["metadata"]["name"]: farm.slave(n["metadata"]["name"], session) for n in nodes}
    leases = {name: slave.lease() for name, slave in slaves.items()}
    farm.wait("both are busy", lambda: running(farm) == 2)
    farm.make("RenderSession", "later", spec__nodes=4)
    farm.make("RenderJob", "other", spec__sessionName="later", **RUNS)
    leaving = farm.wait(
        "one is closed", lambda: [n for n in farm.all("RenderNode") if n["spec"].get("drain")]
    )
    assert len(leaving) == 1
    assert leaving[0]["spec"]["patient"]
    farm.wait_reason("RenderSession", "later", "NodesAvailable", "WaitsForShare")
    assert farm.condition("RenderSession", "later", "Stalled")["status"] == "False"
    farm.settled_writes(5.0)  # well beyond the grace: the block goes on
    assert len(farm.all("RenderNode")) == 2
    name = leaving[0]["metadata"]["name"]
    slaves[name].render(leases[name], [1])

    def changed_hands() -> bool:
        sessions = sorted(n["spec"]["sessionName"] for n in farm.all("RenderNode"))
        return bool(sessions == ["later", "teapots"])

    farm.wait("it is the other session's turn", changed_hands)
    farm.wait_reason("RenderNodeClass", farm.class_name, "EnoughNodes", "Shared")
    status = farm.status("RenderNodeClass", farm.class_name)
    assert status["nodesInUse"] <= 2
    farm.patch("RenderNodeClass", farm.class_name, {"spec": {"limits": {"nodes": 8}}})
    farm.wait("all have what they want", lambda: len(farm.all("RenderNode")) == 8)
    farm.wait_reason("RenderNodeClass", farm.class_name, "EnoughNodes", "Enough")


def running(farm: Farm) -> int:
    return int((farm.status("RenderJob", "turntable").get("frames") or {}).get("running", 0))


def test_limits_hold_though_the_operator_is_killed(farm: Farm) -> None:
    limits = {"limits": {"nodes": 5, "nodesPerSession": 4}}
    farm.patch("RenderNodeClass", farm.class_name, {"spec": limits})
    farm.make("RenderSession", spec__nodes=10)
    farm.make("RenderJob", **RUNS)
    farm.wait_nodes(4)
    farm.operator.kill()
    farm.make("RenderSession", "later", spec__nodes=10)
    farm.make("RenderJob", "other", spec__sessionName="later", **RUNS)
    farm.start_operator()
    counts: list[int] = []

    def shared() -> bool:
        nodes = [n for n in farm.all("RenderNode") if "endedAt" not in (n.get("status") or {})]
        counts.append(len(nodes))
        holders = Counter(node["spec"]["sessionName"] for node in nodes)
        # the odd node is the first one's, and by chance if both began within one second
        return sorted(holders.values()) == [2, 3]

    farm.wait("both have their shares", shared)
    assert max(counts) <= 5


def test_a_class_whose_nodes_do_not_start_cools_down_and_says_why(farm: Farm) -> None:
    farm.kubelet.waiting["slave"] = {"reason": "ImagePullBackOff", "message": "no such image"}
    farm.patch("RenderNodeClass", farm.class_name, {"spec": {"startupDeadline": DEADLINE}})
    farm.make("RenderSession", spec__nodes=2)
    farm.make("RenderJob", **RUNS)
    found = farm.wait_reason("RenderNodeClass", farm.class_name, "Launching", "CoolingDown")
    assert "StartupDeadline" in found["message"]
    assert "no such image" not in found["message"], "all tenants read it; the session says more"

    def again() -> Object | None:
        launch = farm.status("RenderNodeClass", farm.class_name).get("launch") or {}
        return launch if launch.get("failures", 0) >= 2 else None

    launch = farm.wait("it fails again, after a wait", again)
    assert launch["tenants"] == [mark(farm.namespace)]
    assert launch["coolUntil"]
    farm.wait_reason("RenderSession", "teapots", "NodesAvailable", "NodesFail")
    farm.kubelet.waiting.clear()
    farm.wait_nodes(2)
    farm.wait_reason("RenderNodeClass", farm.class_name, "Launching", "NodesStart")
    assert "launch" not in farm.status("RenderNodeClass", farm.class_name)


@pytest.mark.parametrize("pods", [1, 2])
def test_launches_that_are_refused_are_failures_of_their_tenant(farm: Farm, pods: int) -> None:
    """Room for the master alone, and for it and one slave, whose being Ready is no news."""
    farm.limit("pods", pods)
    farm.patch("RenderNodeClass", farm.class_name, {"spec": {"startupDeadline": DEADLINE}})
    farm.make("RenderSession", spec__nodes=3)
    farm.make("RenderJob", **RUNS)

    def said() -> bool:
        found = farm.condition("RenderSession", "teapots", "NodesAvailable")
        return "exceeded quota" in found.get("message", "")

    def refused() -> list[Object]:
        return [n for n in farm.all("RenderNode") if stalled(n) == "LaunchRefused"]

    node = farm.wait("its node says why", refused)[0]["metadata"]["name"]
    farm.wait_event(node, "LaunchRefused")
    farm.wait("its session says why", said)
    farm.wait_event(node, "NodeStartupDeadline")
    found = farm.wait_reason("RenderNodeClass", farm.class_name, "Launching", "CoolingDown")

    def again() -> Object | None:
        launch = farm.status("RenderNodeClass", farm.class_name).get("launch") or {}
        return launch if launch.get("failures", 0) >= 2 else None

    launch = farm.wait("it fails again, after a wait", again)
    assert launch["tenants"] == [mark(farm.namespace)]
    told = f"{launch} {found}"
    assert "quota" not in told and farm.namespace not in told.replace(farm.class_name, "")
    farm.wait("its session still says why", said)
    if pods == 1:
        found = farm.wait_reason("RenderSession", "teapots", "NodesAvailable", "NodesFail")
        assert "exceeded quota" in found["message"]
    farm.limit("pods", 4)
    farm.wait_nodes(3)
    farm.wait_reason("RenderNodeClass", farm.class_name, "Launching", "NodesStart")


def stalled(node: Object) -> str | None:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return next(
        (c["reason"] for c in conditions if c["type"] == "Stalled" and c["status"] == "True"), None
    )

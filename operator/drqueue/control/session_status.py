"""The status of a RenderSession, written whole by its own reconciler."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from drqueue.api.values import format_duration
from drqueue.control import conditions
from drqueue.control.conditions import Finding, truth
from drqueue.control.kinds import Object
from drqueue.control.session_funding import Outcome
from drqueue.control.session_master import Master
from drqueue.control.session_nodes import days_as_json, unpaid_as_json
from drqueue.control.session_plan import NodeView, SessionPlan, Wanted
from drqueue.control.session_volume import Volume
from drqueue.providers.base import Trouble

Json = dict[str, Any]

WAITS_FOR_SHARE = "WaitsForShare"
_PASSES = ("Starting", WAITS_FOR_SHARE)
"""Reasons for having no node that nobody has to mend."""
COUNTS_EVERY = timedelta(seconds=5)
TIME_EVERY = timedelta(seconds=60)
"""How often at most a status is written for counts of nodes, or for time that goes by."""


@dataclass(frozen=True)
class Facts:
    """All that a session's status is made of."""

    wanted: Wanted
    money: Outcome
    low: Finding
    started: bool
    """It is free, or was funded: until then nothing is made for it."""
    class_name: str
    class_found: bool
    volume: Volume
    master: Master
    plan: SessionPlan
    nodes: tuple[NodeView, ...]
    node_objects: Sequence[Object]
    active_jobs: int
    reader_until: str | None
    nodes_fail: str = ""
    """Nodes failed one after another, so that none is launched for a while: why the last did."""
    nodes_refused: str = ""
    """No RenderNode more may be made: what the API server says."""
    idle_policy: Finding | None = None
    """Of a session that chose its own."""


def build(obj: Mapping[str, Any], facts: Facts, handled: list[Json], now: datetime) -> Json:
    """The status that follows from the facts."""
    old, generation = obj.get("status") or {}, obj["metadata"].get("generation", 0)
    phase = _phase(facts)
    live = [node for node in facts.nodes if node.live]
    status: Json = {
        "observedGeneration": generation,
        "phase": phase,
        "conditions": conditions.merge(
            old.get("conditions") or (), _findings(facts, phase), generation, now
        ),
        "nodes": {
            "desired": facts.plan.desired,
            "ready": sum(n.ready_at is not None and n.staying for n in live),
            "running": sum(n.busy for n in live),
            "draining": sum(not n.staying for n in live),
            "parked": sum(n.idle_since is not None and n.staying for n in live),
        },
        "renderTime": {
            "granted": _seconds(facts.wanted.granted_seconds),
            "used": _seconds(facts.plan.used_seconds),
            "remaining": _seconds(facts.plan.remaining_seconds),
        },
        "settledDays": days_as_json(facts.plan.settled_days),
        "settling": [{"uid": uid, "seconds": n} for uid, n in facts.plan.settling],
        "activeJobs": facts.active_jobs,
        "master": facts.master.state,
        "handledRequests": handled,
    }
    if facts.plan.unpaid:
        status["unpaid"] = unpaid_as_json(facts.plan.unpaid)
    if facts.money.funding is not None:
        status["funding"] = {**facts.money.funding, "sessionUid": obj["metadata"]["uid"]}
    if claim := facts.volume.claim or old.get("claimName"):
        status["claimName"] = claim
    if facts.reader_until:
        status["readerUntil"] = facts.reader_until
    return status


def _seconds(seconds: int) -> str:
    return format_duration(timedelta(seconds=seconds))


def _phase(facts: Facts) -> str:
    live = any(node.live for node in facts.nodes)
    if facts.wanted.suspend:
        return "Suspended"
    if not facts.started:
        return "AwaitingPayment" if facts.class_found else "Pending"
    if facts.plan.exhausted:
        return "Exhausted"
    if live and facts.active_jobs:
        return "Active"
    if not facts.class_found or facts.volume.claim is None:
        return "Pending"
    return "Active" if facts.active_jobs or live else "Asleep"


def _findings(facts: Facts, phase: str) -> list[Finding]:
    nodes = _nodes_available(facts)
    ready, stalled = _summary(facts, phase, nodes)
    starting = not stalled and ready.status == "False"
    return [
        ready,
        Finding("Reconciling", truth(starting), ready.reason if starting else phase),
        Finding("Stalled", truth(stalled), ready.reason if stalled else phase),
        facts.volume.finding,
        facts.master.finding,
        nodes,
        facts.money.finding,
        facts.low,
        *([facts.idle_policy] if facts.idle_policy else []),
    ]


def _summary(facts: Facts, phase: str, nodes: Finding) -> tuple[Finding, bool]:
    """Ready, and whether somebody has to mend something."""
    wrong = _what_is_wrong(facts, phase, nodes)
    if wrong is not None:
        return Finding("Ready", "False", wrong.reason, wrong.message), True
    ready = Finding("Ready", "True", phase)
    if phase == "Suspended":
        ready = Finding("Ready", "True", "Suspended", "spec.suspend is true: no nodes run.")
    elif phase == "Asleep":
        ready = Finding("Ready", "True", "Asleep", "No job has frames left to render.")
    elif phase == "AwaitingPayment":
        ready = replace(facts.money.finding, type="Ready")
    elif facts.master.state != "Running":
        ready = Finding("Ready", "False", "MasterStarting", "The master starts.")
    elif nodes.status == "False":
        ready = replace(nodes, type="Ready")
    return ready, False


def _what_is_wrong(facts: Facts, phase: str, nodes: Finding) -> Trouble | None:
    """The first thing that somebody has to mend, in the order in which it would stop them."""
    volume, master = facts.volume, facts.master
    if not facts.class_found:
        return Trouble(
            "NodeClassNotFound",
            f"spec.nodeClassName {facts.class_name!r}: there is no such RenderNodeClass (yet): "
            "create it, or create a session of another class (kubectl get rnc lists them)",
        )
    if not facts.started or (phase == "Exhausted" and not volume.wrong):
        return _unpaid(facts, phase)
    if volume.wrong:
        return Trouble(volume.finding.reason, volume.finding.message)
    if phase not in ("Suspended", "Asleep"):
        if master.trouble is not None:
            return Trouble(master.trouble.reason, f"master: {master.trouble.message}")
        if master.state == "Running" and nodes.status == "False" and nodes.reason not in _PASSES:
            return Trouble(nodes.reason, nodes.message)
    return None


def _unpaid(facts: Facts, phase: str) -> Trouble | None:
    """It waits for its first money, or for more of it."""
    must_pay, funded = facts.money.someone_must_act, facts.money.finding
    if not facts.started:
        return Trouble(funded.reason, funded.message) if must_pay and phase != "Suspended" else None
    used = f"all {_seconds(facts.wanted.granted_seconds)} of render time are used"
    if must_pay:
        return Trouble("Exhausted", f"{used}, and more is not paid for: {funded.message}")
    remedy = "raise spec.renderTime or spec.nodes, and the jobs go on"
    return Trouble("Exhausted", f"{used}: {remedy}")


def _nodes_available(facts: Facts) -> Finding:
    ready = sum(n.ready_at is not None and n.staying for n in facts.nodes)
    if facts.plan.wish == 0:
        return Finding("NodesAvailable", "True", "NoneNeeded")
    lacking = _why_not_available(facts)
    if not ready:
        return lacking
    more = ready < facts.plan.wish and lacking.reason not in _PASSES
    return Finding("NodesAvailable", "True", "NodesReady", lacking.message if more else "")


def _why_not_available(facts: Facts) -> Finding:
    trouble = next(filter(None, map(_trouble_of, facts.node_objects)), None)
    if trouble is not None:
        return Finding("NodesAvailable", "False", trouble["reason"], f"nodes: {trouble['message']}")
    if facts.nodes_refused:
        message = f"nodes: no more may be made: {facts.nodes_refused}"
        return Finding("NodesAvailable", "False", "NodeRefused", message)
    if facts.plan.desired == 0:
        message = (
            f"nodes: class {facts.class_name!r} has fewer than its sessions want, and all of this "
            "session's share are in use; it is next when one is free and it is its turn"
        )
        return Finding("NodesAvailable", "False", WAITS_FOR_SHARE, message)
    if facts.nodes_fail:
        message = f"nodes: the last ones failed; one is tried after a while: {facts.nodes_fail}"
        return Finding("NodesAvailable", "False", "NodesFail", message)
    return Finding("NodesAvailable", "False", "Starting", "nodes: they start")


def _trouble_of(node: Object) -> Mapping[str, Any] | None:
    if (node.get("status") or {}).get("endedAt"):
        return None
    stalled = conditions.find(node, "Stalled").get("status") == "True"
    return conditions.find(node, "Ready") if stalled else None


_SOFT_COUNTS = frozenset({"nodes"})
_SOFT_TIME = frozenset({"renderTime"})


def may_wait(obj: Mapping[str, Any], status: Mapping[str, Any]) -> timedelta | None:
    """How long after the last write this one may come: None at once; only for counts and times."""
    old = obj.get("status") or {}
    differ = {name for name in {*old, *status} if old.get(name) != status.get(name)}
    if not differ:
        return timedelta.max
    if differ <= _SOFT_TIME:
        granted = (old.get("renderTime") or {}).get("granted")
        return TIME_EVERY if granted == status["renderTime"]["granted"] else None
    if differ <= _SOFT_TIME | _SOFT_COUNTS:
        return COUNTS_EVERY
    return None

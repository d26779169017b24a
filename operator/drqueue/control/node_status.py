"""The status of a RenderNode, written whole by its own reconciler."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from drqueue.api.values import format_time, parse_time
from drqueue.control import conditions
from drqueue.control.conditions import Finding, truth
from drqueue.control.dry_run import Events
from drqueue.control.node_plan import LAUNCH_REFUSED, NodePlan
from drqueue.farm.protocol import NodeReport
from drqueue.providers.base import Observation

Json = dict[str, Any]

PROVIDER_ID = "providerID"
"""The field of a node's status that says that something was made outside."""


def build(
    obj: Mapping[str, Any],
    planned: NodePlan,
    report: NodeReport | None,
    outside: Observation | None,
    now: datetime,
) -> Json:
    """The status that follows from a plan. What was recorded once stays."""
    old = obj.get("status") or {}
    generation = obj["metadata"].get("generation", 0)
    status: Json = {
        "observedGeneration": generation,
        "phase": planned.phase,
        "conditions": conditions.merge(
            old.get("conditions") or (), _findings(planned), generation, now
        ),
    }
    for name in (PROVIDER_ID, "address", "readyAt", "drainStartedAt", "endedAt", "endReason"):
        if old.get(name):
            status[name] = old[name]
    if planned.phase in ("Launching", "Ready", "Parked", "Draining"):
        status.setdefault(PROVIDER_ID, outside.provider_id if outside else "unknown")
        if outside and outside.address:
            status["address"] = outside.address
    if planned.ready_at is not None:
        status.setdefault("readyAt", format_time(planned.ready_at))
    if planned.drain_started_at is not None:
        status.setdefault("drainStartedAt", format_time(planned.drain_started_at))
    if planned.parked:
        status["parked"] = [_interval(since, until) for since, until in planned.parked]
    if planned.end is not None:
        status.setdefault("endedAt", format_time(planned.end.at))
        status.setdefault("endReason", planned.end.reason)
    elif report is not None and report.block:
        status["block"] = report.block
    return status


def _interval(since: datetime, until: datetime | None) -> Json:
    return {"since": format_time(since), **({"until": format_time(until)} if until else {})}


def _findings(planned: NodePlan) -> list[Finding]:
    if planned.phase == "Ready":
        ready = Finding("Ready", "True", "Ready", "It takes blocks.")
    elif planned.phase == "Parked":
        message = "It is kept for a while, with nothing to render."
        ready = Finding("Ready", "True", "Parked", message)
    elif planned.end is not None:
        ready = Finding("Ready", "False", planned.end.reason, planned.end.message)
    elif planned.trouble is not None:
        ready = Finding("Ready", "False", planned.trouble.reason, planned.trouble.message)
    elif planned.phase == "Draining":
        ready = Finding("Ready", "False", "Draining", "It finishes its block, then ends.")
    else:
        ready = Finding("Ready", "False", planned.phase, "It has not got ready yet.")
    stalled = planned.trouble is not None and planned.end is None
    return [
        ready,
        Finding(
            "Reconciling",
            truth(planned.phase in ("Pending", "Launching", "Draining") and not stalled),
            planned.phase,
        ),
        Finding("Stalled", truth(stalled), ready.reason if stalled else planned.phase),
    ]


def launch_refused(obj: Mapping[str, Any]) -> tuple[datetime | None, str]:
    """Since when a node's launch is refused, and why; None where it is not."""
    stalled = conditions.find(obj, "Stalled")
    if (stalled.get("status"), stalled.get("reason")) != ("True", LAUNCH_REFUSED):
        return None, ""
    why = conditions.find(obj, "Ready").get("message", "")
    return parse_time(stalled["lastTransitionTime"]), why


def differs_in_block_only(obj: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether nothing but the block it renders is new."""
    old = obj.get("status") or {}
    return all(old.get(name) == status.get(name) for name in {*old, *status} - {"block"})


def announce_trouble(events: Events, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Tell once why a node does not start."""
    stalled = conditions.changed_reason(before, after.get("status") or {}, "Stalled")
    if stalled is not None and stalled["status"] == "True":
        ready = conditions.find(after, "Ready")
        events.event(dict(after), "Warning", ready["reason"], ready.get("message", ""))

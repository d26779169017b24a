"""What the uninstall hook writes: pure, from the objects and the time."""

from datetime import datetime
from typing import Any

from drqueue.api.values import format_time, parse_duration, parse_time
from drqueue.billing.settlement import NodeTime, settle
from drqueue.control import session_nodes
from drqueue.control.kinds import Object
from drqueue.providers.pod_status import has_ended, observe_pod


def is_over(pod: Object, now: datetime) -> bool:
    """Tell whether nothing of the pod runs any more, and nothing will."""
    return observe_pod(pod, now).ended


def is_lost(pod: Object, now: datetime) -> bool:
    """Tell whether its machine is silent, so that no kubelet will take the pod away."""
    return bool(pod["spec"].get("nodeName")) and is_over(pod, now) and not has_ended(pod)


def became_ready(node: Object, pod: Object, now: datetime) -> dict[str, Any] | None:
    """Give the node's status with the time its pod became Ready, or None where that is known.

    To be written before the pod is deleted: its end takes the condition away.
    """
    status = dict(node.get("status") or {})
    ready_at = observe_pod(pod, now).ready_at
    if ready_at is None or status.get("readyAt"):
        return None
    return {**status, "readyAt": format_time(ready_at)}


def ended(node: Object, pod: Object | None, now: datetime) -> dict[str, Any]:
    """Give the node's status at its end; as it is, where the end is recorded already."""
    status = dict(node.get("status") or {})
    if status.get("endedAt"):
        return status
    moment = (observe_pod(pod, now).ended_at or now) if pod else _last_sign(status, now)
    if status.get("readyAt"):
        moment = max(moment, parse_time(status["readyAt"]))
    status.pop("block", None)
    return {**status, "phase": "Ended", "endedAt": format_time(moment), "endReason": "Deleted"}


def _last_sign(status: dict[str, Any], now: datetime) -> datetime:
    """A node without a pod: nobody pays for time that nothing vouches for."""
    sign = status.get("drainStartedAt") or status.get("readyAt")
    return parse_time(sign) if sign else now


def settled(session: Object, node: Object) -> dict[str, Any]:
    """Give the session's status with the ended node's seconds added: once, and never more than
    was granted."""
    status = dict(session.get("status") or {})
    settling = tuple((e["uid"], int(e["seconds"])) for e in status.get("settling") or ())
    if any(uid == node["metadata"]["uid"] for uid, _ in settling):
        return status
    granted = session["spec"]["nodes"] * parse_duration(session["spec"]["renderTime"])
    seconds = int((status.get("funding") or {}).get("seconds", granted.total_seconds()))
    others = (NodeTime(uid) for uid, _ in settling)
    times = [*others, session_nodes.time_of(node, session_nodes.unpaid_since(status))]
    sums = settle(session_nodes.settled_days(status), settling, times, seconds)
    return {
        **status,
        "settledDays": session_nodes.days_as_json(sums.days),
        "settling": [{"uid": uid, "seconds": added} for uid, added in sums.settling],
    }

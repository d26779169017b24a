"""What the uninstall hook finds and writes: pure, from the objects and the time."""

from datetime import datetime, timedelta
from typing import Any

from drqueue.api.values import format_time, parse_time
from drqueue.control.kinds import Object

LOST_AFTER = timedelta(seconds=20)
"""A pod that says nothing for so long after its grace has lost its machine."""


def is_over(pod: Object, now: datetime) -> bool:
    """Tell whether nothing of the pod runs any more, and nothing will."""
    status, meta = pod.get("status") or {}, pod["metadata"]
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    if "deletionTimestamp" not in meta:
        return False
    if not pod["spec"].get("nodeName"):
        return True  # no machine had it yet, and one that is being deleted gets none
    containers = status.get("containerStatuses") or []
    if containers and all("terminated" in (c.get("state") or {}) for c in containers):
        return True
    return now > parse_time(meta["deletionTimestamp"]) + LOST_AFTER


def became_ready(node: Object, pod: Object) -> dict[str, Any] | None:
    """Give the node's status with the time its pod became Ready, or None where that is known.

    To be written before the pod is deleted: its end takes the condition away.
    """
    status = dict(node.get("status") or {})
    since = next(
        (
            condition["lastTransitionTime"]
            for condition in (pod.get("status") or {}).get("conditions") or []
            if condition["type"] == "Ready" and condition["status"] == "True"
        ),
        None,
    )
    if since is None or status.get("readyAt"):
        return None
    return {**status, "readyAt": since}


def ended(node: Object, pod: Object | None, now: datetime) -> dict[str, Any]:
    """Give the node's status at its end; as it is, where the end is recorded already."""
    status = dict(node.get("status") or {})
    if status.get("phase") == "Ended" and status.get("endedAt"):
        return status
    moment = _end_of(pod, now) if pod is not None else _last_sign(status, now)
    if status.get("readyAt"):
        moment = max(moment, parse_time(status["readyAt"]))
    status.pop("block", None)
    return {
        **status,
        "phase": "Ended",
        "endedAt": format_time(moment),
        "endReason": status.get("endReason") or "Deleted",
    }


def _end_of(pod: Object, now: datetime) -> datetime:
    """When the pod's last container finished; where none says, the end of its grace or now."""
    finished = [
        parse_time(at)
        for container in (pod.get("status") or {}).get("containerStatuses") or []
        if (at := ((container.get("state") or {}).get("terminated") or {}).get("finishedAt"))
    ]
    if finished:
        return max(finished)
    deleted = pod["metadata"].get("deletionTimestamp")
    return min(now, parse_time(deleted)) if deleted else now


def _last_sign(status: dict[str, Any], now: datetime) -> datetime:
    """A node without a pod: nobody pays for time that nothing vouches for."""
    signs = [status.get("readyAt"), status.get("drainStartedAt")]
    signs += [condition.get("lastTransitionTime") for condition in status.get("conditions") or []]
    return max((parse_time(sign) for sign in signs if sign), default=now)


def settled(session: Object, node: Object) -> dict[str, Any]:
    """Give the session's status with the ended node's seconds added, exactly once."""
    status = dict(session.get("status") or {})
    settling = list(status.get("settling") or [])
    uid = node["metadata"]["uid"]
    if any(entry["uid"] == uid for entry in settling):
        return status
    times = node["status"]
    seconds = 0
    if times.get("readyAt"):
        spent = parse_time(times["endedAt"]) - parse_time(times["readyAt"])
        seconds = int(spent.total_seconds())
    return {
        **status,
        "settledSeconds": status.get("settledSeconds", 0) + seconds,
        "settling": [*settling, {"uid": uid, "seconds": seconds}],
    }

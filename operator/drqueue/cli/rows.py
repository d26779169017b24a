"""Jobs and nodes as rows of a table."""

from collections.abc import Callable
from datetime import datetime

from drqueue.api.values import parse_time
from drqueue.cli.describe import unseen, why_not_ready
from drqueue.cli.kinds import Object
from drqueue.cli.output import age, dig, short_duration

JOB_HEADERS = ["NAME", "SESSION", "PHASE", "DONE", "FAILED", "PROGRESS", "ETA", "AGE", "WHY"]
NODE_HEADERS = ["NAME", "SESSION", "PHASE", "CLASS", "BLOCK", "READY FOR", "AGE", "WHY"]

Clock = Callable[[], datetime]


def job_row(job: Object, now: Clock) -> list[object]:
    """One job, for the columns JOB_HEADERS."""
    frames = dig(job, "status", "frames") or {}
    return [
        dig(job, "metadata", "name"),
        dig(job, "spec", "sessionName"),
        job_phase(job),
        f"{frames.get('succeeded', 0)}/{frames['total']}" if frames.get("total") else "",
        frames.get("failed", 0) or "",
        dig(job, "status", "progress"),
        eta(job, now),
        age(dig(job, "metadata", "creationTimestamp"), now),
        why(job),
    ]


def job_phase(job: Object) -> str:
    """The phase of a job; one that nobody has seen yet waits."""
    return str(dig(job, "status", "phase") or "Waiting")


def eta(job: Object, now: Clock) -> str:
    """How long a job will still take, as its status guesses."""
    moment = dig(job, "status", "eta")
    if not moment or dig(job, "status", "finishedAt"):
        return ""
    left = (parse_time(moment) - now()).total_seconds()
    return f"in {short_duration(left)}" if left > 0 else "soon"


def why(job: Object) -> str:
    """Why a job waits, or what went wrong."""
    return unseen(job) or str(dig(job, "status", "message") or "") or why_not_ready(job)


def node_row(node: Object, now: Clock) -> list[object]:
    """One node, for the columns NODE_HEADERS."""
    ended = dig(node, "status", "endedAt")
    return [
        dig(node, "metadata", "name"),
        dig(node, "spec", "sessionName"),
        dig(node, "status", "phase") or "Pending",
        dig(node, "spec", "nodeClassName"),
        dig(node, "status", "block"),
        _ready_for(dig(node, "status", "readyAt"), ended, now),
        age(dig(node, "metadata", "creationTimestamp"), now),
        str(dig(node, "status", "endReason") or "") or unseen(node) or why_not_ready(node),
    ]


def _ready_for(ready: str | None, ended: str | None, now: Clock) -> str:
    if not ready:
        return ""
    until = parse_time(ended) if ended else now()
    return short_duration((until - parse_time(ready)).total_seconds())

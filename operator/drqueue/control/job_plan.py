"""What a RenderJob's status should say, and whether its master must be told. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from drqueue.control import conditions
from drqueue.control.session_jobs import OVER
from drqueue.farm.protocol import JobReport
from drqueue.providers.base import Trouble

Job = Mapping[str, Any]

PROGRESS_EVERY = timedelta(seconds=5)

_PHASES = {
    "waiting": "Waiting",
    "running": "Running",
    "suspended": "Suspended",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "killed": "Killed",
}


@dataclass(frozen=True)
class Session:
    """The session that a job names, as the job sees it."""

    uid: str
    phase: str | None
    master: str | None
    ready: bool
    stalled: bool
    message: str


def session_of(obj: Mapping[str, Any] | None) -> Session | None:
    """Read a RenderSession; None for one that is absent or on its way out."""
    if obj is None or "deletionTimestamp" in obj["metadata"]:
        return None
    status, ready = obj.get("status") or {}, conditions.find(obj, "Ready")
    return Session(
        uid=obj["metadata"]["uid"],
        phase=status.get("phase"),
        master=status.get("master"),
        ready=ready.get("status") == "True",
        stalled=conditions.find(obj, "Stalled").get("status") == "True",
        message=str(ready.get("message") or ""),
    )


def is_over(job: Job) -> bool:
    """Whether all its frames have ended one way or the other, as its status says."""
    return (job.get("status") or {}).get("phase") in OVER


def session_trouble(job: Job, session: Session | None) -> Trouble | None:
    """The session is not there."""
    if session is not None:
        return None
    name = job["spec"]["sessionName"]
    return Trouble(
        "SessionNotFound",
        f"spec.sessionName {name!r}: there is no such RenderSession (yet): create it, or write the "
        "name of another one on the same volume",
    )


def class_trouble(class_name: str) -> Trouble:
    """The session's class is not there."""
    return Trouble(
        "NodeClassNotFound",
        f"the session's node class {class_name!r} does not exist (yet): have it created",
    )


FOUND_BY_MASTER = (
    "SceneMissing",
    "OutputTaken",
    "TemplateInvalid",
    "ParametersInvalid",
    "MasterRefused",
)


def remembered_trouble(job: Job) -> Trouble | None:
    """What a master that says nothing now last found wrong with a job that was not edited since."""
    accepted = conditions.find(job, "Accepted")
    if accepted.get("status") != "False" or accepted.get("reason") not in FOUND_BY_MASTER:
        return None
    if accepted.get("observedGeneration") != job["metadata"].get("generation", 0):
        return None
    return Trouble(accepted["reason"], str(accepted.get("message") or ""))


def dependency_trouble(job: Job, find: Callable[[str], Job | None]) -> Trouble | None:
    """A dependency that is absent, failed, or comes round to the job itself."""
    session = job["spec"]["sessionName"]
    for name in job["spec"].get("dependsOn") or ():
        other = find(name)
        if other is None or "deletionTimestamp" in other["metadata"]:
            return Trouble(
                "DependencyNotFound",
                f"spec.dependsOn: there is no RenderJob {name!r} (yet): create it",
            )
        if other["spec"]["sessionName"] != session:
            return Trouble(
                "DependencyNotFound",
                f"spec.dependsOn: job {name!r} is in session {other['spec']['sessionName']!r}: "
                f"only jobs of session {session!r} can be waited for",
            )
        phase = (other.get("status") or {}).get("phase")
        if phase in ("Failed", "Killed"):
            return Trouble(
                "DependencyFailed",
                f"spec.dependsOn: job {name!r} has {phase.lower()} frames: rerun it, or create "
                "this job without it",
            )
    cycle = _cycle(job, find)
    if cycle:
        return Trouble(
            "DependencyCycle",
            f"spec.dependsOn goes round in a circle ({' → '.join(cycle)}): delete one of these "
            "jobs and create it without the dependency",
        )
    return None


def _cycle(job: Job, find: Callable[[str], Job | None]) -> list[str]:
    """The way from a job back to itself; empty where there is none."""
    start = job["metadata"]["name"]
    way: dict[str, str] = {}
    waiting = [(start, name) for name in job["spec"].get("dependsOn") or ()]
    while waiting:
        before, name = waiting.pop()
        if name == start:
            path = [start, before]
            while path[-1] != start:
                path.append(way[path[-1]])
            return path[::-1] if before != start else [start, start]
        other = find(name)
        if name in way or other is None or is_over(other):
            continue
        way[name] = before
        waiting += [(name, further) for further in other["spec"].get("dependsOn") or ()]
    return []


def waits_for(job: Job, find: Callable[[str], Job | None]) -> list[str]:
    """Names of dependencies that have not succeeded yet."""
    names = job["spec"].get("dependsOn") or ()
    return [
        name
        for name in names
        if ((find(name) or {}).get("status") or {}).get("phase") != "Succeeded"
    ]


def must_tell(
    job: Job,
    report: JobReport | None,
    request_ids: Iterable[str],
    since_told: timedelta | None,
) -> bool:
    """Whether the master must be given the order (again)."""
    if report is None:
        return not is_over(job) or bool(list(request_ids))
    if report.generation < job["metadata"].get("generation", 0):
        return True
    answered = {request.id for request in report.requests}
    if any(request_id not in answered for request_id in request_ids):
        return True
    if report.state == "suspended" and not job["spec"].get("suspend"):
        return True  # held while it named another session
    again = since_told is None or since_told >= TELL_AGAIN
    return report.problem is not None and again


TELL_AGAIN = timedelta(seconds=20)
"""How often the master looks again at a job in which something is missing."""


def phase_of(job: Job, report: JobReport | None, session: Session | None) -> str:
    """The job's phase. What a master that sleeps now last reported stays."""
    if report is not None:
        return _PHASES[report.state]
    old = (job.get("status") or {}).get("phase")
    if old in OVER:
        return str(old)
    if job["spec"].get("suspend"):
        return "Suspended"
    accepted = (job.get("status") or {}).get("acceptedBy")
    if old == "Running" and session is not None and accepted == session.uid:
        return "Running"
    return "Waiting"


def message_of(
    job: Job,
    report: JobReport | None,
    session: Session | None,
    trouble: Trouble | None,
    waits: Iterable[str],
) -> str:
    """Why it waits or what went wrong, for a person; empty while it renders."""
    phase = phase_of(job, report, session)
    if phase in ("Succeeded", "Killed"):
        return ""
    if phase == "Failed":
        return _why_failed(job, report)
    if trouble is not None:
        return trouble.message
    if phase == "Suspended":
        return "spec.suspend is true: `drqueue job continue` goes on"
    return "" if phase == "Running" or session is None else _why_waiting(session, report, waits)


def _why_failed(job: Job, report: JobReport | None) -> str:
    failed = report.failed if report else _count(job, "failed")
    total = report.total if report else _count(job, "total")
    name = job["metadata"]["name"]
    return (
        f"{failed} of {total} frames failed: see lastError and `drqueue job logs {name}`; "
        f"`drqueue job rerun {name} --failed` tries them again"
    )


def _why_waiting(session: Session, report: JobReport | None, waits: Iterable[str]) -> str:
    names = list(waits)
    if names:
        return f"waits for the frames of {', '.join(names[:5])}"
    return _why_session_waits(session) or (report.reason if report else "") or "waits for a node"


def _why_session_waits(session: Session) -> str:
    if session.phase == "Suspended":
        return "the session is suspended: set its spec.suspend to false"
    if not session.ready and session.message:
        return f"session: {session.message}"
    if session.master != "Running":
        return "the session's master starts"
    return ""


def _count(job: Job, name: str) -> int:
    return int(((job.get("status") or {}).get("frames") or {}).get(name) or 0)


def may_be_removed(job: Job, jobs: Iterable[Job]) -> bool:
    """Whether a ttl may take a finished job: not while an unfinished one depends on it."""
    name = job["metadata"]["name"]
    return not any(
        name in (other["spec"].get("dependsOn") or ()) and not is_over(other)
        for other in jobs
        if "deletionTimestamp" not in other["metadata"]
    )

"""The status of a RenderJob, written whole by its own reconciler."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from drqueue.api.frames import count_frames
from drqueue.api.values import format_time
from drqueue.control import conditions
from drqueue.control.conditions import Finding, truth
from drqueue.control.job_order import output_folder
from drqueue.control.job_plan import PROGRESS_EVERY, Session, phase_of
from drqueue.control.session_jobs import OVER
from drqueue.farm.protocol import JobReport
from drqueue.providers.base import Trouble

Json = dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """All that a job's status is made of."""

    report: JobReport | None
    session: Session | None
    trouble: Trouble | None
    """Something that a person has to mend."""
    message: str
    waits_for_dependency: bool
    handled: list[Json]


def build(obj: Mapping[str, Any], facts: Facts, now: datetime) -> Json:
    """The status that follows from the facts. What a sleeping master last reported stays."""
    old, generation = obj.get("status") or {}, obj["metadata"].get("generation", 0)
    phase = phase_of(obj, facts.report, facts.session)
    status: Json = {
        "observedGeneration": generation,
        "phase": phase,
        "conditions": conditions.merge(
            old.get("conditions") or (), _findings(obj, facts, phase), generation, now
        ),
        "message": facts.message,
        "handledRequests": facts.handled,
        "outputFolder": old.get("outputFolder") or output_folder(obj),
    }
    accepted = facts.session.uid if facts.report and facts.session else old.get("acceptedBy")
    if accepted:
        status["acceptedBy"] = accepted
    if facts.report is not None:
        status |= _reported(facts.report, now)
    else:
        status |= _remembered(obj, old, phase)
    return status


def _reported(report: JobReport, now: datetime) -> Json:
    status: Json = {
        "frames": {
            name: getattr(report, name)
            for name in ("total", "waiting", "running", "succeeded", "failed")
        },
        "succeededFrames": report.succeeded_frames,
        "failedFrames": report.failed_frames,
        "progress": _progress(report),
        "lastError": conditions.shortened(report.last_error, 4000),
        "outputFolder": report.output_folder,
    }
    if report.started_at is not None:
        status["startedAt"] = format_time(report.started_at)
    if report.finished_at is not None:
        status["finishedAt"] = format_time(report.finished_at)
    left = report.waiting + report.running - report.partial
    if report.state == "running" and report.seconds_per_frame and report.running_blocks:
        seconds = left * report.seconds_per_frame / report.running_blocks
        status["eta"] = format_time(now + timedelta(seconds=min(max(seconds, 0), 10**9)))
    return status


def _progress(report: JobReport) -> str:
    if report.total == 0 or report.succeeded >= report.total:
        return "100%"
    return f"{min(int(100 * (report.succeeded + report.partial) / report.total), 99)}%"


def _remembered(obj: Mapping[str, Any], old: Mapping[str, Any], phase: str) -> Json:
    counts = dict(old.get("frames") or {})
    if not counts.get("total"):
        total = count_frames(obj["spec"]["frames"])
        counts = {"total": total, "waiting": total, "running": 0, "succeeded": 0, "failed": 0}
    elif phase in ("Waiting", "Suspended") and counts.get("running"):
        # no master renders them any more
        counts["waiting"] = counts.get("waiting", 0) + counts["running"]
        counts["running"] = 0
    status: Json = {
        "frames": counts,
        "succeededFrames": old.get("succeededFrames", ""),
        "failedFrames": old.get("failedFrames", ""),
        "progress": old.get("progress") or "0%",
        "lastError": old.get("lastError", ""),
    }
    for name in ("startedAt", "finishedAt"):
        if old.get(name):
            status[name] = old[name]
    return status


def _findings(obj: Mapping[str, Any], facts: Facts, phase: str) -> list[Finding]:
    over, failed = phase in OVER, phase in ("Failed", "Killed")
    stalled = phase == "Failed" or (facts.trouble is not None and not over)
    if phase == "Succeeded":
        ready = Finding("Ready", "True", "Succeeded", "All frames are done.")
    elif failed:
        ready = Finding("Ready", "False", phase, facts.message)
    elif facts.trouble is not None:
        ready = Finding("Ready", "False", facts.trouble.reason, facts.trouble.message)
    else:
        ready = Finding("Ready", "False", phase, facts.message)
    waiting = "WaitsForDependency" if facts.waits_for_dependency else phase
    return [
        ready,
        Finding("Reconciling", truth(not over and not stalled), phase if over else waiting),
        Finding("Stalled", truth(stalled), ready.reason if stalled else phase),
        _accepted(obj, facts),
        Finding("Complete", truth(phase == "Succeeded"), phase),
    ]


def _accepted(obj: Mapping[str, Any], facts: Facts) -> Finding:
    known = conditions.find(obj, "Accepted")
    if facts.trouble is not None:
        return Finding("Accepted", "False", facts.trouble.reason, facts.trouble.message)
    if facts.report is not None:
        return Finding("Accepted", "True", "Accepted", "The session's master has it.")
    old = obj.get("status") or {}
    if facts.session is not None and old.get("acceptedBy") == facts.session.uid:
        return Finding("Accepted", "True", "Accepted", "The session's master has it.")
    if old.get("phase") in OVER and known:
        return Finding("Accepted", known["status"], known["reason"], known.get("message", ""))
    return Finding("Accepted", "Unknown", "Pending", "No master has had it yet.")


def may_wait(obj: Mapping[str, Any], status: Mapping[str, Any]) -> timedelta | None:
    """How long after the last write this one may come: None at once, max: not at all."""
    old = obj.get("status") or {}
    differ = {name for name in {*old, *status} if old.get(name) != status.get(name)}
    if not differ or differ == {"eta"}:
        return timedelta.max
    at_once = {"observedGeneration", "acceptedBy", "handledRequests", "finishedAt"}
    if (
        not old
        or differ & at_once
        or (status["phase"] != old.get("phase") and _is_news(old, status))
    ):
        return None
    if conditions.changed_reason(obj, status, "Stalled") is not None and (
        _stalled(status) or _stalled(old)
    ):
        return None
    return PROGRESS_EVERY


def _is_news(old: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    # between blocks a job waits for a moment: to and fro is progress, not news
    return not {old.get("phase"), status["phase"]} <= {"Waiting", "Running"}


def _stalled(status: Mapping[str, Any]) -> bool:
    found = (c for c in status.get("conditions") or () if c["type"] == "Stalled")
    return any(condition["status"] == "True" for condition in found)

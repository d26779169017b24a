"""What a session's jobs need of it: blocks to render, and a master that is awake. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drqueue.api.frames import count_frames
from drqueue.control import conditions, requests
from drqueue.control.fit import Offer, why_not
from drqueue.farm.protocol import Changes, JobReport

Job = Mapping[str, Any]

OVER = ("Succeeded", "Failed", "Killed")
SEEN_BY_MASTER = ("SceneMissing", "OutputTaken", "MasterRefused")
"""Trouble that can pass without an edit of the job, and that only a master that is awake sees."""


@dataclass(frozen=True)
class Demand:
    """What the jobs need."""

    active: int = 0
    """Jobs with frames left that could render."""
    blocks: int = 0
    """Blocks waiting and running."""
    known: bool = True
    """The master says so; otherwise at least one job's part is a guess."""
    must_talk: bool = False
    """A master must be awake, whatever else: something is to be told or to be heard."""


def demand(
    jobs: Iterable[Job], changes: Changes | None, session_uid: str, offers: Sequence[Offer]
) -> Demand:
    """Sum up. `offers`: the class's and its nodes'. A job that fits none has no blocks."""
    reports = {report.uid: report for report in changes.jobs} if changes else {}
    active = blocks = 0
    known = changes is not None
    must_talk = False
    for job in jobs:
        report = reports.get(job["metadata"]["uid"])
        must_talk = must_talk or _must_talk(job, session_uid)
        if "deletionTimestamp" in job["metadata"]:
            continue
        if report is not None:
            blocks += _reported_blocks(job, report, offers)
        if not is_active(job):
            continue
        active += 1
        if report is None:
            known = False
            blocks += _guessed_blocks(job, session_uid, offers)
    if not active and not must_talk:
        known = True  # nothing can be left to render, whatever a master would say
    return Demand(active, blocks, known, must_talk)


def is_active(job: Job) -> bool:
    """Whether a job has frames left that could render in this session, as its status says."""
    status = job.get("status") or {}
    if "deletionTimestamp" in job["metadata"] or not status:
        return False
    if status.get("phase") in OVER or job["spec"].get("suspend"):
        return False
    if conditions.find(job, "Stalled").get("status") != "True":
        return True
    return conditions.find(job, "Accepted").get("reason") in SEEN_BY_MASTER


def _must_talk(job: Job, session_uid: str) -> bool:
    """Whether the master has to be told of something, or to tell: never for a job it never had."""
    status = job.get("status") or {}
    if status.get("acceptedBy") != session_uid:
        return False
    running = (status.get("frames") or {}).get("running", 0) > 0
    return running or bool(requests.pending(job))


def _reported_blocks(job: Job, report: JobReport, offers: Sequence[Offer]) -> int:
    waiting = report.waiting_blocks
    if report.problem is not None or job["spec"].get("suspend") or not fits(job, offers):
        waiting = 0
    return waiting + report.running_blocks


def _guessed_blocks(job: Job, session_uid: str, offers: Sequence[Offer]) -> int:
    """Blocks by the job's spec, until the master knows better.

    None for a scene in the volume that no master has found yet: it may be missing.
    """
    spec, status = job["spec"], job.get("status") or {}
    accepted = status.get("acceptedBy") == session_uid
    trouble = conditions.find(job, "Stalled").get("status") == "True"
    waits = conditions.find(job, "Reconciling").get("reason") == "WaitsForDependency"
    by_path = bool((spec.get("scene") or {}).get("path"))
    if trouble or waits or (by_path and not accepted) or not fits(job, offers):
        return 0
    return _blocks_left(job)


def expected_blocks(jobs: Iterable[Job], offers: Sequence[Offer]) -> int:
    """Blocks that jobs have left by their specs: in a dry run no status may ever say."""
    blocks = 0
    for job in jobs:
        spec, status = job["spec"], job.get("status") or {}
        over = status.get("phase") in OVER or "deletionTimestamp" in job["metadata"]
        if not over and not spec.get("suspend") and fits(job, offers):
            blocks += _blocks_left(job)
    return blocks


def _blocks_left(job: Job) -> int:
    spec, counts = job["spec"], (job.get("status") or {}).get("frames") or {}
    total = counts.get("total") or count_frames(spec["frames"])
    left: int = total - counts.get("succeeded", 0) - counts.get("failed", 0)
    return max(-(-left // int(spec.get("blockSize") or 1)), 0)


def fits(job: Job, offers: Sequence[Offer]) -> bool:
    """Whether some node there is, or could be made, can render the job."""
    return any(why_not(job["spec"], offer, "") is None for offer in offers)

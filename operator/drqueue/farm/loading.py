"""The journal read back into memory, when a master starts or a commit failed."""

import json
from typing import Any

from drqueue.api.frames import parse_frames
from drqueue.api.values import parse_time
from drqueue.farm.attempts import take_up
from drqueue.farm.frame_list import MAX_LEASE_TEXT
from drqueue.farm.journal import Journal
from drqueue.farm.protocol import FileDone, JobOrder, JobProblem, RequestReport
from drqueue.farm.state import (
    PUBLISHING,
    SUCCEEDED,
    Attempt,
    Farm,
    Job,
    Moment,
    Publishing,
    Retries,
)


def load(journal: Journal, lease_seconds: float, now: Moment) -> Farm:
    """Read all of it. Every lease that runs is renewed for a full term.

    What is wrong with jobs' scenes and folders is left to be found out. Raises sqlite3.Error.
    """
    farm = Farm(lease_seconds)
    farm.deleted = {uid for (uid,) in journal.rows("SELECT uid FROM deleted")}
    for number in journal.rows("SELECT seq FROM sqlite_sequence WHERE name = 'attempts'"):
        farm.next_attempt = number[0] + 1
    for uid, name, state in journal.rows("SELECT uid, name, state FROM nodes"):
        farm.node(uid, name).state = state
    _load_jobs(farm, journal)
    _load_frames(farm, journal)
    for folder, job_uid in journal.rows("SELECT folder, job_uid FROM folders"):
        farm.folders[folder] = job_uid
    _load_blocks(farm, journal, now)
    _load_attempts(farm, journal, now)
    for job in farm.jobs.values():
        farm.touch(job)
    return farm


def _load_jobs(farm: Farm, journal: Journal) -> None:
    columns = "job_order, scene, problem, killed, last_error, started_at, finished_at"
    for order, scene, problem, killed, error, started_at, finished_at in journal.rows(
        f"SELECT {columns} FROM jobs"  # noqa: S608 no value of anybody's in it
    ):
        job = Job(
            JobOrder.model_validate_json(order),
            scene,
            JobProblem.model_validate_json(problem) if problem else None,
        )
        job.killed = bool(killed)
        job.last_error = error
        job.started_at = parse_time(started_at) if started_at else None
        job.finished_at = parse_time(finished_at) if finished_at else None
        farm.add(job)
    for uid, number, verb, result, message, at in journal.rows(
        "SELECT job_uid, id, verb, result, message, at FROM requests ORDER BY at"
    ):
        if uid in farm.jobs:
            farm.jobs[uid].requests[number] = RequestReport(
                id=number, verb=verb, result=result, message=message, time=parse_time(at)
            )


def _load_frames(farm: Farm, journal: Journal) -> None:
    for job in farm.jobs.values():
        rows = journal.rows(
            "SELECT frame, state FROM frames WHERE job_uid = ? ORDER BY frame", (job.uid,)
        )
        states = job.states
        for index, state in job.frames.ascending((frame, state) for frame, state in rows):
            states[index] = state
        job.counts = [states.count(state) for state in range(len(job.counts))]
        _load_publishing(farm, job, journal)
        job.seconds_per_frame = next(
            journal.rows(
                "SELECT avg(seconds) FROM (SELECT seconds FROM frames WHERE job_uid = ? "
                "AND state = ? LIMIT 1000)",
                (job.uid, SUCCEEDED),
            )
        )[0]


def _load_publishing(farm: Farm, job: Job, journal: Journal) -> None:
    if not job.counts[PUBLISHING]:
        return
    for frame, attempt, seconds, files in journal.rows(
        "SELECT frame, attempt, seconds, files FROM frames WHERE job_uid = ? AND state = ?",
        (job.uid, PUBLISHING),
    ):
        index = job.frames.index(frame)
        if index is not None:
            farm.publishing[job.uid, index] = Publishing(attempt, seconds or 0.0, read_files(files))


def read_files(text: str) -> tuple[FileDone, ...]:
    """The files of a frame, as the journal keeps them."""
    kept: list[list[Any]] = json.loads(text) if text else []
    return tuple(
        FileDone(path=path, size=size, mark=mark[0] if mark else None) for path, size, *mark in kept
    )


def _load_blocks(farm: Farm, journal: Journal, now: Moment) -> None:
    for uid, block, failures, spared, tried in journal.rows(
        "SELECT job_uid, block, failures, spared, tried FROM blocks"
    ):
        if uid in farm.jobs:
            farm.jobs[uid].retries[block] = Retries(failures, spared, set(json.loads(tried)))
    for job in farm.jobs.values():
        job.release_all(now.ticks)


def _load_attempts(farm: Farm, journal: Journal, now: Moment) -> None:
    for number, uid, block, generation, frames, node_uid, node_name in journal.rows(
        "SELECT number, job_uid, block, generation, frames, node_uid, node_name FROM attempts "
        "WHERE ended_at IS NULL"
    ):
        job = farm.jobs[uid]
        first, behind = job.bounds(block)
        listed = {job.frames.index(frame) for frame in parse_frames(frames, MAX_LEASE_TEXT)}
        attempt = Attempt(
            number=number,
            job_uid=uid,
            block=block,
            generation=generation,
            node_uid=node_uid,
            node_name=node_name,
            text=frames,
            left={i for i in range(first, behind) if i in listed and job.states[i] != SUCCEEDED},
            expires=now.ticks + farm.lease_seconds,
        )
        take_up(farm, job, attempt, farm.node(node_uid, node_name))
    for number, told, node_uid, node_name in journal.rows(
        "SELECT max(number), told, node_uid, node_name FROM attempts WHERE ended_at IS NOT NULL "
        "GROUP BY node_uid"
    ):
        farm.node(node_uid, node_name).last = (number, bool(told))

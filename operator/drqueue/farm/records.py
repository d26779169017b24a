"""What is written to the journal, each as one statement with its values. Pure."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from drqueue.api.values import format_time
from drqueue.farm.protocol import (
    FileDone,
    JobOrder,
    JobProblem,
    NodeState,
    RequestReport,
)

Record = tuple[str, tuple[Any, ...]]

WAITING, SUCCEEDED, FAILED, PUBLISHING = 0, 1, 2, 3
"""States of a frame in the journal; one that waits has no row."""


def job_put(order: JobOrder, scene: str | None, problem: JobProblem | None) -> Record:
    """A job's order, anew or changed. The order is kept without requests and scene content."""
    return (
        "INSERT INTO jobs (uid, generation, job_order, scene, problem) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (uid) DO UPDATE SET generation = excluded.generation, "
        "job_order = excluded.job_order, scene = excluded.scene, problem = excluded.problem",
        (
            order.uid,
            order.generation,
            order.model_dump_json(exclude_none=True),
            scene,
            problem.model_dump_json() if problem else None,
        ),
    )


def job_state(uid: str, killed: bool, finished_at: datetime | None) -> Record:
    """Whether a job was killed, and when it ended."""
    return (
        "UPDATE jobs SET killed = ?, finished_at = ? WHERE uid = ?",
        (int(killed), _time(finished_at), uid),
    )


def job_started(uid: str, now: datetime) -> Record:
    """When a job's first block started."""
    return "UPDATE jobs SET started_at = ? WHERE uid = ?", (_time(now), uid)


def job_error(uid: str, text: str) -> Record:
    """A job's newest failure."""
    return "UPDATE jobs SET last_error = ? WHERE uid = ?", (text, uid)


def job_deleted(uid: str, now: datetime) -> list[Record]:
    """All that goes with a job, and the note that its UID never comes back."""
    gone: list[Record] = [
        (f"DELETE FROM {table} WHERE {column} = ?", (uid,))  # noqa: S608 from the list below
        for table, column in (
            ("jobs", "uid"),
            ("folders", "job_uid"),
            ("requests", "job_uid"),
            ("attempts", "job_uid"),
            ("frames", "job_uid"),
            ("blocks", "job_uid"),
        )
    ]
    return [*gone, ("INSERT OR REPLACE INTO deleted VALUES (?, ?)", (uid, _time(now)))]


def folder_taken(folder: str, job_uid: str) -> Record:
    """An output folder now belongs to a job."""
    return "INSERT OR IGNORE INTO folders VALUES (?, ?)", (folder, job_uid)


def request_answered(job_uid: str, answer: RequestReport) -> Record:
    """A person's request was acted on, or refused."""
    return (
        "INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?, ?, ?)",
        (job_uid, answer.id, answer.verb, answer.result, answer.message, _time(answer.time)),
    )


def attempt_started(
    number: int,
    *,
    job_uid: str,
    block: int,
    generation: int,
    frames: str,
    node_uid: str,
    node_name: str,
    now: datetime,
) -> Record:
    """A lease on a block."""
    return (
        "INSERT INTO attempts (number, job_uid, block, generation, frames, node_uid, node_name, "
        "started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (number, job_uid, block, generation, frames, node_uid, node_name, _time(now)),
    )


def attempt_frames(number: int, frames: str) -> Record:
    """A running attempt has other frames now."""
    return "UPDATE attempts SET frames = ? WHERE number = ?", (frames, number)


def attempt_ended(
    number: int,
    *,
    result: str,
    told: bool,
    now: datetime,
    exit_code: int | None = None,
    frame: int | None = None,
    message: str = "",
    last_lines: Iterable[str] = (),
) -> Record:
    """An attempt's end; `told` when its slave reported it, and may report it again."""
    return (
        "UPDATE attempts SET ended_at = ?, result = ?, told = ?, exit_code = ?, frame = ?, "
        "message = ?, last_lines = ? WHERE number = ?",
        (
            _time(now),
            result,
            int(told),
            exit_code,
            frame,
            message,
            "\n".join(last_lines),
            number,
        ),
    )


def frame_put(
    job_uid: str,
    frame: int,
    state: int,
    *,
    attempt: int,
    seconds: float | None = None,
    files: Iterable[FileDone] = (),
) -> Record:
    """A frame's state, with the attempt that brought it there."""
    # what is in its place needs no mark any more
    marked = state == PUBLISHING
    kept = [
        [file.path, file.size, file.mark] if marked and file.mark else [file.path, file.size]
        for file in files
    ]
    return (
        "INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?, ?, ?)",
        (job_uid, frame, state, attempt, seconds, json.dumps(kept) if kept else ""),
    )


def frame_waits(job_uid: str, frame: int) -> Record:
    """A frame waits again."""
    return "DELETE FROM frames WHERE job_uid = ? AND frame = ?", (job_uid, frame)


def block_put(job_uid: str, block: int, failures: int, spared: int, tried: Iterable[str]) -> Record:
    """A block's retries, and the nodes that it failed on."""
    return (
        "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?)",
        (job_uid, block, failures, spared, json.dumps(sorted(tried))),
    )


def block_clean(job_uid: str, block: int) -> Record:
    """A block has all its retries again."""
    return "DELETE FROM blocks WHERE job_uid = ? AND block = ?", (job_uid, block)


def node_put(uid: str, name: str, state: NodeState) -> Record:
    """A node was opened, closed or has ended."""
    return "INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)", (uid, name, state)


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None

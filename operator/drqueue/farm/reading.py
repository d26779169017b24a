"""What the journal says of single frames: for `drqueue job frames`, `logs` and `download`.

Read a page at a time, so that neither a master nor a reader holds a million rows.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from drqueue.api.frames import parse_frames
from drqueue.farm.frame_list import MAX_LEASE_TEXT, FrameList
from drqueue.farm.protocol import JobOrder
from drqueue.farm.records import FAILED, PUBLISHING, SUCCEEDED

Rows = Callable[[str, tuple[Any, ...]], Iterable[tuple[Any, ...]]]
"""Runs a query with its values."""

PAGE = 500
"""Frames read at a time."""
_STATES = {SUCCEEDED: "succeeded", FAILED: "failed", PUBLISHING: "running"}


class NothingSuchError(Exception):
    """The journal has no such job or frame; the text says which."""


@dataclass(frozen=True)
class Head:
    """A job, as far as it is needed to read its frames."""

    uid: str
    name: str
    output_folder: str
    block_size: int
    frames: FrameList


@dataclass(frozen=True)
class _Attempt:
    number: int
    block: int
    frames: frozenset[int]
    node: str
    started_at: str
    ended_at: str | None
    result: str | None
    exit_code: int | None
    message: str

    def told(self) -> dict[str, Any]:
        return {
            "attempt": self.number,
            "node": self.node,
            "result": self.result or "running",
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "exit_code": self.exit_code,
            "message": self.message,
        }


def read_head(rows: Rows, job_uid: str) -> Head:
    """Find a job. Raises NothingSuchError."""
    for (text,) in rows("SELECT job_order FROM jobs WHERE uid = ?", (job_uid,)):
        order = JobOrder.model_validate_json(text)
        return Head(
            order.uid, order.name, order.output_folder, order.block_size, FrameList(order.frames)
        )
    raise NothingSuchError(f"the journal has no job of UID {job_uid}")


def chosen_indexes(head: Head, frames: str | None) -> Sequence[int]:
    """The indexes of the frames of a range, or of all. Raises FramesError, NothingSuchError."""
    if frames is None:
        return range(len(head.frames))
    indexes = []
    for frame in parse_frames(frames):
        index = head.frames.index(frame)
        if index is None:
            raise NothingSuchError(f"job {head.name} has no frame {frame}")
        indexes.append(index)
    return indexes


def read_page(rows: Rows, head: Head, indexes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """What is known of at most `PAGE` frames, in the order given."""
    frames = [head.frames[index] for index in indexes]
    known = {
        frame: (state, attempt, seconds, files)
        for frame, state, attempt, seconds, files in rows(
            "SELECT frame, state, attempt, seconds, files FROM frames "
            "WHERE job_uid = ? AND frame IN (SELECT value FROM json_each(?))",
            (head.uid, json.dumps(frames)),
        )
    }
    tries = _attempts(rows, head, {index // head.block_size for index in indexes})
    for index, frame in zip(indexes, frames, strict=True):
        of_block = tries.get(index // head.block_size, [])
        mine = [attempt for attempt in of_block if frame in attempt.frames]
        yield _row(frame, known.get(frame), mine)


def _row(
    frame: int, known: tuple[int, int, float | None, str] | None, tries: list[_Attempt]
) -> dict[str, Any]:
    number, seconds, files = None, None, []
    if known is not None:
        state, (_, number, seconds, text) = _STATES[known[0]], known
        files = [{"path": path, "size": size} for path, size, *_ in json.loads(text or "[]")]
    else:
        running = [attempt for attempt in tries if attempt.ended_at is None]
        state = "running" if running else "waiting"
        if tries:
            number = (running or tries)[-1].number
    latest = next((attempt for attempt in tries if attempt.number == number), None)
    troubled = latest is not None and state in ("failed", "waiting")
    return {
        "frame": frame,
        "state": state,
        "attempt": number,
        "node": latest.node if latest else None,
        "seconds": seconds if state == "succeeded" else None,
        "files": files if state == "succeeded" else [],
        "exit_code": latest.exit_code if latest and troubled else None,
        "message": (latest.message or latest.result) if latest and troubled else None,
        "attempts": [attempt.told() for attempt in tries],
    }


def _attempts(rows: Rows, head: Head, blocks: set[int]) -> dict[int, list[_Attempt]]:
    found: dict[int, list[_Attempt]] = {}
    # a page's blocks, each by the index: a range of blocks may hold many more
    for block in sorted(blocks):
        for row in rows(
            "SELECT number, block, frames, node_name, started_at, ended_at, result, exit_code, "
            "message FROM attempts WHERE job_uid = ? AND block = ? ORDER BY number",
            (head.uid, block),
        ):
            number, _, frames, *rest = row
            attempt = _Attempt(number, block, _frames_of(frames), *rest)
            found.setdefault(block, []).append(attempt)
    return found


@lru_cache(maxsize=64)
def _frames_of(text: str) -> frozenset[int]:
    return frozenset(parse_frames(text, MAX_LEASE_TEXT))


def pages(indexes: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut indexes into pages."""
    for start in range(0, len(indexes), PAGE):
        yield indexes[start : start + PAGE]

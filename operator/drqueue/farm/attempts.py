"""A lease's life: given, its frames accepted, ended. Pure: changes the state, and writes what the
journal must know into a batch of records."""

from collections.abc import Sequence
from dataclasses import dataclass

from drqueue.api.frames import format_frames
from drqueue.farm import records
from drqueue.farm.protocol import AttemptEnd, EndResult, FrameDone, Lease
from drqueue.farm.records import Record
from drqueue.farm.state import (
    DONE,
    FAILED,
    PUBLISHING,
    SUCCEEDED,
    WAITING,
    Attempt,
    Change,
    Farm,
    Job,
    Node,
    Publishing,
    Retries,
)
from drqueue.farm.state import RUNNING as BLOCK_RUNNING

Batch = list[Record]

MAX_SPARED = 5
"""Ends in a row that cost no retry: the next one does."""
_MAX_ERROR = 2000
_PACE_WEIGHT = 0.1

Result = EndResult | str
"""What the slave may say, or `lost`, or `suspended`, `killed`, `deleted`, `ended`."""


@dataclass(frozen=True)
class End:
    """How an attempt ended, and what that costs: a retry, or none (`spared`, counted in a row),
    or nothing at all (`free`: the farm's own doing)."""

    result: str
    cost: str
    message: str = ""
    exit_code: int | None = None
    frame: int | None = None
    last_lines: Sequence[str] = ()
    told: bool = False

    @classmethod
    def told_by_slave(cls, end: AttemptEnd, spared: bool) -> "End":
        """An end that the slave reported; `spared` where it is not the job's fault in any case."""
        given_back = end.result in ("drained", "canceled")
        return cls(
            end.result,
            "spared" if given_back or spared else "retry",
            end.message,
            end.exit_code,
            end.frame,
            end.last_lines,
            told=True,
        )


def lease(change: Change, job: Job, block: int, node: Node) -> Attempt:
    """Give a block's waiting frames to a node."""
    first, behind = job.bounds(block)
    indexes = [i for i in range(first, behind) if job.states[i] == WAITING]
    attempt = Attempt(
        number=change.farm.next_attempt,
        job_uid=job.uid,
        block=block,
        generation=job.order.generation,
        node_uid=node.uid,
        node_name=node.name,
        text=format_frames(job.frames[i] for i in indexes),
        left=set(indexes),
        expires=change.now.ticks + change.farm.lease_seconds,
    )
    change.farm.next_attempt += 1
    change.records.append(
        records.attempt_started(
            attempt.number,
            job_uid=job.uid,
            block=block,
            generation=attempt.generation,
            frames=attempt.text,
            node_uid=node.uid,
            node_name=node.name,
            now=change.now.time,
        )
    )
    take_up(change.farm, job, attempt, node)
    if job.started_at is None:
        job.started_at = change.now.time
        change.records.append(records.job_started(job.uid, change.now.time))
    change.farm.touch(job)
    return attempt


def take_up(farm: Farm, job: Job, attempt: Attempt, node: Node) -> None:
    """Enter an attempt that runs, given now or read from the journal."""
    farm.attempts[attempt.number] = attempt
    node.attempt = attempt.number
    job.running[attempt.block] = attempt.number
    job.running_frames += len(attempt.left)
    job.set_block(attempt.block, BLOCK_RUNNING)


def lease_of(farm: Farm, attempt: Attempt) -> Lease:
    """The lease as its slave gets it, the first time or again."""
    return Lease(
        attempt=attempt.number,
        job_uid=attempt.job_uid,
        job_name=farm.jobs[attempt.job_uid].order.name,
        generation=attempt.generation,
        frames=attempt.text,
    )


def publish(change: Change, job: Job, index: int, attempt: int, done: FrameDone) -> None:
    """Note that a frame's files are about to be moved into place."""
    job.set_frame(index, PUBLISHING)
    change.farm.publishing[job.uid, index] = Publishing(attempt, done.seconds, done.files)
    change.records.append(
        records.frame_put(
            job.uid,
            job.frames[index],
            PUBLISHING,
            attempt=attempt,
            seconds=done.seconds,
            files=done.files,
        )
    )


def accept(change: Change, job: Job, index: int, published: Publishing) -> None:
    """Count a frame as done: once."""
    change.farm.publishing.pop((job.uid, index), None)
    if job.states[index] == SUCCEEDED:
        return
    job.set_frame(index, SUCCEEDED)
    pace = job.seconds_per_frame
    job.seconds_per_frame = (
        published.seconds if pace is None else pace + (published.seconds - pace) * _PACE_WEIGHT
    )
    change.records.append(
        records.frame_put(
            job.uid,
            job.frames[index],
            SUCCEEDED,
            attempt=published.attempt,
            seconds=published.seconds,
            files=published.files,
        )
    )
    attempt = change.farm.attempts.get(published.attempt)
    if attempt is not None and index in attempt.left:
        attempt.left.discard(index)
        attempt.accepted += 1
        attempt.progress = 0.0
        job.running_frames -= 1
    settle(change, job)


def refuse(change: Change, job: Job, index: int, attempt: int, why: str) -> None:
    """A frame's files are not what was said: it waits again, or goes on in its attempt."""
    change.farm.publishing.pop((job.uid, index), None)
    if job.states[index] == PUBLISHING:
        job.set_frame(index, WAITING)
        change.records.append(records.frame_waits(job.uid, job.frames[index]))
    running = change.farm.attempts.get(attempt)
    if running is not None:
        running.refusal = f"frame {job.frames[index]}: {why}"
    job.release(job.block_of(index), change.now.ticks)
    settle(change, job)


def end(change: Change, attempt: Attempt, how: End) -> None:
    """End an attempt. Frames that it leaves wait for another, or fail."""
    job = change.farm.jobs[attempt.job_uid]
    how = _judged(job, attempt, how)
    del change.farm.attempts[attempt.number]
    del job.running[attempt.block]
    job.running_frames -= len(attempt.left)
    node = change.farm.nodes.get(attempt.node_uid)
    if node is not None:
        node.attempt = None
        node.last = (attempt.number, how.told)
    change.records.append(
        records.attempt_ended(
            attempt.number,
            result=how.result,
            told=how.told,
            now=change.now.time,
            exit_code=how.exit_code,
            frame=how.frame,
            message=how.message,
            last_lines=how.last_lines,
        )
    )
    waiting = [i for i in sorted(attempt.left) if job.states[i] == WAITING]
    if waiting and how.cost != "free":
        _charge(change, job, attempt, how, waiting)
    job.release(attempt.block, change.now.ticks)
    settle(change, job)


def _judged(job: Job, attempt: Attempt, how: End) -> End:
    """A slave's word, held against what was accepted."""
    if how.result != "succeeded" or not attempt.left:
        return how
    frames = format_frames((job.frames[i] for i in sorted(attempt.left)), 200)
    message = attempt.refusal or f"the block ended well, but without frames {frames}"
    return End("missing_output", "retry", message, how.exit_code, told=how.told)


def _charge(change: Change, job: Job, attempt: Attempt, how: End, waiting: list[int]) -> None:
    block = attempt.block
    retries = job.retries.setdefault(block, Retries())
    if attempt.accepted:
        retries.spared = 0
    if how.cost == "spared" and retries.spared < MAX_SPARED:
        retries.spared += 1
    else:
        retries.failures += 1
        retries.spared = 0
        retries.tried.add(attempt.node_uid)
    if how.cost != "spared":
        job.last_error = _error_text(job, attempt, how)
        change.records.append(records.job_error(job.uid, job.last_error))
    if retries.failures > job.order.retries:
        for index in waiting:
            job.set_frame(index, FAILED)
            change.records.append(
                records.frame_put(job.uid, job.frames[index], FAILED, attempt=attempt.number)
            )
        job.set_block(block, DONE)
    change.records.append(
        records.block_put(job.uid, block, retries.failures, retries.spared, retries.tried)
    )


def _error_text(job: Job, attempt: Attempt, how: End) -> str:
    where = "" if how.frame is None or "frame" in how.message else f"frame {how.frame}: "
    what = f": {how.message}" if how.message else ""
    exit_code = f", exit status {how.exit_code}" if how.exit_code else ""
    head = (
        f"{where}{how.result}{what} (attempt {attempt.number} of block "
        f"{attempt.text[:100]} on node {attempt.node_name}{exit_code})"
    )
    text = "\n".join([head, *how.last_lines[-20:]])
    return (
        text
        if len(text) <= _MAX_ERROR
        else f"{head[: _MAX_ERROR // 2]}\n…{text[-_MAX_ERROR // 2 :]}"
    )


def settle(change: Change, job: Job) -> None:
    """Note a job's end, or that it goes on; tell those who wait for it."""
    ended = job.state in ("succeeded", "failed", "killed")
    if ended != (job.finished_at is not None):
        job.finished_at = change.now.time if ended else None
        change.records.append(records.job_state(job.uid, job.killed, job.finished_at))
        for other in change.farm.jobs.values():
            if job.order.name in other.order.depends_on:
                change.farm.touch(other)
    change.farm.touch(job)

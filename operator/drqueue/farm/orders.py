"""The operator's orders: jobs put, deleted, rerun, killed; nodes closed and ended. Pure, as
`attempts` is."""

from collections.abc import Iterable, Sequence

from drqueue.api.frames import FramesError, format_frames, parse_frames
from drqueue.farm import records
from drqueue.farm.attempts import End, end, settle
from drqueue.farm.frame_list import MAX_LEASE_TEXT
from drqueue.farm.protocol import JobOrder, JobProblem, NodeOrder, RequestOrder, RequestReport
from drqueue.farm.state import (
    FAILED,
    SUCCEEDED,
    WAITING,
    Change,
    Farm,
    Job,
    Node,
)

IMMUTABLE = ("frames", "block_size", "output_folder", "renderer")
MAX_REQUESTS_KEPT = 10


class RefusedError(Exception):
    """An order that is not obeyed; `status` and `code` as in the protocol."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def check_order(farm: Farm, order: JobOrder) -> None:
    """Refuse what is older than the journal. Raises RefusedError."""
    if order.uid in farm.deleted:
        raise RefusedError(409, "Deleted", f"job {order.uid} was deleted, and never comes back")
    job = farm.jobs.get(order.uid)
    if job is None:
        return
    if order.generation < job.order.generation:
        raise RefusedError(
            409,
            "OlderGeneration",
            f"generation {order.generation} is older than {job.order.generation}, which is known",
        )
    for name in IMMUTABLE:
        before, after = getattr(job.order, name), getattr(order, name)
        if before != after:
            raise RefusedError(
                400, "Immutable", f"{name} cannot be changed from {before!r} to {after!r}"
            )


def slim(order: JobOrder) -> JobOrder:
    """The order without what is kept elsewhere: requests, and the scene's content."""
    scene = order.scene
    if scene is not None and scene.content_base64 is not None:
        scene = scene.model_copy(update={"content_base64": None})
    return order.model_copy(update={"requests": (), "scene": scene})


def put_job(
    change: Change,
    order: JobOrder,
    *,
    scene: str | None,
    refused: JobProblem | None,
    missing: JobProblem | None,
) -> Job:
    """Take a job up, or take up its changes. Raises RefusedError, FramesError.

    `refused` is what is wrong with its template or parameters, `missing` with its scene.
    """
    check_order(change.farm, order)
    job = change.farm.jobs.get(order.uid)
    kept = slim(order)
    if job is None:
        job = Job(kept, scene, refused)
        change.farm.add(job)
        change.records.append(records.job_put(kept, scene, refused))
    elif job.order != kept or job.scene != scene or job.refused != refused:
        job.order, job.scene, job.refused = kept, scene, refused
        change.records.append(records.job_put(kept, scene, refused))
    judge(change, job, missing)
    for request in order.requests:
        if request.id not in job.requests:
            obey(change, job, request)
    if order.suspend:
        cancel(change, job, "suspended")
    settle(change, job)
    return job


def judge(change: Change, job: Job, missing: JobProblem | None) -> None:
    """Find what is wrong with a job now, `missing` being what is wrong with its scene."""
    problem = job.refused or claim_folder(change, job) or missing
    if problem != job.problem:
        job.problem = problem
        change.farm.touch(job)


def claim_folder(change: Change, job: Job) -> JobProblem | None:
    """Have the output folder belong to the job; gives what is wrong where it cannot."""
    wanted = job.order.output_folder
    owner = change.farm.folders.get(wanted)
    if owner == job.uid:
        return None
    for folder, uid in change.farm.folders.items():
        if uid == job.uid or not _overlap(folder, wanted):
            continue
        other = change.farm.jobs.get(uid)
        name = other.order.name if other else uid
        return JobProblem(
            reason="OutputTaken",
            message=f"spec.output.folder {wanted!r} overlaps {folder!r}, which belongs to job "
            f"{name}: write another folder in a new job, or delete job {name} "
            "(its frames stay)",
        )
    change.farm.folders[wanted] = job.uid
    change.records.append(records.folder_taken(wanted, job.uid))
    return None


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def delete_job(change: Change, uid: str) -> list[str]:
    """Delete a job, known or not; gives the UIDs of nodes whose block is canceled."""
    job = change.farm.jobs.get(uid)
    nodes: list[str] = []
    if job is not None:
        nodes = cancel(change, job, "deleted")
        for other in change.farm.jobs.values():
            if job.order.name in other.order.depends_on:
                change.farm.touch(other)
        change.farm.forget(job)
    if job is not None or uid not in change.farm.deleted:
        change.farm.deleted.add(uid)
        change.records.extend(records.job_deleted(uid, change.now.time))
    return nodes


def cancel(change: Change, job: Job, why: str) -> list[str]:
    """End a job's running attempts, at no cost; gives their nodes' UIDs."""
    running = [change.farm.attempts[number] for number in list(job.running.values())]
    for attempt in running:
        end(change, attempt, End(why, "free"))
    return [attempt.node_uid for attempt in running]


def obey(change: Change, job: Job, request: RequestOrder) -> None:
    """Act on a person's request, once, and note the answer in the same batch."""
    try:
        if request.verb == "kill":
            message = _kill(change, job)
        else:
            message = _rerun(change, job, request.frames)
        result = "Done"
    except RefusedError as error:
        message, result = str(error), "Refused"
    answer = RequestReport.model_validate(
        {
            "id": request.id,
            "verb": request.verb,
            "result": result,
            "message": message,
            "time": change.now.time,
        }
    )
    job.requests[request.id] = answer
    change.records.append(records.request_answered(job.uid, answer))


def _kill(change: Change, job: Job) -> str:
    if job.state in ("succeeded", "failed"):
        raise RefusedError(409, "Ended", f"the job has {job.state} already")
    job.killed = True
    canceled = cancel(change, job, "killed")
    change.records.append(records.job_state(job.uid, True, job.finished_at))
    settle(change, job)
    return f"{len(canceled)} running blocks canceled"


def _rerun(change: Change, job: Job, text: str | None) -> str:
    chosen = _chosen(job, text)
    again = [index for index in chosen if job.states[index] in (SUCCEEDED, FAILED)]
    for index in again:
        job.set_frame(index, WAITING)
        change.records.append(records.frame_waits(job.uid, job.frames[index]))
    _take_from_attempts(change, job, again)
    for block in {job.block_of(index) for index in chosen}:
        if job.retries.pop(block, None) is not None:
            change.records.append(records.block_clean(job.uid, block))
        job.release(block, change.now.ticks)
    if job.killed:
        job.killed = False
        change.records.append(records.job_state(job.uid, False, job.finished_at))
    settle(change, job)
    return f"{len(again)} frames wait to be rendered again"


def _take_from_attempts(change: Change, job: Job, indexes: Iterable[int]) -> None:
    """A frame that its attempt is through with, and that is wanted again, is another attempt's."""
    lost: dict[int, set[int]] = {}
    for index in indexes:
        number = job.running.get(job.block_of(index))
        if number is not None:
            lost.setdefault(number, set()).add(job.frames[index])
    for number, frames in lost.items():
        attempt = change.farm.attempts[number]
        if not attempt.left:
            # all of it is accepted, and its end about to be reported
            end(change, attempt, End("succeeded", "free", told=True))
            continue
        kept = [f for f in parse_frames(attempt.text, MAX_LEASE_TEXT) if f not in frames]
        attempt.text = format_frames(kept)
        change.records.append(records.attempt_frames(number, attempt.text))


def _chosen(job: Job, text: str | None) -> Sequence[int]:
    if text is None:
        return range(job.total)
    if text == "failed":
        return [i for i, state in enumerate(job.states) if state == FAILED]
    try:
        frames = parse_frames(text)
    except FramesError as error:
        raise RefusedError(400, "FramesInvalid", str(error)) from error
    indexes = []
    for frame in frames:
        index = job.frames.index(frame)
        if index is None:
            raise RefusedError(
                400, "FramesInvalid", f"frames {text!r}: the job has no frame {frame}"
            )
        indexes.append(index)
    return indexes


def put_node(change: Change, uid: str, order: NodeOrder) -> Node:
    """Open, close or end a node. One that ended stays so. Raises RefusedError."""
    node = change.farm.node(uid, order.name)
    if node.state == "ended" and order.state != "ended":
        raise RefusedError(409, "Ended", f"node {order.name} has ended, and never comes back")
    if node.state != order.state:
        node.state = order.state
        change.records.append(records.node_put(uid, node.name, order.state))
    attempt = change.farm.attempts.get(node.attempt or 0)
    if order.state == "ended" and attempt is not None:
        how = (
            End("drained", "spared", "its node was drained")
            if order.drained
            else End("lost", "retry", f"node {node.name} ended")
        )
        end(change, attempt, how)
    change.farm.touch()
    return node

"""The operator's orders: jobs put, deleted, rerun, killed; nodes closed and ended. Pure, as
`attempts` is."""

from collections.abc import Iterable

from drqueue.api.frames import FramesError, parse_frames
from drqueue.farm import records
from drqueue.farm.attempts import Batch, End, end, settle
from drqueue.farm.protocol import JobOrder, JobProblem, NodeOrder, RequestOrder, RequestReport
from drqueue.farm.state import (
    FAILED,
    SUCCEEDED,
    WAITING,
    Farm,
    Job,
    Moment,
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
    farm: Farm,
    order: JobOrder,
    *,
    scene: str | None,
    refused: JobProblem | None,
    missing: JobProblem | None,
    now: Moment,
    batch: Batch,
) -> Job:
    """Take a job up, or take up its changes. Raises RefusedError, FramesError.

    `refused` is what is wrong with its template or parameters, `missing` with its scene.
    """
    check_order(farm, order)
    job = farm.jobs.get(order.uid)
    kept = slim(order)
    if job is None:
        job = Job(kept, scene, refused)
        farm.add(job)
        batch.append(records.job_put(kept, scene, refused))
    elif job.order != kept or job.scene != scene or job.refused != refused:
        job.order, job.scene, job.refused = kept, scene, refused
        batch.append(records.job_put(kept, scene, refused))
    judge(farm, job, missing, batch)
    for request in order.requests:
        if request.id not in job.requests:
            obey(farm, job, request, now, batch)
    if order.suspend:
        cancel(farm, job, "suspended", now, batch)
    settle(farm, job, now, batch)
    return job


def judge(farm: Farm, job: Job, missing: JobProblem | None, batch: Batch) -> None:
    """Find what is wrong with a job now, `missing` being what is wrong with its scene."""
    problem = job.refused or claim_folder(farm, job, batch) or missing
    if problem != job.problem:
        job.problem = problem
        farm.touch(job)


def claim_folder(farm: Farm, job: Job, batch: Batch) -> JobProblem | None:
    """Have the output folder belong to the job; gives what is wrong where it cannot."""
    wanted = job.order.output_folder
    owner = farm.folders.get(wanted)
    if owner == job.uid:
        return None
    for folder, uid in farm.folders.items():
        if uid == job.uid or not _overlap(folder, wanted):
            continue
        other = farm.jobs.get(uid)
        name = other.order.name if other else uid
        return JobProblem(
            reason="OutputTaken",
            message=f"spec.output.folder {wanted!r} overlaps {folder!r}, which belongs to job "
            f"{name}: write another folder in a new job, or delete job {name} "
            "(its frames stay)",
        )
    farm.folders[wanted] = job.uid
    batch.append(records.folder_taken(wanted, job.uid))
    return None


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def delete_job(farm: Farm, uid: str, now: Moment, batch: Batch) -> list[str]:
    """Delete a job, known or not; gives the UIDs of nodes whose block is canceled."""
    job = farm.jobs.get(uid)
    nodes: list[str] = []
    if job is not None:
        nodes = cancel(farm, job, "deleted", now, batch)
        for other in farm.jobs.values():
            if job.order.name in other.order.depends_on:
                farm.touch(other)
        farm.forget(job)
    if job is not None or uid not in farm.deleted:
        farm.deleted.add(uid)
        batch.extend(records.job_deleted(uid, now.time))
    return nodes


def cancel(farm: Farm, job: Job, why: str, now: Moment, batch: Batch) -> list[str]:
    """End a job's running attempts, at no cost; gives their nodes' UIDs."""
    running = [farm.attempts[number] for number in list(job.running.values())]
    for attempt in running:
        end(farm, attempt, End(why, "free"), now, batch)
    return [attempt.node_uid for attempt in running]


def obey(farm: Farm, job: Job, request: RequestOrder, now: Moment, batch: Batch) -> None:
    """Act on a person's request, once, and note the answer in the same batch."""
    try:
        if request.verb == "kill":
            message = _kill(farm, job, now, batch)
        else:
            message = _rerun(farm, job, request.frames, now, batch)
        result = "Done"
    except RefusedError as error:
        message, result = str(error), "Refused"
    answer = RequestReport.model_validate(
        {
            "id": request.id,
            "verb": request.verb,
            "result": result,
            "message": message,
            "time": now.time,
        }
    )
    job.requests[request.id] = answer
    batch.append(records.request_answered(job.uid, answer))


def _kill(farm: Farm, job: Job, now: Moment, batch: Batch) -> str:
    if job.state in ("succeeded", "failed"):
        raise RefusedError(409, "Ended", f"the job has {job.state} already")
    job.killed = True
    canceled = cancel(farm, job, "killed", now, batch)
    batch.append(records.job_state(job.uid, True, job.finished_at))
    settle(farm, job, now, batch)
    return f"{len(canceled)} running blocks canceled"


def _rerun(farm: Farm, job: Job, text: str | None, now: Moment, batch: Batch) -> str:
    indexes = _chosen(job, text)
    blocks = set()
    count = 0
    for index in indexes:
        blocks.add(job.block_of(index))
        if job.states[index] in (SUCCEEDED, FAILED):
            job.set_frame(index, WAITING)
            batch.append(records.frame_waits(job.uid, job.frames[index]))
            count += 1
    for block in blocks:
        if job.retries.pop(block, None) is not None:
            batch.append(records.block_clean(job.uid, block))
        job.release(block, now.ticks)
    if job.killed:
        job.killed = False
        batch.append(records.job_state(job.uid, False, job.finished_at))
    settle(farm, job, now, batch)
    return f"{count} frames wait to be rendered again"


def _chosen(job: Job, text: str | None) -> Iterable[int]:
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


def put_node(farm: Farm, uid: str, order: NodeOrder, now: Moment, batch: Batch) -> Node:
    """Open, close or end a node. One that ended stays so. Raises RefusedError."""
    node = farm.node(uid, order.name)
    if node.state == "ended" and order.state != "ended":
        raise RefusedError(409, "Ended", f"node {order.name} has ended, and never comes back")
    if node.state != order.state:
        node.state = order.state
        batch.append(records.node_put(uid, node.name, order.state))
    attempt = farm.attempts.get(node.attempt or 0)
    if order.state == "ended" and attempt is not None:
        how = (
            End("drained", "spared", "its node was drained")
            if order.drained
            else End("lost", "retry", f"node {node.name} ended")
        )
        end(farm, attempt, how, now, batch)
    farm.touch()
    return node

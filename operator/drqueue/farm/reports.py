"""What the master tells the operator of jobs and nodes. Pure; its cost does not grow with a job's
frames."""

from drqueue.farm.orders import MAX_REQUESTS_KEPT
from drqueue.farm.protocol import JobReport, JobWork, NodeReport
from drqueue.farm.schedule import runnable_blocks, why_waiting
from drqueue.farm.state import FAILED, SUCCEEDED, Farm, Job, Moment, Node
from drqueue.renderers import output_files, template_of


def job_report(farm: Farm, job: Job, now: Moment) -> JobReport:
    """What the journal says about a job."""
    succeeded, failed = job.counts[SUCCEEDED], job.counts[FAILED]
    running = job.running_frames
    return JobReport(
        uid=job.uid,
        generation=job.order.generation,
        name=job.order.name,
        state=job.state,
        total=job.total,
        waiting=job.total - succeeded - failed - running,
        running=running,
        succeeded=succeeded,
        failed=failed,
        succeeded_frames=job.frames.text(job.states, SUCCEEDED),
        failed_frames=job.frames.text(job.states, FAILED),
        partial=sum(farm.attempts[number].progress for number in job.running.values()),
        waiting_blocks=runnable_blocks(farm, job),
        running_blocks=len(job.running),
        reason=why_waiting(farm, job, now),
        problem=job.problem,
        last_error=job.last_error,
        output_folder=job.order.output_folder,
        seconds_per_frame=job.seconds_per_frame,
        started_at=job.started_at,
        finished_at=job.finished_at,
        requests=tuple(job.requests.values())[-MAX_REQUESTS_KEPT:],
    )


def node_report(farm: Farm, node: Node) -> NodeReport:
    """What is known of a node."""
    attempt = farm.attempts.get(node.attempt or 0)
    block = None
    if attempt is not None:
        block = f"{farm.jobs[attempt.job_uid].order.name}/{attempt.text[:200]}"
    return NodeReport(
        uid=node.uid,
        name=node.name,
        state=node.state,
        seen_at=node.seen.time if node.seen else None,
        block=block,
    )


def job_work(job: Job) -> JobWork:
    """What a slave needs to render any block of a job. Raises KeyError for a renderer that this
    master does not know."""
    order = job.order
    return JobWork(
        uid=job.uid,
        generation=order.generation,
        name=order.name,
        owner=order.owner,
        template=order.template or template_of(order.renderer or ""),
        parameters=order.parameters,
        scene=job.scene,
        frames=order.frames,
        block_size=order.block_size,
        output_files=required_files(job),
        frame_timeout_seconds=order.frame_timeout_seconds,
        environment_timeout_seconds=order.environment_timeout_seconds,
    )


def required_files(job: Job) -> tuple[str, ...]:
    """Patterns of the files that each frame must leave."""
    order = job.order
    if order.output_files:
        return order.output_files
    return output_files(order.renderer, order.name, order.parameters)

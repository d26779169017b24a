"""Which block a node is given: a pure choice, cheap whatever the number of frames.

Jobs go by priority, then age, then name. A block that failed on a node is tried on another first:
it is kept for the others for `PATIENCE_SECONDS`, as long as there is one alive that could take it,
and for `HOPE_SECONDS` where there is none: nodes of a session come one after the other.
"""

from itertools import islice

from drqueue.farm.protocol import LimitsOrder, NodeOffer
from drqueue.farm.state import Farm, Job, Moment, Node

PATIENCE_SECONDS = 60.0
HOPE_SECONDS = 5.0
_MOST_RETRIES_LOOKED_AT = 512
_ENDED = {"failed": "failed", "killed": "been killed"}


def misfit(job: Job, offer: NodeOffer) -> str:
    """What a node lacks to render a job; empty where it lacks nothing."""
    renderer = job.order.renderer
    if renderer is not None and renderer not in offer.renderers:
        return f"renderer {renderer}"
    return _limit_missed(job.order.limits, offer)


def _limit_missed(limits: LimitsOrder, offer: NodeOffer) -> str:
    if limits.pool is not None and limits.pool not in offer.pools:
        return f"pool {limits.pool}"
    if limits.os is not None and limits.os != offer.os:
        return f"os {limits.os}"
    if limits.cores is not None and limits.cores > offer.cores:
        return f"{limits.cores:g} cores"
    if limits.memory is not None and limits.memory > offer.memory:
        return f"{limits.memory} bytes of memory"
    return ""


def blocked(farm: Farm, job: Job) -> bool:
    """Whether a job waits for other jobs."""
    return bool(job.order.depends_on) and bool(farm.unfinished(job.order.depends_on))


def choose(farm: Farm, node: Node, now: Moment) -> tuple[Job, int] | None:
    """The job and block that a node should render next; None where there is none for it."""
    if farm.full or node.state != "open" or node.offer is None:
        return None
    for job in farm.active:
        if misfit(job, node.offer) or blocked(farm, job):
            continue
        block = _pick(farm, job, node, now)
        if block is not None:
            return job, block
    return None


def _pick(farm: Farm, job: Job, node: Node, now: Moment) -> int | None:
    fresh = job.fresh_block()
    retry = _pick_retry(farm, job, node, now) if job.retry else None
    if fresh is None or retry is None:
        return fresh if retry is None else retry
    return min(fresh, retry)


def _pick_retry(farm: Farm, job: Job, node: Node, now: Moment) -> int | None:
    others: list[Node] | None = None
    for block, since in islice(job.retry.items(), _MOST_RETRIES_LOOKED_AT):
        tried, waited = job.retries[block].tried, now.ticks - since
        if node.uid not in tried or waited >= PATIENCE_SECONDS:
            return block
        if others is None:
            others = _others(farm, job, node, now)
        if waited >= HOPE_SECONDS and all(other.uid in tried for other in others):
            return block
    return None


def _others(farm: Farm, job: Job, node: Node, now: Moment) -> list[Node]:
    return [
        other
        for other in farm.nodes.values()
        if other is not node
        and other.alive(now, farm.lease_seconds)
        and other.offer is not None
        and not misfit(job, other.offer)
    ]


def runnable_blocks(farm: Farm, job: Job) -> int:
    """Blocks of a job that a node could start now."""
    if farm.full or not job.wants_nodes or blocked(farm, job):
        return 0
    return job.waiting_blocks


def why_waiting(farm: Farm, job: Job, now: Moment) -> str:
    """Why a job does not go on, for people; empty where it runs, or has ended."""
    if job.problem is not None:
        return job.problem.message
    if job.state == "suspended":
        return "suspended: it goes on when spec.suspend is false"
    if job.state not in ("waiting", "running"):
        return ""
    if farm.full or job.running or not job.waiting_blocks:
        return farm.full
    return _why_no_job(farm, job) or _why_no_node(farm, job, now)


def _why_no_job(farm: Farm, job: Job) -> str:
    for name, other in farm.unfinished(job.order.depends_on):
        if other is None:
            return f"waits for job {name}, which this session does not have (yet)"
        if other.state in ("failed", "killed"):
            return f"waits for job {name}, which has {_ENDED[other.state]}: rerun that one"
        return f"waits for job {name}"
    return ""


def _why_no_node(farm: Farm, job: Job, now: Moment) -> str:
    alive = [n for n in farm.nodes.values() if n.alive(now, farm.lease_seconds) and n.offer]
    if not alive:
        return "waits for a node"
    lacks = [misfit(job, node.offer) for node in alive if node.offer is not None]
    if all(lacks):
        return f"waits for a node with {lacks[0]}: none of the {len(alive)} here has it"
    if job.retry and any(
        not lack and node.attempt is None for lack, node in zip(lacks, alive, strict=True)
    ):
        return "waits to be tried again, on another node first"
    return "waits for a free node"

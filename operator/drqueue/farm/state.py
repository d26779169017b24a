"""What the master keeps in memory: the journal's content, by job, block, attempt and node. Pure.

A frame takes one byte, and so does a block. Whatever is counted is counted as it changes: nothing
here looks through all frames of a job, or all jobs, to answer one request.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from drqueue.farm.frame_list import FrameList
from drqueue.farm.protocol import (
    FileDone,
    JobOrder,
    JobProblem,
    JobState,
    NodeOffer,
    NodeState,
    RequestReport,
)
from drqueue.farm.records import FAILED, PUBLISHING, SUCCEEDED, WAITING, Record

__all__ = ["FAILED", "PUBLISHING", "SUCCEEDED", "WAITING"]

FRESH, RUNNING, DONE, RETRY = 0, 1, 2, 3
"""States of a block: waits and was never tried, leased, nothing left to do, waits to be tried
again."""

_DONE_UNLESS_WAITING = bytes(FRESH if state == WAITING else DONE for state in range(256))


@dataclass(frozen=True)
class Moment:
    """Now: for people (aware, UTC), and in seconds of a clock that only goes forward."""

    time: datetime
    ticks: float


@dataclass
class Attempt:
    """A lease that runs."""

    number: int
    job_uid: str
    block: int
    generation: int
    node_uid: str
    node_name: str
    text: str
    """Range text of its frames."""
    left: set[int]
    """Indexes of its frames that are not accepted yet."""
    expires: float
    """Ticks."""
    progress: float = 0.0
    accepted: int = 0
    refusal: str = ""
    """Why a frame of it was last not accepted."""
    in_hand: int = 0
    """Reports of it that the master is at: meanwhile its slave is not silent, but waits."""


@dataclass
class Node:
    """A slave's node."""

    uid: str
    name: str
    state: NodeState = "open"
    offer: NodeOffer | None = None
    seen: Moment | None = None
    attempt: int | None = None
    last: tuple[int, bool] | None = None
    """Its newest attempt that ended, and whether the slave itself reported the end."""

    def alive(self, now: Moment, within: float) -> bool:
        """Whether it takes blocks: open, and heard of within so many seconds."""
        return (
            self.state == "open" and self.seen is not None and now.ticks - self.seen.ticks <= within
        )


@dataclass
class Retries:
    """A block's failures, ends that cost nothing (in a row), and the nodes it failed on."""

    failures: int = 0
    spared: int = 0
    tried: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Publishing:
    """A frame whose files are being moved into place."""

    attempt: int
    seconds: float
    files: tuple[FileDone, ...]


class Job:
    """One job."""

    def __init__(self, order: JobOrder, scene: str | None, problem: JobProblem | None) -> None:
        """Raises FramesError."""
        self.order = order
        self.scene = scene
        self.refused = problem
        """What is wrong with its template or parameters; it stays."""
        self.problem = problem
        self.frames = FrameList(order.frames)
        self.states = bytearray(len(self.frames))
        count = -(-len(self.frames) // order.block_size)
        self.blocks = bytearray(count)
        self.waiting_blocks = count
        self.first_fresh = 0
        self.retry: dict[int, float] = {}
        """Blocks in state RETRY, and since when (ticks)."""
        self.retries: dict[int, Retries] = {}
        self.running: dict[int, int] = {}
        """Leased blocks and their attempts' numbers."""
        self.counts = [len(self.frames), 0, 0, 0]
        """Frames by state."""
        self.running_frames = 0
        self.killed = False
        self.last_error = ""
        self.started_at: datetime | None = None
        self.finished_at: datetime | None = None
        self.seconds_per_frame: float | None = None
        self.requests: dict[str, RequestReport] = {}
        self.sequence = 0

    @property
    def uid(self) -> str:
        """The RenderJob's UID."""
        return self.order.uid

    @property
    def rank(self) -> tuple[int, datetime, str, str]:
        """Which goes first: the higher priority, then the older, then by name."""
        return (-self.order.priority, self.order.created_at, self.order.name, self.order.uid)

    @property
    def total(self) -> int:
        """Its frames."""
        return len(self.frames)

    @property
    def state(self) -> JobState:
        """What to call its state."""
        if self.counts[SUCCEEDED] == self.total:
            return "succeeded"
        if self.killed:
            return "killed"
        if self.counts[SUCCEEDED] + self.counts[FAILED] == self.total:
            return "failed"
        if self.order.suspend:
            return "suspended"
        return "running" if self.running else "waiting"

    @property
    def wants_nodes(self) -> bool:
        """Whether its waiting blocks may be handed out, as far as it itself is concerned."""
        return not (self.killed or self.order.suspend or self.problem is not None) and bool(
            self.waiting_blocks
        )

    def bounds(self, block: int) -> tuple[int, int]:
        """The indexes of a block's frames, as first and behind the last."""
        size = self.order.block_size
        return block * size, min((block + 1) * size, self.total)

    def block_of(self, index: int) -> int:
        """The block that a frame belongs to."""
        return index // self.order.block_size

    def set_frame(self, index: int, state: int) -> None:
        """Change a frame's state and the counts."""
        self.counts[self.states[index]] -= 1
        self.states[index] = state
        self.counts[state] += 1

    def set_block(self, block: int, state: int, ticks: float = 0.0) -> None:
        """Change a block's state and the counts."""
        before = self.blocks[block]
        self.waiting_blocks += (state in (FRESH, RETRY)) - (before in (FRESH, RETRY))
        self.blocks[block] = state
        if state == RETRY:
            self.retry[block] = ticks
        elif before == RETRY:
            self.retry.pop(block, None)
        if state == FRESH:
            self.first_fresh = min(self.first_fresh, block)

    def fresh_block(self) -> int | None:
        """The first block that waits and was never tried."""
        found = self.blocks.find(FRESH, self.first_fresh)
        self.first_fresh = found if found >= 0 else len(self.blocks)
        return found if found >= 0 else None

    def release(self, block: int, ticks: float) -> None:
        """Have a block that is not leased wait, if a frame of it does."""
        if block in self.running:
            return
        if self.states.find(WAITING, *self.bounds(block)) < 0:
            self.set_block(block, DONE)
        elif block in self.retries:
            self.set_block(block, RETRY, ticks)
        else:
            self.set_block(block, FRESH)

    def release_all(self, ticks: float) -> None:
        """Find out for all blocks, none of which is leased, whether they wait."""
        if self.order.block_size == 1:
            # a frame that does not wait is a block that is done: a million at a stroke
            self.blocks = self.states.translate(_DONE_UNLESS_WAITING)
            self.waiting_blocks = self.counts[WAITING]
            self.retry.clear()
            self.first_fresh = 0
            for block in self.retries:
                self.release(block, ticks)
        elif self.counts[WAITING] < self.total or self.retries:
            for block in range(len(self.blocks)):
                self.release(block, ticks)


class Farm:
    """A session's farm."""

    def __init__(self, lease_seconds: float) -> None:
        self.lease_seconds = lease_seconds
        self.jobs: dict[str, Job] = {}
        self.by_name: dict[str, str] = {}
        self.folders: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self.attempts: dict[int, Attempt] = {}
        self.publishing: dict[tuple[str, int], Publishing] = {}
        """By job and frame index."""
        self.next_attempt = 1
        self.active: list[Job] = []
        """Jobs with blocks to hand out, the first to go first."""
        self._active_ranks: dict[str, tuple[int, datetime, str, str]] = {}
        self.full = ""
        """Why nothing can be handed out: the volume is full."""
        self.sequence = 0

    def node(self, uid: str, name: str) -> Node:
        """The node, made where it is new."""
        node = self.nodes.get(uid)
        if node is None:
            node = self.nodes[uid] = Node(uid, name)
        return node

    def touch(self, job: Job | None = None) -> None:
        """Something changed that the operator may want to know; put the job where it belongs."""
        self.sequence += 1
        if job is not None:
            job.sequence = self.sequence
            self._index(job)

    def _index(self, job: Job) -> None:
        rank = job.rank if job.wants_nodes and job.uid in self.jobs else None
        before = self._active_ranks.get(job.uid)
        if before == rank:
            return
        if before is not None:
            # by the rank it was put there with: its order may have changed since
            ranks = [*map(self._rank_in_list, self.active)]
            del self.active[bisect_left(ranks, before)]
            del self._active_ranks[job.uid]
        if rank is not None:
            self._active_ranks[job.uid] = rank
            insort(self.active, job, key=self._rank_in_list)

    def _rank_in_list(self, job: Job) -> tuple[int, datetime, str, str]:
        return self._active_ranks[job.uid]

    def add(self, job: Job) -> None:
        """Take a job up."""
        self.jobs[job.uid] = job
        self.by_name[job.order.name] = job.uid

    def forget(self, job: Job) -> None:
        """Drop a job, and its claim on a folder."""
        self.jobs.pop(job.uid, None)
        self.touch(job)
        if self.by_name.get(job.order.name) == job.uid:
            del self.by_name[job.order.name]
        for folder in [f for f, uid in self.folders.items() if uid == job.uid]:
            del self.folders[folder]
        for key in [key for key in self.publishing if key[0] == job.uid]:
            del self.publishing[key]
        self.deleted.add(job.uid)

    def unfinished(self, names: Iterable[str]) -> list[tuple[str, Job | None]]:
        """Those of the named jobs whose frames did not all succeed (yet), or that are not here."""
        jobs = [(name, self.jobs.get(self.by_name.get(name, ""))) for name in names]
        return [(name, job) for name, job in jobs if job is None or job.state != "succeeded"]


@dataclass
class Change:
    """Something that happens at one moment: to which farm, and what the journal must know of it.

    The records of one change are written together, or none of them is.
    """

    farm: Farm
    now: Moment
    records: list[Record]

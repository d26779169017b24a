"""A farm without a master around it: orders, time, and the journal that all of it is kept in."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from drqueue.farm.attempts import lease
from drqueue.farm.journal import Journal
from drqueue.farm.loading import load
from drqueue.farm.orders import put_job
from drqueue.farm.protocol import JobOrder, JobProblem, NodeOffer
from drqueue.farm.schedule import choose
from drqueue.farm.state import DONE, FRESH, RETRY, Attempt, Change, Farm, Job, Moment, Node
from drqueue.farm.state import RUNNING as LEASED

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE_SECONDS = 60.0
OFFER = NodeOffer(cores=4, memory=2**30, pools=("fast",), renderers=("general", "povray"))


def order(uid: str = "job-1", **changes: Any) -> JobOrder:
    """A job of ten frames that runs a shell command."""
    values: dict[str, Any] = {
        "uid": uid,
        "generation": 1,
        "name": uid,
        "owner": "studio-a",
        "created_at": START,
        "priority": 50,
        "frames": "1-10",
        "block_size": 1,
        "retries": 1,
        "renderer": "general",
        "parameters": {"Command": "true"},
        "output_folder": f"outputs/{uid}",
    }
    return JobOrder(**(values | changes))


class Bench:
    """A farm in memory and its journal, changed one change at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ticks = 0.0
        self.journal = Journal(path)
        self.farm: Farm = load(self.journal, LEASE_SECONDS, self.now)

    @property
    def now(self) -> Moment:
        return Moment(START + timedelta(seconds=self.ticks), self.ticks)

    def change(self) -> Change:
        return Change(self.farm, self.now, [])

    def write(self, change: Change) -> None:
        self.journal.commit([change.records])

    def restart(self) -> None:
        """As after SIGKILL: another process opens the file."""
        self.journal.close()
        self.journal = Journal(self.path)
        self.farm = load(self.journal, LEASE_SECONDS, self.now)

    def put(self, job_order: JobOrder, missing: JobProblem | None = None) -> Job:
        change = self.change()
        job = put_job(change, job_order, scene=None, refused=None, missing=missing)
        self.write(change)
        return job

    def node(self, uid: str, offer: NodeOffer = OFFER) -> Node:
        node = self.farm.node(uid, uid)
        node.offer, node.seen = offer, self.now
        return node

    def lease(self, node: Node) -> Attempt | None:
        choice = choose(self.farm, node, self.now)
        if choice is None:
            return None
        change = self.change()
        attempt = lease(change, *choice, node)
        self.write(change)
        return attempt

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return list(self.journal.rows(query))


def digest(farm: Farm) -> dict[str, Any]:
    """All that must be the same after a restart."""
    return {
        "jobs": {
            uid: {
                "order": job.order,
                "states": bytes(job.states),
                # whether a block was tried shows in its retries
                "blocks": bytes(FRESH if b == RETRY else b for b in job.blocks),
                "counts": list(job.counts),
                "waiting_blocks": job.waiting_blocks,
                "running": dict(job.running),
                "running_frames": job.running_frames,
                "retries": {
                    block: (r.failures, r.spared, sorted(r.tried))
                    for block, r in job.retries.items()
                },
                "killed": job.killed,
                "last_error": job.last_error,
                "started_at": job.started_at,
                "finished_at": job.finished_at,
                "requests": dict(job.requests),
            }
            for uid, job in farm.jobs.items()
        },
        "attempts": {
            n: (a.job_uid, a.block, a.node_uid, a.text, sorted(a.left))
            for n, a in farm.attempts.items()
        },
        "publishing": dict(farm.publishing),
        "nodes": {
            uid: (node.state, node.attempt)
            for uid, node in farm.nodes.items()
            if node.state != "open" or node.attempt
        },
        "folders": dict(farm.folders),
        "deleted": set(farm.deleted),
        "next_attempt": farm.next_attempt,
    }


def check_counts(farm: Farm) -> None:
    """What is counted as it changes must be what counting anew gives."""
    leased: set[tuple[str, int]] = set()
    for attempt in farm.attempts.values():
        mine = {(attempt.job_uid, index) for index in attempt.left}
        assert not mine & leased, "a frame is leased twice"
        leased |= mine
    for job in farm.jobs.values():
        assert job.counts == [bytes(job.states).count(state) for state in range(4)]
        assert job.running_frames == sum(len(farm.attempts[n].left) for n in job.running.values())
        waiting = [b for b, state in enumerate(job.blocks) if state in (FRESH, RETRY)]
        assert job.waiting_blocks == len(waiting)
        assert {b for b in waiting if job.blocks[b] == RETRY} == set(job.retry)
        assert {b for b, s in enumerate(job.blocks) if s == LEASED} == set(job.running)
        for block, state in enumerate(job.blocks):
            first, behind = job.bounds(block)
            if state != LEASED:
                assert (state == DONE) == (0 not in job.states[first:behind])
        fresh = [b for b in waiting if job.blocks[b] == FRESH]
        assert job.fresh_block() == (fresh[0] if fresh else None)
    expected = sorted((j for j in farm.jobs.values() if j.wants_nodes), key=lambda j: j.rank)
    assert [job.uid for job in farm.active] == [job.uid for job in expected]

"""What a slave says, and what it is answered."""

import asyncio
import logging
from collections.abc import Callable
from weakref import WeakValueDictionary

from drqueue.farm.attempts import Batch, End, accept, end, lease, lease_of
from drqueue.farm.master.hub import Hub, Waiter
from drqueue.farm.master.publisher import Publisher
from drqueue.farm.orders import RefusedError
from drqueue.farm.protocol import (
    AttemptReport,
    FrameDone,
    Lease,
    LogText,
    WorkAnswer,
    WorkReport,
)
from drqueue.farm.schedule import choose
from drqueue.farm.state import SUCCEEDED, Attempt, Job, Node, Publishing
from drqueue.security.identity import Identity

LOG = logging.getLogger(__name__)


class Slaves:
    """Answers slaves' reports."""

    def __init__(self, hub: Hub, publisher: Publisher) -> None:
        self._hub = hub
        self._publisher = publisher
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._turns: dict[str, int] = {}
        """The newest request of each node that is about its lease: only that may get one."""
        self._logged: dict[str, int] = {}
        """A hash of the log text that is kept of each node's report, until that is answered."""

    async def work(
        self, caller: Identity, report: WorkReport, gone: Callable[[], bool]
    ) -> WorkAnswer:
        """Take a report in, and answer it. `gone` says whether the slave has hung up.

        Raises RefusedError; then nothing of the report has happened, and it may be repeated.
        """
        hub = self._hub
        node = self._heard_of(caller, report)
        turn = self._turns.get(node.uid, 0)
        if report.attempt is None or report.wants_lease:
            turn = self._turns[node.uid] = turn + 1
            hub.wake(node.uid)
        batch: Batch = []
        if report.attempt is not None:
            await self._hear(node, report.attempt, batch)
        elif not report.wants_lease:
            self._holds_nothing(node, batch)
        deadline = hub.now().ticks + report.wait_seconds
        while True:
            node = hub.farm.node(caller.node_uid, caller.node_name)
            mine = turn == self._turns[node.uid] if report.wants_lease else False
            answer = self._answer(node, report, mine and not gone(), batch)
            left = deadline - hub.now().ticks
            settled = answer.lease is not None or answer.action != "continue"
            if settled or left <= 0 or hub.closing or not self._worth_holding(node, report, mine):
                break
            if batch:
                await hub.commit(batch)
                hub.offer_blocks()
                batch = []
                continue
            await hub.hold(Waiter(node.uid, mine), left)
        if batch:
            await hub.commit(batch)
            hub.offer_blocks()
        if report.attempt is not None and report.attempt.log and not gone():
            self._logged.pop(node.uid, None)
        return answer

    def _heard_of(self, caller: Identity, report: WorkReport) -> Node:
        farm = self._hub.farm
        node = farm.node(caller.node_uid, caller.node_name)
        if node.state == "ended":
            raise RefusedError(403, "NodeEnded", f"node {caller.node_name} has ended")
        if node.seen is None:
            LOG.info("a slave is here", extra={"node": node.name})
            for job in farm.active:
                farm.touch(job)
            farm.touch()
        node.seen = self._hub.now()
        if node.offer != report.offer:
            node.offer = report.offer
        return node

    def _answer(self, node: Node, report: WorkReport, may_lease: bool, batch: Batch) -> WorkAnswer:
        """What there is to say now; a lease that it gives is in the batch."""
        farm = self._hub.farm
        number = report.attempt.attempt if report.attempt else None
        canceled = number is not None and not self._counts(node, number)
        granted: Lease | None = None
        if (may_lease and number != node.attempt) or (may_lease and number is None):
            granted = self._grant(node, batch)
        if canceled:
            return WorkAnswer(action="cancel", lease=granted, lease_seconds=farm.lease_seconds)
        draining = node.state == "closed" and granted is None
        return WorkAnswer(
            action="drain" if draining else "continue",
            lease=granted,
            lease_seconds=farm.lease_seconds,
        )

    @staticmethod
    def _counts(node: Node, number: int) -> bool:
        """Whether an attempt is the node's current one, or ended by the slave's own word."""
        return number == node.attempt or node.last == (number, True)

    def _grant(self, node: Node, batch: Batch) -> Lease | None:
        farm = self._hub.farm
        now = self._hub.now()
        current = farm.attempts.get(node.attempt or 0)
        if current is not None:
            # its answer was lost: the same again
            current.expires = now.ticks + farm.lease_seconds
            return lease_of(farm, current)
        choice = choose(farm, node, now)
        if choice is None:
            return None
        job, block = choice
        return lease_of(farm, lease(self._hub.change(batch), job, block, node))

    @staticmethod
    def _worth_holding(node: Node, report: WorkReport, mine: bool) -> bool:
        if report.wants_lease:
            return mine
        return report.attempt is not None and report.attempt.attempt == node.attempt

    def _holds_nothing(self, node: Node, batch: Batch) -> None:
        """A slave that leaves says that it has no block, should a lease have crossed its leave."""
        attempt = self._hub.farm.attempts.get(node.attempt or 0)
        if attempt is not None:
            how = End("drained", "spared", "given back before it began", told=True)
            end(self._hub.change(batch), attempt, how)

    async def _hear(self, node: Node, report: AttemptReport, batch: Batch) -> None:
        """Take in the news of an attempt; what is to be committed goes into the batch. Its lease
        does not run out meanwhile, and begins anew then."""
        attempt = self._current(node.uid, report.attempt)
        if attempt is None:
            return
        lock = self._locks.setdefault(report.attempt, asyncio.Lock())
        attempt.in_hand += 1
        try:
            async with lock:
                await self._take_in(node, report, batch)
        finally:
            attempt.in_hand -= 1
            self._renew(node.uid, report.attempt)

    def _renew(self, node_uid: str, number: int) -> None:
        attempt = self._current(node_uid, number)
        if attempt is not None:
            attempt.expires = self._hub.now().ticks + self._hub.lease_seconds

    async def _take_in(self, node: Node, report: AttemptReport, batch: Batch) -> None:
        attempt = self._current(node.uid, report.attempt)
        if attempt is None:
            return
        job = self._hub.farm.jobs[attempt.job_uid]
        await self._keep_log(node.uid, job, attempt, report)
        if report.end is not None and report.end.result != "succeeded":
            # on a full volume it is not the job's fault
            await self._publisher.look_for_room()
        if report.frames_done:
            await self._take_frames(node.uid, report, batch)
        attempt = self._current(node.uid, report.attempt)
        if attempt is None:
            return
        self._progress(attempt, report)
        if report.end is not None:
            how = End.told_by_slave(report.end, bool(self._hub.farm.full))
            end(self._hub.change(batch), attempt, how)
            self._publisher.clear_later(attempt.number)
            if how.result != "succeeded":
                LOG.info(
                    "a block ended",
                    extra={
                        "job": job.order.name,
                        "attempt": attempt.number,
                        "node": node.name,
                        "result": how.result,
                    },
                )

    async def _keep_log(
        self, node_uid: str, job: Job, attempt: Attempt, report: AttemptReport
    ) -> None:
        """Keep a report's log text, once: a slave that got no answer reports the same again."""
        mark = hash((report.attempt, report.log))
        if not report.log or self._logged.get(node_uid) == mark:
            return
        texts = [text for text in report.log if _is_its_own(job, attempt, text)]
        if await self._publisher.log(job.uid, attempt.number, texts):
            self._logged[node_uid] = mark

    def _current(self, node_uid: str, number: int) -> Attempt | None:
        attempt = self._hub.farm.attempts.get(number)
        return attempt if attempt is not None and attempt.node_uid == node_uid else None

    def _progress(self, attempt: Attempt, report: AttemptReport) -> None:
        # a listener's report is empty, and says nothing of progress
        if report.progress and report.progress != attempt.progress:
            attempt.progress = report.progress
            self._hub.farm.touch(self._hub.farm.jobs[attempt.job_uid])
            self._hub.tell()

    async def _take_frames(self, node_uid: str, report: AttemptReport, batch: Batch) -> None:
        attempt = self._current(node_uid, report.attempt)
        if attempt is None:
            return
        farm = self._hub.farm
        job = farm.jobs[attempt.job_uid]
        files: list[tuple[int, FrameDone]] = []
        for done in report.frames_done:
            index = job.frames.index(done.frame)
            if index is None or index not in attempt.left or job.states[index] == SUCCEEDED:
                continue
            why = self._publisher.missing(job, done)
            if why:
                attempt.refusal = f"frame {done.frame}: {why}"
            elif done.files:
                files.append((index, done))
            else:
                self._accept(job, index, attempt.number, done, batch)
        if files:
            # what was accepted so far goes with it
            publishing = list(batch)
            batch.clear()
            await self._publisher.publish(job, attempt.number, files, publishing, batch)

    def _accept(self, job: Job, index: int, number: int, done: FrameDone, batch: Batch) -> None:
        published = Publishing(number, done.seconds, ())
        accept(self._hub.change(batch), job, index, published)


def _is_its_own(job: Job, attempt: Attempt, text: LogText) -> bool:
    """Whether text is about a frame of the attempt's block, or about none."""
    if text.frame is None:
        return True
    index = job.frames.index(text.frame)
    return index is not None and job.block_of(index) == attempt.block

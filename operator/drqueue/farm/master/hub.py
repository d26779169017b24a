"""The middle of a running master: the farm in memory, its journal, and those who wait for news."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable

from drqueue.farm.attempts import Batch
from drqueue.farm.journal import Journal
from drqueue.farm.loading import load
from drqueue.farm.master.committer import Committer
from drqueue.farm.orders import RefusedError
from drqueue.farm.paths import is_full
from drqueue.farm.schedule import choose
from drqueue.farm.state import Change, Farm, Moment

LOG = logging.getLogger(__name__)

_MORE_ROOM = (
    "remove files, or enlarge spec.storage.size of the session; nothing is lost, and it goes on by "
    "itself"
)
FULL = f"the session's volume is full: {_MORE_ROOM}"
FULL_OF_FILES = f"the session's volume is full, of files (inodes) rather than bytes: {_MORE_ROOM}"


class Waiter:
    """A held request of a slave."""

    def __init__(self, node_uid: str, wants_lease: bool) -> None:
        self.node_uid = node_uid
        self.wants_lease = wants_lease
        self.woken = asyncio.Event()


class Hub:
    """Shared by all request handlers. Memory runs ahead of the journal; no answer does.

    `farm` is replaced when a commit fails: after every await, look things up again.
    """

    def __init__(
        self,
        journal: Journal,
        lease_seconds: float,
        now: Callable[[], Moment],
        new_epoch: Callable[[], str],
    ) -> None:
        """Raises sqlite3.Error when the journal cannot be read."""
        self.now = now
        self.lease_seconds = lease_seconds
        self._new_epoch = new_epoch
        self.epoch = new_epoch()
        self.farm: Farm = load(journal, lease_seconds, now())
        self.committer = Committer(journal, self._failed)
        self.closing = False
        self.broken = ""
        """Why the master cannot go on."""
        self.disk_full = False
        """Whether a write failed for want of room; set again by housekeeping."""
        self._waiters: dict[Waiter, None] = {}
        """In the order they came."""
        self._by_node: dict[str, set[Waiter]] = {}
        self._listeners: set[asyncio.Event] = set()
        self._told = self.farm.sequence

    def change(self, batch: Batch) -> Change:
        """Something that happens now; what is to be written of it goes into the batch."""
        return Change(self.farm, self.now(), batch)

    async def commit(self, batch: Batch) -> None:
        """Write a batch, and wait until it is on the disk. Raises RefusedError (507, 503) when
        that failed: then nothing of it has happened."""
        self.tell()
        try:
            await self.committer.commit(batch)
        except sqlite3.Error as error:
            if is_full(error):
                raise RefusedError(507, "VolumeFull", FULL) from error
            raise RefusedError(503, "JournalFailed", f"the journal: {error}") from error

    def _failed(self, error: Exception) -> None:
        """Forget all that was not written."""
        LOG.error("the journal could not be written", extra={"error": str(error)})
        self.disk_full = self.disk_full or is_full(error)
        before = self.farm
        now = self.now()
        try:
            self.farm = load(self.committer.journal, self.lease_seconds, now)
        except Exception as problem:
            LOG.exception("the journal can no longer be read")
            self.broken = f"the journal can no longer be read: {problem}"
            return
        self.farm.full = FULL if self.disk_full else ""
        for node in before.nodes.values():
            kept = self.farm.node(node.uid, node.name)
            kept.offer, kept.seen = node.offer, node.seen
        for job in self.farm.jobs.values():
            old = before.jobs.get(job.uid)
            job.problem = job.refused or (old.problem if old else None)
            self.farm.touch(job)
        self.epoch = self._new_epoch()
        self._told = -1
        self.tell()

    def set_full(self, why: str) -> None:
        """Hand out nothing, and say why; or go on (empty)."""
        self.disk_full = False
        if why != self.farm.full:
            LOG.warning("the volume is full" if why else "the volume has room again")
            self.farm.full = why
            for job in self.farm.jobs.values():
                self.farm.touch(job)
            self.tell()
            self.offer_blocks()

    async def resync(self) -> None:
        """After a bug, memory may be ahead of the journal for good: read it anew."""
        while self.committer.busy:
            with contextlib.suppress(sqlite3.Error):
                await self.committer.commit([])
        self._failed(RuntimeError("a bug; see above"))

    def tell(self) -> None:
        """Wake the operator's held requests if anything changed."""
        if self.farm.sequence != self._told:
            self._told = self.farm.sequence
            for listener in self._listeners:
                listener.set()

    async def changed(self, seconds: float) -> None:
        """Wait for a change, at most so long."""
        listener = asyncio.Event()
        self._listeners.add(listener)
        try:
            async with asyncio.timeout(seconds):
                await listener.wait()
        except TimeoutError:
            return
        finally:
            self._listeners.discard(listener)

    def offer_blocks(self) -> None:
        """Wake as many of the slaves that wait as there are blocks for them."""
        left = sum(job.waiting_blocks for job in self.farm.active)
        if not left:
            return
        now = self.now()
        for waiter in self._waiters:
            if left <= 0:
                return
            if not waiter.wants_lease or waiter.woken.is_set():
                continue
            node = self.farm.nodes.get(waiter.node_uid)
            if node is not None and choose(self.farm, node, now) is not None:
                waiter.woken.set()
                left -= 1

    def wake(self, node_uid: str) -> None:
        """Have a node's held requests look again."""
        for waiter in self._by_node.get(node_uid, ()):
            waiter.woken.set()

    async def hold(self, waiter: Waiter, seconds: float) -> None:
        """Wait until the waiter is woken, at most so long."""
        self._waiters[waiter] = None
        self._by_node.setdefault(waiter.node_uid, set()).add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter.woken.wait()
        except TimeoutError:
            return
        finally:
            self._waiters.pop(waiter, None)
            of_node = self._by_node[waiter.node_uid]
            of_node.discard(waiter)
            if not of_node:
                del self._by_node[waiter.node_uid]

    def let_all_go(self) -> None:
        """Answer all held requests: the master leaves."""
        self.closing = True
        for waiter in self._waiters:
            waiter.woken.set()
        for listener in self._listeners:
            listener.set()

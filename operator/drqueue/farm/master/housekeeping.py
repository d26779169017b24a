"""What a master does by the clock: leases that ran out, scenes that came, room on the volume."""

import asyncio
import logging
import ssl

from drqueue.farm.attempts import Batch, End, end
from drqueue.farm.master.hub import Hub
from drqueue.farm.master.publisher import Publisher
from drqueue.farm.master.tls import ServerTls
from drqueue.farm.orders import RefusedError, judge
from drqueue.farm.state import Attempt, Moment

LOG = logging.getLogger(__name__)

TICK_SECONDS = 1.0
_LOOK_EVERY = 3
"""Ticks between looks at the volume."""
_CLEAR_EVERY = 60
UNREACHED_SECONDS = 60.0
"""For so long at most, a master that started may be out of its slaves' reach."""


class Housekeeping:
    """Runs as long as the master."""

    def __init__(self, hub: Hub, publisher: Publisher, tls: ServerTls) -> None:
        self._hub = hub
        self._publisher = publisher
        self._tls = tls
        self._ticked = hub.now().ticks
        self._reached_by = self._ticked + UNREACHED_SECONDS

    async def run(self) -> None:
        """Tick until canceled."""
        count = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            count += 1
            try:
                await self.tick(count)
            except RefusedError as error:
                LOG.warning("housekeeping is put off", extra={"why": str(error)})
            except Exception:
                LOG.exception("bug: in housekeeping")

    async def tick(self, count: int) -> None:
        """Do what is due at the tick of that number. Raises RefusedError."""
        await self.expire()
        if count % _LOOK_EVERY == 0:
            await self._publisher.look_for_room()
            await self.judge_all(only_troubled=True)
            self._reload()
            await self._publisher.finish()
        if count % _CLEAR_EVERY == 0:
            await self._publisher.clear_leftovers()
        self._hub.offer_blocks()

    async def expire(self) -> None:
        """Give away the blocks of slaves that fell silent. Raises RefusedError."""
        hub = self._hub
        now = hub.now()
        # a master that was frozen heard nobody: that is not the slaves' silence
        passed = now.ticks - self._ticked
        pause = passed if self._unreached(now) else passed - 2 * TICK_SECONDS
        self._ticked = now.ticks
        if pause > 0:
            for attempt in hub.farm.attempts.values():
                attempt.expires += pause
        attempts = hub.farm.attempts.values()
        silent = [a for a in attempts if a.expires < now.ticks and not a.in_hand]
        if not silent:
            return
        batch: Batch = []
        for attempt in silent:
            end(hub.change(batch), attempt, _lost(attempt, hub.lease_seconds))
            LOG.warning(
                "a lease ran out",
                extra={"attempt": attempt.number, "node": attempt.node_name},
            )
        await hub.commit(batch)
        for attempt in silent:
            hub.wake(attempt.node_uid)
            self._publisher.clear_later(attempt.number)

    def _unreached(self, now: Moment) -> bool:
        """Whether slaves may not have found this master yet: its Service sends them here only a
        while after its start, and what they had sent to the one before may hang until then."""
        if now.ticks >= self._reached_by:
            return False
        return all(node.seen is None for node in self._hub.farm.nodes.values())

    async def judge_all(self, only_troubled: bool = False) -> None:
        """Find out what is wrong with the jobs' scenes and folders, which heal: with all jobs of a
        journal just opened, or with those that had something wrong. Raises RefusedError."""
        hub = self._hub
        for job in list(hub.farm.jobs.values()):
            if only_troubled and (job.problem is None or job.refused is not None):
                continue
            missing = await self._publisher.scene_problem(job.scene)
            if hub.farm.jobs.get(job.uid) is job:
                batch: Batch = []
                judge(hub.change(batch), job, missing)
                if batch:
                    await hub.commit(batch)
        hub.tell()

    def _reload(self) -> None:
        try:
            if self._tls.reload():
                LOG.info("the certificate was renewed")
        except (OSError, ssl.SSLError) as error:
            LOG.warning("the renewed certificate cannot be read yet", extra={"error": str(error)})


def _lost(attempt: Attempt, seconds: float) -> End:
    return End(
        "lost",
        "retry",
        f"node {attempt.node_name} was silent for {seconds:g} s",
    )

"""What a master does by the clock: leases that ran out, scenes that came, room on the volume."""

import asyncio
import logging
import ssl

from drqueue.farm.attempts import Batch, End, end
from drqueue.farm.master.hub import FULL, Hub
from drqueue.farm.master.publisher import Publisher
from drqueue.farm.master.tls import ServerTls
from drqueue.farm.orders import RefusedError, judge
from drqueue.farm.state import Attempt

LOG = logging.getLogger(__name__)

TICK_SECONDS = 1.0
_SLOW_EVERY = 3
"""Ticks between looks at the volume."""


class Housekeeping:
    """Runs as long as the master."""

    def __init__(self, hub: Hub, publisher: Publisher, tls: ServerTls) -> None:
        self._hub = hub
        self._publisher = publisher
        self._tls = tls
        self._ticked = hub.now().ticks

    async def run(self) -> None:
        """Tick until canceled."""
        count = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            count += 1
            try:
                await self.tick(count % _SLOW_EVERY == 0)
            except RefusedError as error:
                LOG.warning("housekeeping is put off", extra={"why": str(error)})
            except Exception:
                LOG.exception("bug: in housekeeping")

    async def tick(self, slow: bool) -> None:
        """Do what is due; `slow` with a look at the volume. Raises RefusedError."""
        await self.expire()
        if slow:
            await self._look_for_room()
            await self._look_for_scenes()
            self._reload()
            await self._publisher.finish()
        self._hub.offer_blocks()

    async def expire(self) -> None:
        """Give away the blocks of slaves that fell silent. Raises RefusedError."""
        hub = self._hub
        now = hub.now()
        # a master that was frozen heard nobody: that is not the slaves' silence
        pause = now.ticks - self._ticked - 2 * TICK_SECONDS
        self._ticked = now.ticks
        if pause > 0:
            for attempt in hub.farm.attempts.values():
                attempt.expires += pause
        silent = [a for a in hub.farm.attempts.values() if a.expires < now.ticks]
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

    async def _look_for_room(self) -> None:
        hub = self._hub
        try:
            free, size = await self._publisher.free_bytes()
        except OSError as error:
            LOG.warning("the volume cannot be looked at", extra={"error": str(error)})
            return
        least = max(128 * 1024, min(64 * 1024 * 1024, size // 100))
        full = FULL if free < least else ""
        hub.disk_full = False
        if full != hub.farm.full:
            LOG.warning("the volume is full" if full else "the volume has room again")
            hub.farm.full = full
            for job in hub.farm.jobs.values():
                hub.farm.touch(job)
            hub.tell()

    async def _look_for_scenes(self) -> None:
        """Heal jobs whose scene came, or whose output folder is free now. Raises RefusedError."""
        hub = self._hub
        batch: Batch = []
        for job in list(hub.farm.jobs.values()):
            if job.problem is None or job.refused is not None:
                continue
            missing = await self._publisher.scene_problem(job.scene)
            if hub.farm.jobs.get(job.uid) is job:
                judge(hub.change(batch), job, missing)
        if batch:
            await hub.commit(batch)
        hub.tell()

    async def judge_all(self) -> None:
        """Find out what is wrong with the jobs of a journal just opened. Raises RefusedError."""
        hub = self._hub
        batch: Batch = []
        for job in list(hub.farm.jobs.values()):
            missing = await self._publisher.scene_problem(job.scene)
            if hub.farm.jobs.get(job.uid) is job:
                judge(hub.change(batch), job, missing)
        await hub.commit(batch)

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

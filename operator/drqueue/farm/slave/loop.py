"""The slave's work: ask for a block, render it, report its end and ask for the next, until told to
leave. Rendering is the runner's; this knows the master and time."""

import asyncio
import contextlib
import logging
from typing import Literal, Protocol

from drqueue.farm.protocol import AttemptEnd, AttemptReport, JobWork, Lease, WorkAnswer
from drqueue.farm.slave.client import RefusedError
from drqueue.farm.slave.news import News
from drqueue.farm.slave.reporting import GaveUpError, Line, NotWantedError, Reporter

LOG = logging.getLogger(__name__)

_SHORT_BLOCK_SECONDS = 0.05
"""A block that ends within costs one request, its end and the next lease together."""
_KNOWN_JOBS = 16
_LAST_WORD_SECONDS = 5.0
"""For the last report of a slave that has to leave."""


class Runner(Protocol):
    """What renders a block. What an attempt leaves is the master's to remove: a frame of it may be
    on its way into place, though the attempt counts no more."""

    @property
    def stuck(self) -> bool:
        """Whether processes cannot be killed: nothing more is to be rendered here."""

    async def run(self, lease: Lease, work: JobWork, news: News) -> AttemptEnd:
        """Render a block to its end, telling its news; raises nothing that a job could cause."""

    def cancel(self, result: Literal["canceled", "drained"]) -> None:
        """End the block at hand at once; `run` then gives this result."""


class Slave:
    """One slave's life. `run` it once; `leave` may be called at any time."""

    def __init__(self, line: Line, runner: Runner) -> None:
        self._line = line
        self._runner = runner
        self._jobs: dict[tuple[str, int], JobWork] = {}
        self._leaving = asyncio.Event()
        self._rendering: int | None = None
        self._stopped: Literal["canceled", "drained"] | None = None
        self._in_runner = False

    async def run(self) -> None:
        """Work until told to leave. Raises NotWantedError when the master refuses this slave."""
        ended: AttemptReport | None = None
        # the first answer comes at once: the pod is Ready, and billed, once the master has answered
        wait = 0.0
        try:
            while not self._leaving.is_set():
                answer = await self._ask(ended, wait)
                wait = self._line.hold_seconds
                if answer is None:
                    return
                if ended is not None and answer.action == "cancel":
                    LOG.info("told to drop its block", extra={"attempt": ended.attempt})
                ended = None
                self._told(answer)
                if answer.lease is not None and self._leaving.is_set():
                    # it came while this slave was being told to go: another may have it
                    ended = AttemptReport(
                        attempt=answer.lease.attempt, end=AttemptEnd(result="drained")
                    )
                elif answer.lease is not None:
                    ended = await self._render(answer.lease)
                    if self._runner.stuck:
                        self.leave(0.0)
            if ended is not None:
                await self._say_goodbye(ended)
        except GaveUpError:
            LOG.warning("left without a last word to the master")

    def leave(self, within: float) -> None:
        """Take no new block; give back (as drained) the one at hand if it takes longer than so many
        seconds, or at once if it was told to go before: then its time is over.

        For the event loop's thread.
        """
        if self._leaving.is_set():
            within = 0.0
        LOG.info("leaving", extra={"within_seconds": within})
        self._leaving.set()
        asyncio.get_running_loop().call_later(within, self._out_of_time)

    def _out_of_time(self) -> None:
        if self._rendering is not None:
            LOG.warning("no more time: gives back its block", extra={"attempt": self._rendering})
            self._stop("drained")
        asyncio.get_running_loop().call_later(_LAST_WORD_SECONDS, self._line.hurry.set)

    async def _ask(self, ended: AttemptReport | None, wait: float) -> WorkAnswer | None:
        """Report an end, if any, and ask for a block; None when told to leave meanwhile."""
        asking = asyncio.create_task(self._line.call(ended, True, wait))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            asking.cancel()
            await self._say_goodbye(ended)
            return None
        finally:
            asking.cancel()
            leaving.cancel()

    async def _say_goodbye(self, ended: AttemptReport | None) -> None:
        """Report the end, if any; then, that it holds nothing (any more): an answer with a lease
        may just have been lost."""
        if ended is not None:
            await self._line.call(ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                await self._line.call()

    async def _render(self, lease: Lease) -> AttemptReport | None:
        """Render a block; give its last report, or None when there is nothing more to say of it."""
        self._rendering = lease.attempt
        self._stopped = None
        about = {"attempt": lease.attempt, "job": lease.job_name, "frames": lease.frames[:200]}
        wake = asyncio.Event()
        loop = asyncio.get_running_loop()
        news = News(lease.attempt, lambda: _wake(loop, wake))
        rendering = asyncio.create_task(self._run(lease, news))
        try:
            await asyncio.wait({rendering}, timeout=_SHORT_BLOCK_SECONDS)
            if not rendering.done():
                LOG.info("renders", extra=about)
                reporter = Reporter(self._line, news, wake, self._told)
                try:
                    await reporter.watch(rendering)
                finally:
                    await reporter.stop()
            end = rendering.result()
        except (NotWantedError, GaveUpError):
            self._stop("canceled")
            await asyncio.wait({rendering})
            raise
        finally:
            self._rendering = None
        if self._stopped == "canceled":
            LOG.info("told to drop its block", extra=about)
            return None
        if end.result != "succeeded":
            LOG.warning("block ended", extra=about | {"result": end.result, "why": end.message})
        while (report := news.take(end)).end is None:
            answer = await self._line.call(report)
            if answer.action == "cancel":
                return None
        return report

    async def _run(self, lease: Lease, news: News) -> AttemptEnd:
        try:
            work = await self._work(lease)
        except RefusedError as error:
            # the job was changed or deleted meanwhile
            return AttemptEnd(result="canceled", message=str(error)[:2000])
        except GaveUpError:
            return AttemptEnd(result=self._stopped or "drained")
        if self._stopped is not None:
            return AttemptEnd(result=self._stopped)
        self._in_runner = True
        try:
            return await self._runner.run(lease, work, news)
        except Exception as error:
            LOG.exception("bug: a block ended with an error", extra={"attempt": lease.attempt})
            message = f"the slave's own error: {type(error).__name__}: {error}"
            return AttemptEnd(result="failed", message=message[:2000])
        finally:
            self._in_runner = False

    async def _work(self, lease: Lease) -> JobWork:
        """What a job's blocks share; asked for once."""
        key = (lease.job_uid, lease.generation)
        if key not in self._jobs:
            work = await self._line.job_work(lease.job_uid, lambda: self._stopped is not None)
            while len(self._jobs) >= _KNOWN_JOBS:
                del self._jobs[next(iter(self._jobs))]
            self._jobs[key] = work
        return self._jobs[key]

    def _told(self, answer: WorkAnswer) -> None:
        if answer.action == "cancel" and self._rendering is not None:
            self._stop("canceled")
        elif answer.action == "drain" and not self._leaving.is_set():
            LOG.info("told to drain")
            self._leaving.set()

    def _stop(self, result: Literal["canceled", "drained"]) -> None:
        if self._stopped != "canceled":
            self._stopped = result
            if self._in_runner:
                self._runner.cancel(result)


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)

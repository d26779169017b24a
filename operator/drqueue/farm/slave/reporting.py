"""Telling the master of an attempt while it renders, and hearing from it: never giving up."""

import asyncio
import logging
import random
from collections.abc import Callable

from drqueue.farm.protocol import (
    MAX_WAIT_SECONDS,
    AttemptEnd,
    AttemptReport,
    JobWork,
    NodeOffer,
    WorkAnswer,
    WorkReport,
)
from drqueue.farm.slave.client import MasterClient, RefusedError, UnreachableError, pause
from drqueue.farm.slave.news import News

LOG = logging.getLogger(__name__)

NEWS_SECONDS = 2.0
"""Between reports that carry only log text and progress."""
HOLD_AFTER_SECONDS = 1.0
"""A block that takes longer is worth a held request, by which the master can cancel at once."""
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_MOST_REFUSALS = 4


class NotWantedError(Exception):
    """The master refuses this slave: its node has ended, or its certificate is another's."""


class GaveUpError(Exception):
    """The slave has to leave before the master could be told."""


class Line:
    """The line to the master: every call goes on until it is answered, or `hurry` is set."""

    def __init__(
        self,
        client: MasterClient,
        offer: NodeOffer,
        chance: random.Random,
        on_answer: Callable[[WorkAnswer], None] = lambda answer: None,
    ) -> None:
        self.client = client
        self.offer = offer
        self.hurry = asyncio.Event()
        """Set when there is no more time to try again."""
        self.lease_seconds = 60.0
        self._chance = chance
        self._on_answer = on_answer
        self._failures = 0

    @property
    def hold_seconds(self) -> float:
        """How long the master may hold an answer: a third of a lease, so that none runs out."""
        return min(MAX_WAIT_SECONDS, self.lease_seconds / 3)

    async def call(
        self,
        attempt: AttemptReport | None = None,
        wants_lease: bool = False,
        wait_seconds: float = 0.0,
    ) -> WorkAnswer:
        """Report, and give the master's answer. Raises NotWantedError, GaveUpError."""
        report = WorkReport(
            offer=self.offer, attempt=attempt, wants_lease=wants_lease, wait_seconds=wait_seconds
        )
        refusals = 0
        while True:
            after: float | None = None
            try:
                answer = await self.client.work(report)
            except UnreachableError as error:
                after = error.retry_after
                self._note(f"the master cannot be reached, will try again: {error}")
            except RefusedError as error:
                if error.status == 403:
                    raise NotWantedError(str(error)) from error
                refusals += 1
                if report.attempt is not None and report.attempt.log:
                    # better without its log than not at all
                    shorter = report.attempt.model_copy(update={"log": ()})
                    report = report.model_copy(update={"attempt": shorter})
                elif report.attempt is not None and refusals >= _MOST_REFUSALS:
                    LOG.error("gives up a block whose reports are refused: %s", error)
                    return WorkAnswer(action="cancel", lease_seconds=self.lease_seconds)
                self._note(f"the master refuses a report, will try again: {error}")
                after = min(_LONGEST_PAUSE, refusals)
            else:
                if self._failures:
                    LOG.info("the master answers again", extra={"failures": self._failures})
                    self._failures = 0
                self.lease_seconds = answer.lease_seconds
                self._on_answer(answer)
                return answer
            await self._back_off(after)

    async def job_work(self, uid: str, given_up: Callable[[], bool]) -> JobWork:
        """Fetch what a job's blocks share. Raises RefusedError, GaveUpError (also when `given_up`
        says so between two tries)."""
        while True:
            try:
                return await self.client.job_work(uid)
            except UnreachableError as error:
                self._note(f"a job cannot be fetched, will try again: {error}")
                if given_up():
                    raise GaveUpError from error
                await self._back_off(error.retry_after)

    async def _back_off(self, after: float | None) -> None:
        """Wait longer from failure to failure; slaves of one master not in step."""
        if self.hurry.is_set():
            raise GaveUpError
        self._failures += 1
        longest = min(_FIRST_PAUSE * 2.0 ** min(self._failures, 10), _LONGEST_PAUSE)
        await pause(
            after if after is not None else longest * self._chance.uniform(0.5, 1), self.hurry
        )

    def _note(self, message: str) -> None:
        # the first time, and then rarely: an outage of hours must not fill the log
        if self._failures & (self._failures - 1) == 0:
            LOG.warning(message, extra={"failures": self._failures})


class Reporter:
    """Reports one attempt's news as they come, and listens for what the master has to say of it.

    `told` gets every answer; an attempt that has been canceled is reported no more.
    """

    def __init__(
        self, line: Line, news: News, wake: asyncio.Event, told: Callable[[WorkAnswer], None]
    ):
        self._line = line
        self._news = news
        self._wake = wake
        self._told = told
        self._ending = False
        self._over = asyncio.Event()
        self._canceled = False
        self._tasks: tuple[asyncio.Task[None], ...] = (
            asyncio.create_task(self._report()),
            asyncio.create_task(self._listen()),
        )

    async def watch(self, rendering: "asyncio.Task[AttemptEnd]") -> None:
        """Wait for the end of rendering. Raises what the line raised, if that comes first."""
        while not rendering.done():
            talking = {task for task in self._tasks if not task.done()}
            done, _ = await asyncio.wait({rendering, *talking}, return_when="FIRST_COMPLETED")
            for task in done - {rendering}:
                task.result()

    async def stop(self) -> None:
        """The attempt is over: finish the report under way (it may hold finished frames), and hang
        up. Raises what the line raised."""
        self._ending = True
        self._over.set()
        self._wake.set()
        reporting, listening = self._tasks
        listening.cancel()
        results = await asyncio.gather(reporting, listening, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _report(self) -> None:
        while not self._ending and not self._canceled:
            await pause(NEWS_SECONDS, self._wake)
            self._wake.clear()
            # the end often comes right behind the last frame: one request for both
            await pause(0.02, self._over)
            while not self._ending and not self._canceled and self._news.waiting:
                self._heard(await self._line.call(self._news.take()))
                if not self._news.urgent:
                    break

    async def _listen(self) -> None:
        await asyncio.sleep(HOLD_AFTER_SECONDS)
        empty = AttemptReport(attempt=self._news.attempt)
        while not self._canceled:
            started = asyncio.get_running_loop().time()
            self._heard(await self._line.call(empty, wait_seconds=self._line.hold_seconds))
            # a master that does not hold is not to be asked in a tight loop
            spent = asyncio.get_running_loop().time() - started
            await asyncio.sleep(max(0.0, min(1.0, self._line.hold_seconds / 2) - spent))

    def _heard(self, answer: WorkAnswer) -> None:
        if answer.action == "cancel":
            self._canceled = True
        if not self._ending:
            self._told(answer)

"""The loop: takes keys from the queue, reconciles them, and sorts what goes wrong."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar

from drqueue.control.context import Context, Reconcile, Result
from drqueue.control.errors import NoCapacity, Passing, Sort, sort_of
from drqueue.control.kinds import Key
from drqueue.control.metrics import Metrics

log = logging.getLogger(__name__)

current_key: ContextVar[Key | None] = ContextVar("current_key", default=None)
"""The key being reconciled: logs carry it."""

AT_LEAST: Mapping[Sort, float] = {
    "input": 120.0,
    "capacity": 60.0,
    "passing": 0.0,
    "stale": 0.0,
    "ending": 30.0,
    "forbidden": 60.0,
    "bug": 30.0,
}
"""Seconds until a key that failed so is tried again; each failure in a row doubles the backoff."""
PATIENCE = 3
"""Failures in a row that are common enough to be told quietly, where they pass by themselves."""
STUCK_AFTER = 300.0
"""Seconds after which a reconcile is taken for stuck: each of its requests ends far sooner."""


class Workers:
    """Runs reconcilers, at most `count` at a time, one a key."""

    def __init__(
        self,
        context: Context,
        reconcilers: Mapping[str, Reconcile],
        metrics: Metrics,
        monotonic: Callable[[], float],
        may_act: Callable[[], bool] = lambda: True,
        *,
        pace: float = 0.0,
    ) -> None:
        """`pace`: seconds that a key which asks to run again waits, at least."""
        self._context = context
        self._reconcilers = reconcilers
        self._metrics = metrics
        self._monotonic = monotonic
        self._may_act = may_act
        self._pace = pace
        self._began: dict[Key, float] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    async def run(self, count: int) -> None:
        """Work until cancelled. What is being reconciled then is cut off: that is always safe."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._work(), name=f"worker {number}")

    async def drain(self, seconds: float) -> None:
        """Take no more keys, and give those in work so long to come to their end."""
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def stuck(self) -> str | None:
        """Which reconcile has taken too long, if any has."""
        before = self._monotonic() - STUCK_AFTER
        keys = sorted(str(key) for key, began in self._began.items() if began < before)
        return f"reconciles that do not end: {', '.join(keys)}" if keys else None

    async def _work(self) -> None:
        queue = self._context.queue
        while True:
            key, waited = await queue.get()
            if self._stopping:
                queue.done(key)
                return
            self._metrics.queue_latency.observe(waited)
            try:
                await self.reconcile(key)
            finally:
                queue.done(key)

    async def reconcile(self, key: Key) -> None:
        """Reconcile one key once; its errors end here, as a later try."""
        if not self._may_act():
            self._context.queue.retry(key, 1.0)
            return
        began = self._began[key] = self._monotonic()
        self._idle.clear()
        token = current_key.set(key)
        try:
            result = await self._reconcilers[key.kind](self._context, key)
        except Exception as error:
            outcome: str = sort_of(error)
            self._failed(key, error)
        else:
            outcome = "done"
            self._succeeded(key, result)
        finally:
            current_key.reset(token)
            del self._began[key]
            if not self._began:
                self._idle.set()
        self._metrics.reconciled(key.kind, outcome, self._monotonic() - began)

    def _succeeded(self, key: Key, result: Result) -> None:
        self._context.queue.succeeded(key)
        if result.requeue_after is not None:
            self._context.queue.add(key, max(result.requeue_after, self._pace))

    def _failed(self, key: Key, error: Exception) -> None:
        sort = sort_of(error)
        at_least = AT_LEAST[sort]
        if isinstance(error, NoCapacity):
            at_least = error.cooldown
        elif isinstance(error, Passing):
            at_least = error.retry_after or 0.0
        delay = self._context.queue.retry(key, at_least)
        again = f"next try in {delay:.1f} s"
        if sort == "bug":
            log.exception("A bug while reconciling %s; %s", key, again)
        elif sort == "ending" or (
            sort in ("stale", "passing") and self._context.queue.failures(key) <= PATIENCE
        ):
            log.info("%s: %s; %s", key, error, again)
        else:
            log.warning("%s: %s; %s", key, error, again)

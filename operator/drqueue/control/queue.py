"""The one work queue: keys, when they are due, and how long to wait after a failure."""

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from drqueue.control.kinds import Key

FIRST_BACKOFF = 0.25
HELD_AT_MOST = 5.0
"""Seconds for which a failing key is held back even from news about it: what a failed reconcile
wrote comes back as news, and must not make it spin."""


class Job(NamedTuple):
    """A key that is due, and how many seconds it waited since then."""

    key: Key
    waited: float


class WorkQueue:
    """Keys to reconcile. A key waits once, at its earliest due time, and is worked on by one
    worker at a time; a key added while it is worked on comes back afterwards.

    Not thread-safe: it belongs to one event loop.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        random: Callable[[], float],
        max_backoff: float = 300.0,
    ) -> None:
        self._monotonic = monotonic
        self._random = random
        self._max_backoff = max_backoff
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._sequence = 0
        self._running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._held: dict[Key, float] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()

    def add(self, key: Key, after: float = 0.0) -> None:
        """Have the key reconciled `after` so many seconds, or earlier if that was asked before."""
        due = max(self._monotonic() + after, self._held.get(key, 0.0))
        known = self._due.get(key)
        if known is not None and known <= due:
            return
        self._due[key] = due
        if key not in self._running:
            self._push(key, due)

    @property
    def depth(self) -> int:
        """Keys that are due now."""
        now = self._monotonic()
        return sum(due <= now for due in self._due.values())

    @property
    def waiting(self) -> int:
        """Keys that are due now or later."""
        return len(self._due)

    def idle(self) -> bool:
        """Whether nothing is worked on and nothing is due."""
        return not self._running and self.depth == 0

    def failures(self, key: Key) -> int:
        """How often the key failed in a row."""
        return self._failures.get(key, 0)

    def take(self) -> Job | None:
        """The key that is due longest, now being worked on: answer it by `done`, `retry` last."""
        now = self._monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) != due or key in self._running:
                continue  # asked for earlier since, or pushed again by done()
            del self._due[key]
            self._running.add(key)
            return Job(key, now - due)
        return None

    async def get(self) -> Job:
        """Wait for a key that is due."""
        while (job := self.take()) is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            timeout = self._heap[0][0] - self._monotonic() if self._heap else None
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return job

    def succeeded(self, key: Key) -> None:
        """Forget the key's failures."""
        self._failures.pop(key, None)
        self._held.pop(key, None)

    def retry(self, key: Key, at_least: float = 0.0) -> float:
        """Have a failed key come back: after `at_least`, or a backoff that doubles, with jitter.

        Answers the seconds until then. News of the key shortens it, but not at once.
        """
        count = self._failures.get(key, 0) + 1
        self._failures[key] = count
        delay = min(FIRST_BACKOFF * 2.0 ** min(count - 1, 30), self._max_backoff)
        delay = max(at_least, delay) * (1.0 + 0.25 * self._random())
        now = self._monotonic()
        self._held[key] = now + min(delay, HELD_AT_MOST)
        news = self._due.pop(key, None) is not None
        self.add(key, delay)
        if news:
            self.add(key)
        return delay

    def done(self, key: Key) -> None:
        """The worker is through with the key."""
        self._running.discard(key)
        if key in self._due:
            self._push(key, self._due[key])

    def _push(self, key: Key, due: float) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, key))
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

"""A bound on the request rate: a token bucket, with pauses that the server asks for."""

import asyncio
from collections.abc import Awaitable, Callable


class Limiter:
    """`rate` requests a second on average, `burst` at once. Waiting requests go in order."""

    def __init__(
        self,
        rate: float,
        burst: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = 1.0 / rate
        self._slack = burst / rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = float("-inf")
        """When the next request may go, had there been no slack."""
        self._paused_until = float("-inf")

    def reserve(self) -> float:
        """Take a place in the line; answers the seconds until its turn."""
        now = self._monotonic()
        earliest = max(now, self._paused_until)
        self._next = max(self._next + self._interval, earliest - self._slack + self._interval)
        return max(self._next, self._paused_until) - now

    async def wait(self) -> None:
        """Wait for this request's turn, and out any pause that begins meanwhile."""
        delay = self.reserve()
        while delay > 0:
            await self._sleep(delay)
            delay = self._paused_until - self._monotonic()

    def pause(self, seconds: float) -> None:
        """Let nothing go for so long: the server said Retry-After."""
        self._paused_until = max(self._paused_until, self._monotonic() + seconds)

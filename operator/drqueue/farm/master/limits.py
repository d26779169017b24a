"""How fast a caller may ask."""

from collections import OrderedDict


class RateLimit:
    """A token bucket a caller; the least recently heard of are forgotten."""

    def __init__(self, rate: float, burst: float, callers: int = 20_000) -> None:
        """`rate` requests a second, `burst` at once."""
        self._rate = rate
        self._burst = burst
        self._callers = callers
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, caller: str, ticks: float) -> bool:
        """Take a token, if there is one."""
        tokens, since = self._buckets.get(caller, (self._burst, ticks))
        tokens = min(self._burst, tokens + (ticks - since) * self._rate)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, ticks)
        self._buckets.move_to_end(caller)
        if len(self._buckets) > self._callers:
            self._buckets.popitem(last=False)
        return allowed

"""The one work queue: keys, when they are due, and how long to wait after a failure."""

from collections.abc import Callable

from drqueue.control.kinds import Key


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
        raise NotImplementedError

    def add(self, key: Key, after: float = 0.0) -> None:
        """Have the key reconciled `after` so many seconds, or earlier if that was asked before."""
        raise NotImplementedError

"""Group commit: batches that wait together are written together, off the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from drqueue.farm.attempts import Batch
from drqueue.farm.journal import Journal

T = TypeVar("T")


class Committer:
    """Writes batches in the order they came. When a write fails, all batches that wait fail with
    it, as they were made on top of it; `on_failure` is called before anybody hears of it."""

    def __init__(self, journal: Journal, on_failure: Callable[[Exception], None]) -> None:
        self.journal = journal
        self._on_failure = on_failure
        self._thread = ThreadPoolExecutor(1, "journal")
        self._waiting: list[tuple[Batch, asyncio.Future[None]]] = []
        self._writing: asyncio.Future[None] | None = None

    def commit(self, batch: Batch) -> "asyncio.Future[None]":
        """A future that is done when the batch, and all before it, are on the disk. An empty
        batch waits just for those before it. The future raises what the write raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if not batch and not self._waiting and self._writing is None:
            future.set_result(None)
            return future
        self._waiting.append((batch, future))
        if self._writing is None:
            self._start()
        return future

    @property
    def busy(self) -> bool:
        """Whether anything is being written, or waits."""
        return self._writing is not None or bool(self._waiting)

    def _start(self) -> None:
        group, self._waiting = self._waiting, []
        batches = [batch for batch, _ in group if batch]
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._thread, self.journal.commit, batches)
        self._writing = writing
        writing.add_done_callback(lambda done: self._written(done, group))

    def _written(
        self,
        done: "asyncio.Future[None]",
        group: list[tuple[Batch, "asyncio.Future[None]"]],
    ) -> None:
        self._writing = None
        error = done.exception()
        if isinstance(error, Exception):
            group, self._waiting = group + self._waiting, []
            self._on_failure(error)
        for _, future in group:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
        if self._waiting and self._writing is None:
            self._start()

    async def read(self, query: Callable[[Journal], T]) -> T:
        """Run a query in the journal's thread, between two writes."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, query, self.journal)

    async def close(self) -> None:
        """Write what waits, and give the journal up."""
        while self._writing is not None or self._waiting:
            await asyncio.wait({self._writing} if self._writing else set(), timeout=0.1)
        self._thread.shutdown(wait=True)
        self.journal.close()

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from drqueue.control.context import Context, Result
from drqueue.control.errors import (
    Conflict,
    Forbidden,
    Invalid,
    MasterAway,
    NamespaceEnding,
    NoCapacity,
    Passing,
)
from drqueue.control.kinds import Key
from drqueue.control.metrics import Metrics
from drqueue.control.queue import FIRST_BACKOFF, WorkQueue
from drqueue.control.worker import AT_LEAST, STUCK_AFTER, Workers

KEY = Key("RenderJob", "studio", "a")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Reconciler:
    """Does what the test says, and counts."""

    error: Exception | None = None
    result: Result = field(default_factory=Result)
    calls: int = 0

    async def __call__(self, _: Context, key: Key) -> Result:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return self.result


class Loop:
    def __init__(self, may_act: bool = True, pace: float = 0.0) -> None:
        self.clock = Clock()
        self.queue = WorkQueue(self.clock, lambda: 0.0)
        self.reconciler = Reconciler()
        self.metrics = Metrics()
        context = cast(Context, type("Parts", (), {"queue": self.queue})())
        self.workers = Workers(
            context,
            {"RenderJob": self.reconciler},
            self.metrics,
            self.clock,
            lambda: may_act,
            pace=pace,
        )

    async def once(self) -> None:
        self.queue.add(KEY)
        job = self.queue.take()
        assert job is not None
        await self.workers.reconcile(job.key)
        self.queue.done(job.key)

    def seconds_until_due(self) -> float | None:
        """How long the key waits from now on, to within a tenth of a second; None: for ever."""
        for tenths in range(10 * 400):
            if self.queue.take():
                return tenths / 10
            self.clock.now += 0.1
        return None

    def count(self, result: str) -> float | None:
        labels = {"kind": "RenderJob", "result": result}
        return self.metrics.registry.get_sample_value("drqueue_reconcile_seconds_count", labels)


@pytest.mark.parametrize(
    ("error", "sort", "seconds"),
    [
        (Invalid("no"), "input", AT_LEAST["input"]),
        (NoCapacity("full", cooldown=45.0), "capacity", 45.0),
        (Passing("later", retry_after=9.0), "passing", 9.0),
        (MasterAway("gone"), "passing", FIRST_BACKOFF),
        (Conflict("old"), "stale", FIRST_BACKOFF),
        (NamespaceEnding("going"), "ending", AT_LEAST["ending"]),
        (Forbidden("no right"), "forbidden", AT_LEAST["forbidden"]),
        (KeyError("spec"), "bug", AT_LEAST["bug"]),
    ],
)
async def test_each_sort_of_error_waits_its_time(
    error: Exception, sort: str, seconds: float
) -> None:
    loop = Loop()
    loop.reconciler.error = error
    await loop.once()
    assert loop.count(sort) == 1
    assert loop.seconds_until_due() == pytest.approx(seconds, abs=0.2)


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """By the workers: others of this process, such as tasks that nobody awaited, log as well."""
    return [record for record in caplog.records if record.name == "drqueue.control.worker"]


async def test_a_bug_is_logged_with_its_key_and_trace(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    loop.reconciler.error = KeyError("spec")
    await loop.once()
    [record] = said(caplog)
    assert record.levelname == "ERROR" and record.exc_info
    assert "RenderJob/studio/a" in record.getMessage()


async def test_common_troubles_are_told_quietly_at_first(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    loop = Loop()
    loop.reconciler.error = Conflict("old")
    for _ in range(5):
        loop.clock.now += 100.0
        await loop.once()
    assert [record.levelname for record in said(caplog)] == ["INFO"] * 3 + ["WARNING"] * 2


async def test_a_result_asks_for_the_next_time() -> None:
    loop = Loop()
    loop.reconciler.result = Result(requeue_after=12.0)
    await loop.once()
    assert loop.count("done") == 1
    assert loop.seconds_until_due() == pytest.approx(12.0, abs=0.2)


async def test_in_a_dry_run_what_waits_for_its_own_doing_does_not_spin() -> None:
    loop = Loop(pace=60.0)
    loop.reconciler.result = Result(0.1)
    await loop.once()
    assert loop.seconds_until_due() == pytest.approx(60.0, abs=0.2)


async def test_without_one_the_key_rests() -> None:
    loop = Loop()
    await loop.once()
    assert loop.seconds_until_due() is None


async def test_nothing_is_reconciled_while_the_lease_is_doubtful() -> None:
    loop = Loop(may_act=False)
    await loop.once()
    assert loop.reconciler.calls == 0
    assert loop.seconds_until_due() == pytest.approx(1.0, abs=0.2), "and the key is not lost"


class Slow:
    """A reconciler that ends when it is told to."""

    def __init__(self) -> None:
        self.began, self.end = asyncio.Event(), asyncio.Event()
        self.ended: list[Key] = []

    async def __call__(self, _: Context, key: Key) -> Result:
        self.began.set()
        await self.end.wait()
        self.ended.append(key)
        return Result()


async def test_what_is_in_work_may_end_before_the_workers_do() -> None:
    loop, slow = Loop(), Slow()
    loop.workers._reconcilers = {"RenderJob": slow}
    running = asyncio.create_task(loop.workers.run(2))
    loop.queue.add(KEY)
    await slow.began.wait()
    draining = asyncio.create_task(loop.workers.drain(60))
    await asyncio.sleep(0)
    loop.queue.add(KEY._replace(name="later"))
    slow.end.set()
    await draining
    running.cancel()
    assert slow.ended == [KEY], "no new key was taken"


async def test_a_reconcile_that_does_not_end_is_told() -> None:
    loop, slow = Loop(), Slow()
    loop.workers._reconcilers = {"RenderJob": slow}
    reconciling: asyncio.Task[Any] = asyncio.create_task(loop.workers.reconcile(KEY))
    await slow.began.wait()
    assert loop.workers.stuck() is None
    loop.clock.now += STUCK_AFTER + 1
    assert "RenderJob/studio/a" in str(loop.workers.stuck())
    slow.end.set()
    await reconciling
    assert loop.workers.stuck() is None

"""A master on a volume that refuses, fails or is slow: nobody else waits, and nothing hangs."""

import asyncio
import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from drqueue.farm import frame_logs
from drqueue.farm.protocol import AttemptReport, RequestOrder, WorkReport
from drqueue.farm.publish import publish as publish_files

from tests.unit.farm_testing import order
from tests.unit.master_testing import OFFER, Studio, done, studio


@pytest_asyncio.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Studio]:
    async with studio(tmp_path) as made:
        yield made


# frames that cannot be moved -----------------------------------------------------------------


def failing(code: int) -> Callable[..., None]:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    return fails


async def test_frame_that_can_never_be_moved_costs_retries_and_says_why(
    farm: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    await farm.operator.put(order(frames="1", retries=1, output_files=("out.####",)))
    monkeypatch.setattr(os, "rename", failing(errno.EXDEV))
    for name in ("n0", "n1"):
        node = farm.node(name)
        attempt = await node.take()
        file = farm.write_output(attempt, "out.0001", "frame")
        await node.work(done(attempt, 1, files=(file,)), wants_lease=False)
    report = await farm.operator.job("job-1")
    assert (report.state, report.failed) == ("failed", 1)
    why = "out.0001 cannot be moved into outputs/job-1: Invalid cross-device link"
    assert f"missing_output: frame 1: {why}" in report.last_error


@pytest.mark.parametrize("after", ["heals", "refuses"])
async def test_kill_and_rerun_of_a_frame_whose_move_failed_ends(
    farm: Studio, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    def asks(verb: Any) -> Any:
        return order(
            frames="1",
            output_files=("out.####",),
            requests=(RequestOrder(id=verb, verb=verb),),
        )

    await farm.operator.put(order(frames="1", output_files=("out.####",)))
    node = farm.node()
    attempt = await node.take()
    report = done(attempt, 1, files=(farm.write_output(attempt, "out.0001", "frame"),))
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(errno.EIO))
        body = WorkReport(offer=OFFER, attempt=report)
        status, answer = await node.ask("POST", "/v1/work", body)
        assert (status, answer["code"]) == (503, "VolumeFailed")
        await farm.operator.put(asks("kill"))
        await farm.operator.put(asks("rerun"))
        if after == "refuses":
            patch.setattr(os, "rename", failing(errno.EACCES))
            await farm.operator.until("job-1", lambda job: job.waiting_blocks == 1)
    if after == "refuses":
        attempt = await node.take()
        report = done(attempt, 1, files=(farm.write_output(attempt, "out.0001", "frame"),))
        await node.work(report, wants_lease=False)
    await farm.operator.until("job-1", lambda job: job.state == "succeeded")
    assert (farm.volume / "work" / "outputs" / "job-1" / "out.0001").read_text() == "frame"


@pytest.mark.parametrize("folder", ["kept", "gone"])
async def test_older_picture_is_never_taken_for_the_new_one(
    farm: Studio, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """The move fails, and the attempt's folder goes meanwhile: a slave of the version before
    removes it, as may the tenant's own code."""

    def asks(*verbs: Any) -> Any:
        requests = tuple(RequestOrder(id=f"{verb}{number}", verb=verb) for verb, number in verbs)
        return order(frames="1", output_files=("out.####",), requests=requests)

    async def report(attempt: int, content: str) -> int:
        file = farm.write_output(attempt, "out.0001", content)
        body = WorkReport(offer=OFFER, attempt=done(attempt, 1, files=(file,)))
        return (await node.ask("POST", "/v1/work", body))[0]

    await farm.operator.put(asks())
    node = farm.node()
    assert await report(await node.take(), "OLD!") == 200
    await farm.operator.put(asks(("rerun", 1)))
    attempt = await node.take()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(errno.EIO))
        assert await report(attempt, "NEW!") == 503
        await farm.operator.put(asks(("kill", 2)))
        await farm.operator.put(asks(("rerun", 3)))
        source = farm.volume / "work" / "attempts" / str(attempt)
        if folder == "gone":
            shutil.rmtree(source)
        else:
            assert (source / "out.0001").read_text() == "NEW!", "what is being published stays"
    if folder == "gone":
        # it waits, and is rendered again
        await farm.operator.until("job-1", lambda job: job.waiting_blocks or job.succeeded)
        assert (await farm.operator.job("job-1")).succeeded == 0
        assert await report(await node.take(), "NEW!") == 200
    await farm.operator.until("job-1", lambda job: job.state == "succeeded")
    assert (farm.volume / "work" / "outputs" / "job-1" / "out.0001").read_text() == "NEW!"


@pytest.mark.parametrize("how", ["kill", "suspend"])
async def test_folder_of_a_canceled_attempt_goes_at_once(farm: Studio, how: str) -> None:
    await farm.operator.put(order(frames="1"))
    attempt = await farm.node().take()
    farm.write_output(attempt, "out.0001", "half")
    if how == "kill":
        await farm.operator.put(order(frames="1", requests=(RequestOrder(id="k", verb="kill"),)))
    else:
        await farm.operator.put(order(frames="1", generation=2, suspend=True))
    async with asyncio.timeout(20):
        while (farm.volume / "work" / "attempts" / str(attempt)).exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_frame_that_cannot_be_moved_yet_holds_up_no_other(
    farm: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def fails(work: int, folder: str, frames: Any) -> list[str]:
            if folder in broken:
                raise OSError(errno.EIO, "Input/output error")
            return publish_files(work, folder, frames)

        broken = ["outputs/job-1", "outputs/job-2"]
        patch.setattr("drqueue.farm.master.publisher.publish_files", fails)
        for uid, name in (("job-1", "n0"), ("job-2", "n1")):
            await farm.operator.put(order(uid, frames="1", output_files=("out.####",)))
            node = farm.node(name)
            attempt = await node.take()
            file = farm.write_output(attempt, "out.0001", "frame")
            body = WorkReport(offer=OFFER, attempt=done(attempt, 1, files=(file,)))
            assert (await node.ask("POST", "/v1/work", body))[0] == 503
        broken.remove("outputs/job-2")
        await farm.operator.until("job-2", lambda job: job.succeeded == 1)
        assert (await farm.operator.job("job-1")).succeeded == 0
    await farm.operator.until("job-1", lambda job: job.succeeded == 1)


async def test_folder_whose_name_no_file_system_takes_is_refused_by_its_field(
    farm: Studio,
) -> None:
    body = order(output_folder=f"outputs/{'畫' * 90}")
    status, answer = await farm.operator.ask("PUT", "/v1/jobs/job-1", body)
    assert (status, answer["code"]) == (400, "OutputInvalid")
    assert answer["message"].startswith("spec.output.folder: ")
    assert "255 bytes" in answer["message"]


# reports that take long ----------------------------------------------------------------------


class SlowLogs:
    """Log writes that take until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.fails = False
        really = frame_logs.append

        def slowly(*arguments: Any) -> None:
            self.begun.set()
            assert self.go_on.wait(60)
            if self.fails:
                raise OSError(errno.EIO, "Input/output error")
            really(*arguments)

        monkeypatch.setattr(frame_logs, "append", slowly)


def saying(attempt: int, text: str, end: str | None = None) -> AttemptReport:
    report = done(attempt, end=end).model_dump() | {"log": [{"frame": 1, "text": text}]}
    return AttemptReport.model_validate(report)


async def being_heard(farm: Studio, slow: SlowLogs) -> tuple[int, asyncio.Task[Any]]:
    """An attempt, and a report of it that the master is at: it writes the log."""
    await farm.operator.put(order(frames="1"))
    node = farm.node()
    attempt = await node.take()
    reporting = asyncio.create_task(node.work(saying(attempt, "text\n"), wants_lease=False))
    assert await asyncio.to_thread(slow.begun.wait, 20)
    return attempt, reporting


async def test_slave_that_waits_for_a_busy_master_keeps_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLogs(monkeypatch)
    async with studio(tmp_path, lease_seconds=3.0) as farm:
        other = farm.node("n1")
        _, reporting = await being_heard(farm, slow)
        # it is heard of no more for several leases: it waits for its answer
        assert (await other.work(wait=8.0)).lease is None
        slow.go_on.set()
        assert (await reporting).action == "continue"
        assert (await farm.operator.job("job-1")).running == 1
        # and then has one whole lease, not more
        await farm.operator.until("job-1", lambda job: job.waiting_blocks == 1)
        assert "was silent" in (await farm.operator.job("job-1")).last_error


async def test_canceled_attempt_stays_so_though_its_slave_was_being_heard(
    farm: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLogs(monkeypatch)
    attempt, reporting = await being_heard(farm, slow)
    await farm.operator.put(order(frames="1", generation=2, suspend=True))
    slow.go_on.set()
    assert (await reporting).action == "cancel"
    assert (await farm.operator.job("job-1")).running == 0
    await farm.operator.put(order(frames="1", generation=3))
    assert await farm.node("n1").take() != attempt


async def test_log_of_a_repeated_report_is_written_once(
    farm: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLogs(monkeypatch)
    await farm.operator.put(order(frames="1"))
    node = farm.node()
    attempt = await node.take()
    report = saying(attempt, "one\n")
    hub = farm.master.hub
    assert hub is not None

    async def reporting(count: int) -> asyncio.Task[Any]:
        """One more report, the so many-th that the master is at by now."""
        task = asyncio.create_task(node.work(report, wants_lease=False))
        async with asyncio.timeout(60):
            while hub.farm.attempts[attempt].in_hand < count:  # noqa: ASYNC110 over the network
                await asyncio.sleep(0.01)
        return task

    for count in (1, 2):
        hung_up = await reporting(count)
        hung_up.cancel()
        await asyncio.wait({hung_up})
    repeating = await reporting(3)
    slow.go_on.set()
    assert (await repeating).action == "continue"
    log = farm.volume / "logs" / "job-1" / "1" / f"{attempt}.log"
    assert log.read_text() == "one\n"
    # the same text again, after an answer, is more text
    await node.work(report, wants_lease=False)
    assert log.read_text() == "one\none\n"


async def test_log_that_could_not_be_written_is_taken_from_a_repeated_report(
    farm: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowLogs(monkeypatch)
    slow.go_on.set()
    await farm.operator.put(order(frames="1"))
    node = farm.node()
    attempt = await node.take()
    hub = farm.master.hub
    assert hub is not None
    report = saying(attempt, "one\n", end="succeeded")
    for slow.fails in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(hub.committer.journal, "commit", refuses)
            status, _ = await node.ask("POST", "/v1/work", WorkReport(offer=OFFER, attempt=report))
            assert status == 503
    await node.work(report, wants_lease=False)
    log = farm.volume / "logs" / "job-1" / "1" / f"{attempt}.log"
    assert log.read_text() == "one\n"


def refuses(_: Any) -> None:
    raise sqlite3.OperationalError("disk I/O error")

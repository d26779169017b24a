"""The runner in this process, stopped at moments that a real slave's tests cannot choose."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from drqueue.farm.protocol import AttemptEnd, FileDone, FrameDone, JobWork, Lease
from drqueue.farm.slave.news import News
from drqueue.farm.slave.outputs import flush
from drqueue.farm.slave.processes import ProcessTree
from drqueue.farm.slave.runner import OpenJdRunner
from drqueue.farm.slave.session import JobSession
from drqueue.renderers import prepare
from openjd.sessions import LOG as OPENJD_LOG
from openjd.sessions import ActionStatus

from tests.unit.slave_testing import general_job, until

Stop = Literal["canceled", "drained"]


class Block:
    """A runner, and the one block that it renders."""

    def __init__(self, root: Path, tree: ProcessTree) -> None:
        self.work = root / "work"
        self.work.mkdir()
        (root / "scratch").mkdir()
        self.runner = OpenJdRunner(self.work, tree, lambda: None, scratch=root / "scratch")
        self.folder = self.work / "attempts" / "1"
        self.news = News(1)

    async def run(self, job: JobWork, frames: str) -> AttemptEnd:
        lease = Lease(
            attempt=1, job_uid=job.uid, job_name=job.name, generation=job.generation, frames=frames
        )
        async with asyncio.timeout(60):
            return await self.runner.run(lease, job, self.news)

    def done(self) -> tuple[FrameDone, ...]:
        """The frames that the master is told of."""
        return self.news.take(AttemptEnd(result="drained")).frames_done


@pytest_asyncio.fixture
async def block(tmp_path: Path) -> AsyncIterator[Block]:
    level = OPENJD_LOG.level
    OPENJD_LOG.setLevel(logging.INFO)
    made = Block(tmp_path, ProcessTree())
    try:
        yield made
    finally:
        await made.runner.close(1.0)
        OPENJD_LOG.setLevel(level)


class Undying(ProcessTree):
    """A tree whose processes withstand SIGKILL, as in a dead network file system."""

    def end(self, *_: Any, **__: Any) -> None:
        raise TimeoutError("processes withstand SIGKILL: 1")


@pytest.mark.parametrize("how", ["timeout", "canceled", "drained"])
async def test_a_renderer_that_cannot_be_killed_ends_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    monkeypatch.setattr("drqueue.farm.slave.session.UNKILLABLE_SECONDS", 1.0)
    tree = Undying()
    block = Block(tmp_path, tree)
    timeout = 1.0 if how == "timeout" else None
    job = general_job("touch up; exec sleep 60", frame_timeout_seconds=timeout)
    running = asyncio.create_task(block.run(job, "1"))
    try:
        if how != "timeout":
            await until((block.folder / "up").exists, "the renderer")
            block.runner.cancel(how)
        async with asyncio.timeout(20):
            end = await running
    finally:
        await asyncio.to_thread(ProcessTree.end, tree, 0.0)
        await block.runner.close(1.0)
    assert end.result == how
    assert "withstand SIGKILL" in end.message
    assert block.runner.stuck


async def test_a_stop_of_what_then_does_not_start_ends(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    def full(*_: Any, **__: Any) -> None:
        loop.call_soon_threadsafe(block.runner.cancel, "canceled")
        # the stop comes first
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(30)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openjd.sessions.Session.run_task", full)
    async with asyncio.timeout(20):
        assert (await block.run(general_job("true"), "1")).result == "canceled"


HALF = """
trap '{then}' TERM
printf HALF > frame_1
while :; do sleep 0.05; done
"""
"""A renderer at half a frame, and what it does when it is told to end."""
THEN = ["exit 0", "echo drqueue_frame_done: 1; exit 3"]


@pytest.mark.parametrize("stop", ["drained", "canceled"])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("then", THEN)
async def test_a_frame_at_which_the_renderer_was_stopped_is_not_done(
    block: Block, stop: Stop, named: bool, then: str
) -> None:
    job = general_job(HALF.format(then=then), output_files=("frame_#",) if named else ())
    running = asyncio.create_task(block.run(job, "1"))
    await until((block.folder / "frame_1").exists, "half a frame")
    block.runner.cancel(stop)
    assert (await running).result == stop
    assert block.done() == ()


@pytest.mark.parametrize("then", THEN)
async def test_a_frame_that_takes_too_long_is_not_done(block: Block, then: str) -> None:
    job = general_job(HALF.format(then=then), output_files=("frame_#",), frame_timeout_seconds=4.0)
    assert (await block.run(job, "1")).result == "timeout"
    assert (block.folder / "frame_1").exists()
    assert block.done() == ()


async def test_what_was_finished_before_the_stop_counts(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop comes between two frames, while the first one's file is still being flushed."""
    goes_on = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*arguments: Any) -> Any:
        asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result(30)
        return flush(*arguments)

    def stop(_: JobSession) -> None:
        loop.call_soon_threadsafe(block.runner.cancel, "drained")
        loop.call_soon_threadsafe(loop.call_later, 0.3, goes_on.set)

    monkeypatch.setattr("drqueue.farm.slave.attempt.flush", slow)
    monkeypatch.setattr(JobSession, "_forget_scripts", stop)
    job = general_job("echo whole > frame_$DRQUEUE_FRAME", output_files=("frame_#",))
    assert (await block.run(job, "1-2")).result == "drained"
    (done,) = block.done()
    found = (block.folder / "frame_1").stat()
    mark = (found.st_ino, found.st_mtime_ns)
    assert (done.frame, done.files) == (1, (FileDone(path="frame_1", size=6, mark=mark),))


@pytest.mark.parametrize(
    ("name", "says"),
    [("gr\\xf6sse_1", r"b'gr\xf6sse_1'"), ("/".join(["d" * 250] * 5), "b'dddd")],
)
async def test_files_that_cannot_be_told_of_fail_the_frame(
    block: Block, name: str, says: str
) -> None:
    """Passed over, they would be removed with the attempt's folder, and the frame be counted."""
    command = f"f=$'{name}'; mkdir -p ./$(dirname $f); printf x > $f"
    end = await block.run(general_job(f"cd $DRQUEUE_OUTPUTFOLDER; {command}"), "1")
    assert (end.result, end.frame) == ("failed", 1)
    assert says in end.message
    assert "rename it, or name the files that count in spec.output.files" in end.message
    end.message.encode()
    assert block.done() == ()


def _with_environments(left_by: Path, count: int) -> JobWork:
    """A job whose environments each leave a file when they are entered."""
    template = {
        "specificationVersion": "jobtemplate-2023-09",
        "name": "environments",
        "jobEnvironments": [
            {
                "name": f"E{number}",
                "script": {
                    "actions": {
                        "onEnter": {"command": "touch", "args": [str(left_by / f"in{number}")]}
                    }
                },
            }
            for number in range(count)
        ],
        "steps": [{"name": "S", "script": {"actions": {"onRun": {"command": "true"}}}}],
    }
    return general_job("", template=template, parameters={})


async def test_a_stop_before_the_environments_enters_none(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    def stopped_meanwhile(*arguments: Any) -> Any:
        loop.call_soon_threadsafe(block.runner.cancel, "drained")
        return prepare(*arguments)

    monkeypatch.setattr("drqueue.farm.slave.runner.prepare", stopped_meanwhile)
    assert (await block.run(_with_environments(tmp_path, 1), "1")).result == "drained"
    assert not (tmp_path / "in0").exists()


async def test_a_stop_between_two_environments_enters_no_other(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: Callable[[Any, ActionStatus], None] = JobSession._ended

    def then_stop(over: Any, status: ActionStatus) -> None:
        ended(over, status)
        block.runner.cancel("canceled")

    monkeypatch.setattr(JobSession, "_ended", staticmethod(then_stop))
    assert (await block.run(_with_environments(tmp_path, 2), "1")).result == "canceled"
    assert (tmp_path / "in0").exists()
    assert not (tmp_path / "in1").exists()

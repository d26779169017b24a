"""A real slave process: how it leaves; a master that is away, or will not have it."""

import asyncio
import signal
import uuid
from pathlib import Path

import pytest
from drqueue.farm.protocol import AttemptEnd

from tests.unit.slave_testing import SeenAttempt, farm, general_job, running_with, until


def _end(seen: SeenAttempt) -> AttemptEnd:
    assert seen.end is not None
    return seen.end


async def test_drain_finishes_the_block_and_leaves(tmp_path: Path) -> None:
    command = "while [ ! -e $DRQUEUE_WORKFOLDER/go ]; do sleep 0.05; done"
    async with farm(tmp_path) as (master, slave):
        (attempt,) = await master.offer(general_job(command), "1")
        await master.until(lambda: attempt in master.attempts)
        await master.start_draining()
        (slave.work / "go").touch()
        assert _end(await master.ended(attempt)).result == "succeeded"
        assert await slave.exit_code() == 0


async def test_sigterm_when_idle_leaves_at_once(tmp_path: Path) -> None:
    async with farm(tmp_path, DRQUEUE_DRAIN_SECONDS="600") as (master, slave):
        await master.until(lambda: len(master.requests) >= 2)
        slave.send(signal.SIGTERM)
        assert await slave.exit_code(10) == 0
        # its last word: it holds nothing
        assert not master.requests[-1].wants_lease


async def test_a_lease_that_crosses_the_leave_behind_an_end_is_given_back(tmp_path: Path) -> None:
    async with farm(tmp_path, DRQUEUE_DRAIN_SECONDS="600") as (master, slave):
        (attempt,) = await master.offer(general_job("true"), "1")
        await master.ended(attempt)
        # the request by which it told the end asks for the next block, too, and is held
        slave.send(signal.SIGTERM)
        assert await slave.exit_code(10) == 0
        told, last = master.requests[-2:]
        assert told.attempt is not None
        assert told.attempt.end is not None
        assert not told.wants_lease
        assert (last.attempt, last.wants_lease) == (None, False), "it holds nothing"


async def test_sigterm_of_a_slave_that_was_told_to_drain_gives_back_at_once(
    tmp_path: Path,
) -> None:
    async with farm(tmp_path, DRQUEUE_DRAIN_SECONDS="600") as (master, slave):
        (attempt,) = await master.offer(general_job("sleep 600"), "1-2")
        await master.until(lambda: attempt in master.attempts)
        await master.start_draining()
        await until(lambda: "told to drain" in slave.log.read_text(), "being told")
        slave.send(signal.SIGTERM)
        assert _end(await master.ended(attempt)).result == "drained"
        assert await slave.exit_code() == 0


async def test_sigterm_lets_the_block_finish_within_its_time(tmp_path: Path) -> None:
    command = "while [ ! -e $DRQUEUE_WORKFOLDER/go ]; do sleep 0.05; done"
    async with farm(tmp_path, DRQUEUE_DRAIN_SECONDS="600") as (master, slave):
        first, second = await master.offer(general_job(command), "1", "2")
        await until((slave.work / "attempts" / str(first)).exists, "the block")
        slave.send(signal.SIGTERM)
        await until(lambda: "leaving" in slave.log.read_text(), "being told")
        (slave.work / "go").touch()
        assert _end(await master.ended(first)).result == "succeeded"
        assert await slave.exit_code() == 0
        assert second not in master.attempts


async def test_sigterm_gives_back_what_takes_too_long(tmp_path: Path) -> None:
    async with farm(tmp_path, DRQUEUE_DRAIN_SECONDS="1") as (master, slave):
        (attempt,) = await master.offer(general_job("sleep 600"), "1-2")
        await master.until(lambda: attempt in master.attempts)
        slave.send(signal.SIGTERM)
        assert _end(await master.ended(attempt)).result == "drained"
        assert await slave.exit_code() == 0


async def test_an_environment_that_will_not_be_left_holds_up_nobody(tmp_path: Path) -> None:
    hanging = {"command": "sleep", "args": ["600"]}
    template = {
        "specificationVersion": "jobtemplate-2023-09",
        "name": "hanging",
        "jobEnvironments": [{"name": "E", "script": {"actions": {"onExit": hanging}}}],
        "steps": [{"name": "S", "script": {"actions": {"onRun": hanging}}}],
    }
    async with farm(tmp_path, DRQUEUE_DRAIN_SECONDS="1") as (master, slave):
        job = general_job("", template=template, parameters={})
        (attempt,) = await master.offer(job, "1")
        folder = slave.work / "attempts" / str(attempt)
        await until(folder.exists, "the block")
        slave.send(signal.SIGTERM)
        assert _end(await master.ended(attempt, 10)).result == "drained"
        assert await slave.exit_code(30) == 0


async def test_an_environment_that_cannot_be_entered_fails_the_block(tmp_path: Path) -> None:
    entering = {"command": "bash", "args": ["-c", "echo no licence; exit 7"]}
    template = {
        "specificationVersion": "jobtemplate-2023-09",
        "name": "no licence",
        "jobEnvironments": [{"name": "Licence", "script": {"actions": {"onEnter": entering}}}],
        "steps": [{"name": "S", "script": {"actions": {"onRun": {"command": "true"}}}}],
    }
    async with farm(tmp_path) as (master, _):
        job = general_job("", template=template, parameters={})
        (attempt,) = await master.offer(job, "1-2")
        seen = await master.ended(attempt)
        end = _end(seen)
        assert (end.result, end.exit_code, end.frame) == ("failed", 7, None)
        assert "Licence" in end.message
        assert end.last_lines == ("no licence",)
        assert seen.log[None] == "no licence\n"


async def test_a_master_that_is_away_costs_nothing(tmp_path: Path) -> None:
    command = "echo x > f$DRQUEUE_FRAME; sleep 0.3"
    async with farm(tmp_path) as (master, slave):
        (attempt,) = await master.offer(general_job(command), "1-6")
        folder = slave.work / "attempts" / str(attempt)
        await until(folder.exists, "the block")
        await master.stop()
        await until((folder / "f6").exists, "the frames, without a master")
        await asyncio.sleep(1)
        await master.start()
        seen = await master.ended(attempt)
        assert sorted({frame.frame for frame in seen.frames}) == [1, 2, 3, 4, 5, 6]
        # and when idle as well
        await master.stop()
        await asyncio.sleep(1)
        await master.start()
        (attempt,) = await master.offer(general_job(command), "1")
        await master.ended(attempt)


@pytest.mark.parametrize("status", [429, 500, 507])
async def test_reports_are_kept_while_the_master_cannot_take_them(
    tmp_path: Path, status: int
) -> None:
    async with farm(tmp_path) as (master, slave):
        (attempt,) = await master.offer(general_job("echo x > f$DRQUEUE_FRAME; sleep 0.2"), "1-3")
        await master.until(lambda: attempt in master.attempts)
        master.refusal = (status, {"Retry-After": "1"})
        folder = slave.work / "attempts" / str(attempt)
        await until((folder / "f3").exists, "the frames")
        await asyncio.sleep(0.5)
        master.refusal = None
        seen = await master.ended(attempt)
        assert {frame.frame for frame in seen.frames} == {1, 2, 3}


async def test_a_block_whose_reports_are_refused_is_given_up(tmp_path: Path) -> None:
    async with farm(tmp_path) as (master, slave):
        (attempt,) = await master.offer(general_job("echo x > f"), "1")
        await master.until(lambda: attempt in master.attempts)
        master.refusal = (400, {})
        await until(lambda: "gives up a block" in slave.log.read_text(), "giving up", 30)
        master.refusal = None
        (attempt,) = await master.offer(general_job("true", uid="job-2"), "1")
        await master.ended(attempt)


async def test_a_slave_that_is_refused_drops_all_and_ends(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    async with farm(tmp_path) as (master, slave):
        command = f"exec -a {mark} sleep 600"
        (attempt,) = await master.offer(general_job(command), "1")
        await master.until(lambda: attempt in master.attempts)
        master.refusal = (403, {})
        assert await slave.exit_code() == 1
        assert running_with(mark) == []


async def test_frozen_and_thawed_after_its_lease_was_given_away(tmp_path: Path) -> None:
    async with farm(tmp_path) as (master, slave):
        command = "sleep 3; echo x > f$DRQUEUE_FRAME"
        (attempt,) = await master.offer(general_job(command), "1")
        folder = slave.work / "attempts" / str(attempt)
        await until(folder.exists, "the block")
        slave.send(signal.SIGSTOP)
        await asyncio.sleep(0.5)
        master.canceled.add(attempt)  # without a word: the connection is as good as dead
        await asyncio.sleep(3.5)
        slave.send(signal.SIGCONT)
        await until(lambda: "told to drop" in slave.log.read_text(), "dropping the block", 30)
        assert master.attempts[attempt].end is None
        (attempt,) = await master.offer(general_job("true", uid="job-2"), "1")
        await master.ended(attempt)

"""Nothing of a renderer's process tree outlives its action, whatever it does (the bet no. 4)."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.unit.slave_testing import SlaveProcess, farm, general_job, running_with, until

NASTY = Path(__file__).with_name("nasty_renderer.py")


def _nasty(mark: str, then: str) -> str:
    return f"{sys.executable} {NASTY} {mark} {then}"


@pytest.mark.parametrize("then", ["0", "3"])
async def test_what_a_renderer_leaves_behind_is_ended(tmp_path: Path, then: str) -> None:
    mark = uuid.uuid4().hex
    # a daemon that holds the output open costs nobody the library's patience, here without end
    prelude = "from openjd.sessions import _subprocess as s; s.STDOUT_END_GRACETIME_SECONDS = 1e6"
    async with farm(tmp_path, prelude) as (master, _):
        (attempt,) = await master.offer(general_job(_nasty(mark, then)), "1")
        seen = await master.ended(attempt)
        assert running_with(mark) == []
        assert seen.end is not None
        assert seen.end.exit_code == int(then)
        assert seen.end.result == ("succeeded" if then == "0" else "failed")
        # and the slave goes on
        (attempt,) = await master.offer(general_job("echo on", uid="job-2"), "1")
        assert "on\n" in (await master.ended(attempt)).log[1]


async def test_cancel_ends_a_renderer_that_will_not_go(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    async with farm(tmp_path) as (master, slave):
        (attempt,) = await master.offer(general_job(_nasty(mark, "stay")), "1")
        await until(lambda: len(running_with(mark)) >= 5, "the nasty processes")
        await master.cancel(attempt)
        await until(lambda: not running_with(mark), "the end of the nasty processes")
        folder = slave.work / "attempts" / str(attempt)
        (attempt,) = await master.offer(general_job("true", uid="job-2"), "1")
        seen = await master.ended(attempt)
        assert folder.exists(), "a frame of it may be on its way into place: it is the master's"
        assert seen.end is not None
        assert seen.end.result == "succeeded"
        assert _zombies_of(slave) == []


async def test_timeout_ends_a_renderer_that_will_not_go(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    job = general_job(_nasty(mark, "stay"), frame_timeout_seconds=1.0)
    async with farm(tmp_path) as (master, _):
        (attempt,) = await master.offer(job, "7")
        seen = await master.ended(attempt)
        assert seen.end is not None
        assert (seen.end.result, seen.end.frame) == ("timeout", 7)
        assert "spec.timeouts.frame" in seen.end.message
        assert running_with(mark) == []


UNDYING = """
from drqueue.farm.slave import processes, session
session.UNKILLABLE_SECONDS = 1.0
def end(*_, **__):
    raise TimeoutError("processes withstand SIGKILL: 1")
processes.ProcessTree.end = end
"""


async def test_a_slave_whose_renderer_cannot_be_killed_says_so_and_leaves(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    job = general_job(f"exec -a {mark} sleep 600", frame_timeout_seconds=1.0)
    async with farm(tmp_path, UNDYING) as (master, slave):
        first, second = await master.offer(job, "7", "8")
        seen = await master.ended(first)
        assert seen.end is not None
        assert (seen.end.result, seen.end.frame) == ("timeout", 7)
        assert "withstand SIGKILL" in seen.end.message
        assert await slave.exit_code() == 3
        assert second not in master.attempts, "its machine is not fit for another"
    (left,) = running_with(mark)
    os.kill(left, signal.SIGKILL)


async def test_what_an_environment_started_lives_until_it_is_left(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    template = {
        "specificationVersion": "jobtemplate-2023-09",
        "name": "with a server",
        "jobEnvironments": [
            {
                "name": "Server",
                "script": {
                    "actions": {
                        "onEnter": {
                            "command": "bash",
                            "args": ["-c", f"exec -a {mark} sleep 600 >/dev/null 2>&1 & true"],
                        },
                        "onExit": {"command": "touch", "args": [str(tmp_path / "left")]},
                    }
                },
            }
        ],
        "steps": [
            {
                "name": "S",
                "script": {
                    "actions": {"onRun": {"command": "bash", "args": ["-c", "sleep 300 & true"]}}
                },
            }
        ],
    }
    async with farm(tmp_path) as (master, _):
        job = general_job("", template=template, parameters={})
        first, second = await master.offer(job, "1-2", "3")
        for attempt in (first, second):
            seen = await master.ended(attempt)
            assert seen.end is not None
            assert seen.end.result == "succeeded", seen.end
        assert len(running_with(mark)) == 1
        assert not (tmp_path / "left").exists()
        (attempt,) = await master.offer(general_job("true", uid="job-2"), "1")
        await master.ended(attempt)
        assert running_with(mark) == []
        assert (tmp_path / "left").exists()


def _zombies_of(slave: SlaveProcess) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] == "Z" and int(fields[1]) == slave.pid:
                found.append(entry.name)
    return found


TREE = """
import os, subprocess, sys, time
from drqueue.farm.slave.processes import ProcessTree, become_subreaper
become_subreaper()
before = subprocess.Popen(["sleep", "100"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
tree = ProcessTree()
nasty = subprocess.Popen([sys.executable, sys.argv[1], sys.argv[2], "stay"], stdout=subprocess.PIPE)
nasty.stdout.readline()
deadline = time.monotonic() + 60
while len(tree.living()) < 5:
    assert time.monotonic() < deadline, tree.living()
    time.sleep(0.01)
tree.end(0.2, but=nasty.pid)
assert tree.living() == []
assert nasty.wait() == -9, "its status was left to who waits for it"
assert before.poll() is None, "who was there before is spared"
before.kill(); before.wait()
assert tree.childless
tree.end(0.2)
print("all well")
"""


def test_tree_ends_all_but_what_was_there_before() -> None:
    mark = uuid.uuid4().hex
    done = subprocess.run(
        [sys.executable, "-c", TREE, str(NASTY), mark],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ},
    )
    assert done.stdout == "all well\n", done.stderr
    assert running_with(mark) == []

"""That only a cluster's own processes are ever ended."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.errors import DevclusterError
from devcluster.local import node, process
from devcluster.local.state import State

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True)"


def sleeper(tmp_path: Path, mark: str = "/nowhere/test") -> process.ProcessId:
    return process.spawn(SLEEPER, mark=mark, log=tmp_path / "log")


def test_a_process_is_ended_and_known_to_be_gone(tmp_path: Path) -> None:
    started = sleeper(tmp_path)
    assert process.alive(started)
    process.end([started])
    assert not process.alive(started)
    process.end([started])  # once more does no harm


def test_a_reused_pid_is_never_hit(tmp_path: Path) -> None:
    stranger = sleeper(tmp_path)
    try:
        for record in (
            replace(stranger, started=stranger.started - 1),  # had this pid before
            replace(stranger, boot="another boot"),
        ):
            assert not process.alive(record)
            assert not process.send(record, signal.SIGKILL)
            process.end([record])
        assert process.alive(stranger)
    finally:
        process.end([stranger])


def test_a_frozen_process_counts_as_alive_and_ends(tmp_path: Path) -> None:
    started = sleeper(tmp_path)
    process.send(started, signal.SIGSTOP)
    assert process.alive(started)
    begun = time.monotonic()
    process.end([started], grace=60)
    assert time.monotonic() - begun < 30


def test_one_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", f"{DEAF}; time.sleep(600)"]
    started = process.spawn(command, mark="/nowhere/test", log=log)
    deadline = time.monotonic() + 60
    while "up" not in log.read_text():
        assert time.monotonic() < deadline, "the process never said that it is up"
        time.sleep(0.02)
    process.end([started], grace=0.3)
    assert not process.alive(started)


def test_what_ended_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRQUEUE_CACHE", str(tmp_path))
    state = State("mine", "full", 5)
    command = ["sh", "-c", "echo no such device; sleep 0.2"]
    state.processes["gocryptfs"] = process.spawn(command, mark="m", log=state.log("gocryptfs"))
    begun = time.monotonic()
    with pytest.raises(DevclusterError, match=r"gocryptfs ended(.|\n)*no such device"):
        node._wait(state, "gocryptfs", ["false"], seconds=300)
    assert time.monotonic() - begun < 200


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, unreaped
    assert process.identify(child.pid) is None
    child.wait()


def test_marked_finds_a_process_without_a_record(tmp_path: Path) -> None:
    mine, other = sleeper(tmp_path, str(tmp_path)), sleeper(tmp_path, f"{tmp_path}-2")
    try:
        assert process.marked(str(tmp_path)) == [mine]
        assert process.shares_pid_namespace(mine)
    finally:
        process.end([mine, other])
    assert process.marked(str(tmp_path)) == []


def test_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(f"line {number}" for number in range(9000)))
    assert process.tail(log, 2) == "line 8998\nline 8999"
    assert process.tail(tmp_path / "none") == "(no log)"


@given(name=st.text(max_size=15), start=st.integers(0, 2**62))
def test_the_command_in_a_stat_line_may_hold_anything(name: str, start: int) -> None:
    fields = " ".join(["S", *["0"] * 18, str(start), "9"])
    assert process.parse_stat(f"7 ({name}) {fields}") == ("S", start)

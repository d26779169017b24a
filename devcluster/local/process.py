"""Processes of a cluster: started detached, known by pid and start time, ended and nothing else.

A pid alone names whoever has it now. With the boot's id and the kernel's start time (clock ticks
since boot) it names one process for ever, so a leftover record can never hit a stranger. All of a
cluster's processes also carry a mark in their environment, by which those are found that a crash
left without a record.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError

MARK = "DRQUEUE_DEVCLUSTER"
"""The environment variable that names the cluster's folder."""


@dataclass(frozen=True)
class ProcessId:
    """One process, for ever: pid, start time in clock ticks since boot, the boot's id."""

    pid: int
    started: int
    boot: str


def boot_id() -> str:
    """Give the kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parse_stat(text: str) -> tuple[str, int]:
    """Give state and start time out of /proc/<pid>/stat; the command in it may hold anything.

    >>> parse_stat("7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 9 10")
    ('S', 12345)
    """
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def identify(pid: int, proc: Path = Path("/proc")) -> ProcessId | None:
    """Give the living process that has this pid now; None if there is none, or a zombie."""
    try:
        state, started = parse_stat((proc / str(pid) / "stat").read_text())
    except (OSError, IndexError, ValueError):
        return None
    return None if state in "ZX" else ProcessId(pid, started, boot_id())


def alive(process: ProcessId) -> bool:
    """Tell whether exactly that process still runs (frozen counts as running)."""
    with contextlib.suppress(OSError):
        os.waitpid(process.pid, os.WNOHANG)  # reap it, if it was our own child
    return identify(process.pid) == process


def spawn(
    command: Sequence[str],
    *,
    mark: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> ProcessId:
    """Start a process that outlives us, in a session of its own, its output added to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {}), MARK: mark},
            cwd=cwd,
            start_new_session=True,
        )
    child.returncode = 0  # it is not ours to wait for: no warning when the handle goes
    found = identify(child.pid)
    if found is None:
        raise DevclusterError(f"{command[0]} ended at once; see {log}:\n{tail(log)}")
    return found


def send(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to that very process; False if it is gone."""
    if not alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def end(processes: Sequence[ProcessId], *, grace: float = 10.0) -> None:
    """End processes: politely, and after `grace` seconds by force; returns when they are gone.

    Raises DevclusterError if one is still there a minute after SIGKILL.
    """
    for process in processes:
        send(process, signal.SIGTERM)
        send(process, signal.SIGCONT)  # a frozen one hears nothing else
    if not _gone(processes, grace):
        for process in processes:
            send(process, signal.SIGKILL)
        if not _gone(processes, 60.0):
            left = [process.pid for process in processes if alive(process)]
            raise DevclusterError(f"processes {left} survive SIGKILL: is a file system hung?")


def marked(mark: str, proc: Path = Path("/proc")) -> list[ProcessId]:
    """Give every living process that carries this cluster's mark, ourselves left out."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in environment and (process := identify(int(entry.name), proc)):
            found.append(process)
    return found


def shares_pid_namespace(process: ProcessId) -> bool:
    """Tell whether a process lives in our own pid namespace, so in no cluster's node."""
    try:
        theirs = Path(f"/proc/{process.pid}/ns/pid").readlink()
    except OSError:
        return False
    return theirs == Path("/proc/self/ns/pid").readlink()


def tail(log: Path, lines: int = 12) -> str:
    """Give the last lines of a log, for an error's text."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def _gone(processes: Sequence[ProcessId], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

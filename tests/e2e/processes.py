"""A pod's processes, seen and signalled from the machine it runs on."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from devcluster.local.process import parse_stat
from tests.e2e.waiting import wait


def processes_of(pod_uid: str, containing: str = "") -> list[int]:
    """Host pids of a pod's processes whose command line contains a text, oldest first.

    They are known by the pod's UID in their cgroup's path, with a local cluster and kind alike.
    """
    found = []
    marks = (pod_uid, pod_uid.replace("-", "_"))
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            cgroup = (entry / "cgroup").read_text()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(mark in cgroup for mark in marks) and containing in command and command:
            found.append(int(entry.name))
    return sorted(found)


def signal_pod(pod: dict[str, Any], number: signal.Signals, containing: str = "") -> list[int]:
    """Send a signal, from outside, to a pod's processes; returns the pids that it reached.

    A pod is stopped when none of its processes runs: they fork while others are stopped already.
    """
    uid = pod["metadata"]["uid"]
    reached = _signal(processes_of(uid, containing), number)
    assert reached, f"no process of pod {pod['metadata']['name']} has {containing!r} in its command"
    if number == signal.SIGSTOP:

        def still() -> bool:
            running = [pid for pid in processes_of(uid, containing) if not _stopped(pid)]
            reached.extend(_signal(running, number))
            return not running

        wait(f"all of pod {pod['metadata']['name']} stopped", still)
    return sorted(set(reached))


def _signal(pids: list[int], number: signal.Signals) -> list[int]:
    reached = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself since it was seen
            os.kill(pid, number)
            reached.append(pid)
    return reached


def _stopped(pid: int) -> bool:
    """Whether a process is stopped, or gone."""
    try:
        state, _ = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return True
    return state in "TtZX"

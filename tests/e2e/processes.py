"""A pod's processes, seen and signalled from the machine it runs on."""

import os
import signal
from pathlib import Path
from typing import Any


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
    """Send a signal, from outside, to a pod's processes; returns their pids."""
    pids = [p for p in processes_of(pod["metadata"]["uid"], containing) if p != os.getpid()]
    assert pids, f"no process of pod {pod['metadata']['name']} has {containing!r} in its command"
    for pid in pids:
        os.kill(pid, number)
    return pids

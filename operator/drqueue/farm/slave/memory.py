"""How often the kernel killed for want of memory in the slave's control group."""

from collections.abc import Callable
from pathlib import Path

OomCount = Callable[[], int | None]


def find_oom_count(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> OomCount:
    """Give a function that reads the count of kills; it gives None where none can be read.

    Works for cgroup v2 (memory.events) and v1 (memory.oom_control).
    """
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return lambda: None
    candidates = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            candidates += [cgroups / path.lstrip("/") / "memory.events", cgroups / "memory.events"]
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
            candidates += [
                root / path.lstrip("/") / "memory.oom_control",
                root / "memory.oom_control",
            ]
    for candidate in candidates:
        if _read(candidate) is not None:
            return lambda: _read(candidate)
    return lambda: None


def _read(path: Path) -> int | None:
    try:
        fields = dict(line.split(" ", 1) for line in path.read_text().splitlines())
        return int(fields["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None

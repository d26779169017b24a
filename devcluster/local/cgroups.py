"""The control group below which a node's pods live, in every hierarchy the kernel has."""

import contextlib
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def group(name: str) -> str:
    """Give the path of a cluster's group within a hierarchy."""
    return f"/drqueue-{name}"


def hierarchies(root: Path = ROOT) -> list[Path]:
    """Give the mounted hierarchies: the one of version 2, or those of version 1."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted(
        entry
        for entry in root.iterdir()
        if entry.is_dir() and not entry.is_symlink() and (entry / "cgroup.procs").exists()
    )


def make(name: str, root: Path = ROOT) -> None:
    """Make a cluster's group everywhere, ready to hold others."""
    for hierarchy in hierarchies(root):
        _delegate(hierarchy)
        folder = hierarchy / group(name).lstrip("/")
        folder.mkdir(exist_ok=True)
        for file in ("cpuset.mems", "cpuset.cpus"):  # version 1: empty until somebody says
            if (folder / file).exists() and not (folder / file).read_text().strip():
                (folder / file).write_text((hierarchy / file).read_text())
        _delegate(folder)


def remove(name: str, root: Path = ROOT, *, seconds: float = 30.0) -> None:
    """Remove a cluster's groups, innermost first; the kernel may take a moment to let go."""
    if not root.exists():
        return
    deadline = time.monotonic() + seconds
    for hierarchy in hierarchies(root):
        folder = hierarchy / group(name).lstrip("/")
        while folder.exists():
            inner = sorted((f for f in folder.rglob("*") if f.is_dir()), reverse=True)
            for one in (*inner, folder):
                with contextlib.suppress(OSError):
                    one.rmdir()
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)


def _delegate(folder: Path) -> None:
    """Version 2: hand all controllers on to the groups below."""
    control = folder / "cgroup.subtree_control"
    offered = folder / "cgroup.controllers"
    if control.exists() and offered.exists():
        for controller in offered.read_text().split():
            with contextlib.suppress(OSError):  # one that is busy elsewhere is not needed here
                control.write_text(f"+{controller}")

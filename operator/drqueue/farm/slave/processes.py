"""The process tree below the slave: seeing all of it, ending all of it, burying the dead.

The slave is a subreaper (or its container's first process), so a daemon that leaves its parents
becomes the slave's own child: whatever a renderer starts can be reached from here by way of parent
links, in whatever session or process group it hides.
"""

import ctypes
import os
import resource
import signal
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process; its start time tells it from a later one with the same number."""

    pid: int
    started: int
    parent: int
    zombie: bool

    @property
    def key(self) -> tuple[int, int]:
        """What identifies it for as long as the machine runs."""
        return self.pid, self.started


def become_subreaper() -> None:
    """Have orphans below become this process's children; and let no crash write a core file.

    Raises OSError where the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(number)}")
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


class ProcessTree:
    """All processes below one, but for those that were there before, or are to be spared.

    Its methods block (for milliseconds; `end` for its grace): call them off the event loop, one
    at a time.
    """

    def __init__(self, root: int | None = None) -> None:
        self._root = os.getpid() if root is None else root
        self._spared: frozenset[tuple[int, int]] = frozenset()
        self._first = self._spared = frozenset(p.key for p in self._all_below())

    def spare_the_living(self) -> None:
        """Leave alone from now on, and with all that they start, those that live now.

        For what an environment started, that its tasks are to find.
        """
        self._spared |= {p.key for p in self._all_below() if not p.zombie}

    def living(self) -> list[Process]:
        """The processes to be ended: all below the root that are not spared and not dead."""
        return [p for p in self._found() if not p.zombie]

    @property
    def childless(self) -> bool:
        """Whether nothing at all is below the root. One system call."""
        return self._root == os.getpid() and _childless()

    def end(
        self,
        grace: float,
        but: int | None = None,
        linger: float = 0.0,
        all_of_it: bool = False,
    ) -> None:
        """End all: wait `linger` seconds for them to go, ask with SIGTERM, wait up to `grace`
        seconds, then SIGKILL until none is left. `all_of_it`: those spared later, too.

        `but` is the process that another thread waits for: killed like the others, but not buried
        here. Raises TimeoutError when processes withstand SIGKILL for 10 s (as in a dead network
        file system).
        """
        if all_of_it:
            self._spared = self._first
        self._wait_until_none(linger, but)
        if grace > 0 and (left := self.living()):
            _send(left, signal.SIGTERM)
            self._wait_until_none(grace, but)
        deadline = time.monotonic() + 10
        pause = 0.001
        while left := self.living():
            if time.monotonic() > deadline:
                numbers = ", ".join(str(p.pid) for p in left[:10])
                raise TimeoutError(f"processes withstand SIGKILL: {numbers}")
            # stopped first, so that none forks between being seen and being killed
            _send(left, signal.SIGSTOP)
            _send(self.living(), signal.SIGKILL)
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
            self.bury(but)
        self.bury(but)

    def bury(self, but: int | None = None) -> None:
        """Take the exit status of dead children that nobody else waits for."""
        for process in self._found():
            if process.zombie and process.parent == self._root and process.pid != but:
                try:
                    os.waitpid(process.pid, os.WNOHANG)
                except ChildProcessError:
                    continue

    def _wait_until_none(self, grace: float, but: int | None) -> None:
        deadline = time.monotonic() + grace
        pause = 0.002
        while self.living() and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
            self.bury(but)

    def _found(self) -> list[Process]:
        return self._all_below(self._spared)

    def _all_below(self, spared: Collection[tuple[int, int]] = ()) -> list[Process]:
        if self._root == os.getpid() and _childless():
            return []
        children: dict[int, list[Process]] = {}
        for process in _processes():
            children.setdefault(process.parent, []).append(process)
        found: list[Process] = []
        reached = {self._root}
        queue = [self._root]
        while queue:
            for child in children.get(queue.pop(), ()):
                if child.key not in spared and child.pid not in reached:
                    reached.add(child.pid)
                    found.append(child)
                    queue.append(child.pid)
        return found


def _childless() -> bool:
    """Whether this process has no child at all: then, as a subreaper, nothing is below it."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _processes() -> Iterable[Process]:
    for entry in os.listdir(_PROC):  # noqa: PTH208
        # half the price of Path.iterdir, after each frame
        if entry.isdigit() and (process := _read(entry)):
            yield process


def _read(pid: str) -> Process | None:
    try:
        text = Path(_PROC, pid, "stat").read_bytes()
    except OSError:
        return None  # gone meanwhile
    # the name, in parentheses, is the process's own to choose, blanks and parentheses included
    fields = text[text.rindex(b")") + 2 :].split()
    return Process(int(pid), int(fields[19]), int(fields[1]), fields[0] in (b"Z", b"X"))


def _send(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        now = _read(str(process.pid))
        if now is None or now.key != process.key or now.pid == os.getpid():
            continue
        try:
            os.kill(process.pid, number)
        except (ProcessLookupError, PermissionError):
            continue

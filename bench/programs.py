"""Programs under measurement: started, their CPU and memory read, ended."""

import contextlib
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Program:
    """A running process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def cpu_seconds(self) -> float:
        """User and system time of the process since it started."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def megabytes(self, field: str = "VmRSS") -> float:
        """Its memory (VmRSS: now; VmHWM: at its highest), in MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError(f"/proc/{self.process.pid}/status has no {field}")

    def require_running(self) -> Self:
        """Itself. Raises RuntimeError, with the end of its log, if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.process.args!r} ended:\n{self.tail()}")
        return self

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]

    def wait_answers(self, url: str, seconds: float) -> None:
        """Wait until a GET of the address is answered by 200."""
        wait_for(
            lambda: self._answers(url), seconds, lambda: f"{url} does not answer: {self.tail()}"
        )

    def _answers(self, url: str) -> bool:
        self.require_running()
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextlib.contextmanager
def program(
    command: Sequence[object], log: Path, environment: Mapping[str, str]
) -> Iterator[Program]:
    """Run a program, its output in a log; ended with SIGTERM, or SIGKILL ten seconds later."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
    try:
        yield Program(process, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


def wait_for(holds: Callable[[], bool], seconds: float, seen: Callable[[], str]) -> None:
    """Wait for a condition, polling; raises TimeoutError with what was seen instead."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {seen()}")
        time.sleep(0.1)

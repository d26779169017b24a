"""Bars for the long steps, with how long each took last time."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from devcluster import paths

console = Console(stderr=True)
"""Standard output is for answers (a path, JSON); all else goes here."""


def remembered(file: Path | None = None) -> dict[str, float]:
    """Give the seconds that each step took last time, by its name."""
    try:
        found = json.loads((file or _file()).read_text())
    except (OSError, ValueError):
        return {}
    return {str(k): float(v) for k, v in found.items()} if isinstance(found, dict) else {}


def remember(step: str, seconds: float, file: Path | None = None) -> None:
    """Note how long a step took; several processes may do so at once."""
    target = file or _file()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = remembered(target) | {step: round(seconds, 1)}
        fresh = target.with_suffix(".new")
        fresh.write_text(json.dumps(known, indent=1, sort_keys=True))
        fresh.replace(target)


def describe(step: str, last: float | None) -> str:
    """Give a bar's text: what is done, and how long that took last time.

    >>> describe("building etcd", 24.6)
    'building etcd (took 25 s last time)'
    >>> describe("building etcd", None)
    'building etcd (first time)'
    """
    return f"{step} ({'first time' if last is None else f'took {last:.0f} s last time'})"


class Steps:
    """Steps under way, several at once if need be; used as a context manager.

    On a terminal each has a bar that fills by last time's duration; elsewhere a line at its start
    and one at its end.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "Steps":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show a step while the body runs; note its duration if it succeeds."""
        last = remembered().get(name)
        text = describe(name, last)
        task = self._progress.add_task(text, total=last)
        if not console.is_terminal:
            console.print(f"… {text}", highlight=False)
        begun, done = time.monotonic(), Event()

        def fill() -> None:
            while not done.wait(0.5):
                spent = time.monotonic() - begun
                # an estimate never claims to be finished
                self._progress.update(task, completed=min(spent, 0.97 * last) if last else 0)

        filler = Thread(target=fill, daemon=True)
        filler.start()
        try:
            yield
        except BaseException:
            done.set()
            self._progress.update(task, description=f"[red]failed:[/] {name}")
            raise
        finally:
            done.set()
            filler.join()
        seconds = time.monotonic() - begun
        remember(name, seconds)
        self._progress.update(task, total=1, completed=1, description=f"[green]done:[/] {name}")
        if not console.is_terminal:
            console.print(f"✓ {name} ({seconds:.0f} s)", highlight=False)


def _file() -> Path:
    return paths.cache() / "durations.json"

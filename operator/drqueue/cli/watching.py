"""`drqueue job watch`: progress until the end."""

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from drqueue.cli.context import Run, note, pass_run
from drqueue.cli.exits import Exit, not_found, timed_out
from drqueue.cli.kinds import JOB, Object
from drqueue.cli.objects import Seconds, find, name_completer
from drqueue.cli.output import clean, dig
from drqueue.cli.rows import eta, job_phase, why

ENDED = {"Succeeded": Exit.OK, "Failed": Exit.JOB_FAILED, "Killed": Exit.JOB_FAILED}

Clock = Callable[[], datetime]

timeout_option = click.option(
    "--timeout",
    "seconds",
    type=Seconds(),
    metavar="SECONDS",
    help="Give up watching after so long (exit code 6). Default: never.",
)


@click.command("watch")
@click.argument(
    "names", nargs=-1, required=True, metavar="NAME...", shell_complete=name_completer(JOB)
)
@timeout_option
@pass_run
@click.pass_context
def watch(ctx: click.Context, run: Run, names: tuple[str, ...], seconds: float | None) -> None:
    """Watch jobs until they end; exit code 5 when one failed or was killed.

    A bar on a terminal; a line for each change where the output is piped.
    """
    for name in names:
        find(run.cluster, JOB, run.namespace, name)
    ctx.exit(int(follow_jobs(run, run.namespace, names, seconds)))


class Display(Protocol):
    """Where progress is shown."""

    def show(self, job: Object) -> None:
        """Show the state of one job."""

    def close(self) -> None:
        """Leave the terminal in order."""


def follow_jobs(
    run: Run,
    namespace: str,
    names: Sequence[str],
    seconds: float | None,
    *,
    beside_output: bool = False,
) -> Exit:
    """Show jobs until all of them ended, and give the worst end. Raises CliError otherwise.

    On stderr where stdout is taken by objects (`beside_output`).
    """
    stream = sys.stderr if beside_output else sys.stdout
    deadline = None if seconds is None else run.monotonic() + seconds
    display: Display = (Bars if stream.isatty() else Lines)(run.now, stream)
    fields = f"metadata.name={names[0]}" if len(names) == 1 else ""
    latest: dict[str, Object] = {}
    try:
        for known in run.cluster.changes(JOB, namespace, fields=fields, deadline=deadline):
            for name in names:
                if name not in known and name not in latest:
                    raise not_found(f"no job {name!r} in namespace {namespace}")
                if name not in known and end_of(latest[name]) is None:
                    raise not_found(f"job {name} was deleted before its end")
                if name in known and known[name] != latest.get(name):
                    latest[name] = known[name]
                    display.show(known[name])
            ends = [end_of(latest[name]) for name in names]
            if all(end is not None for end in ends):
                return max(end for end in ends if end is not None)
    except KeyboardInterrupt:
        note("no longer watched; the jobs go on")
        raise
    finally:
        display.close()
    running = [name for name in names if name in latest and end_of(latest[name]) is None]
    raise timed_out(f"not ended after {seconds:g} s: {', '.join(running)}; the jobs go on")


def end_of(job: Object) -> Exit | None:
    """How a job ended; None while it has not, or its status is older than its spec."""
    seen = dig(job, "status", "observedGeneration")
    if seen is not None and seen < (dig(job, "metadata", "generation") or 0):
        return None
    return ENDED.get(job_phase(job))


def counts(job: Object) -> tuple[int, int, int, int]:
    """Frames succeeded, failed, running and in total."""
    frames = dig(job, "status", "frames") or {}
    succeeded, failed, running, total = (
        int(frames.get(key) or 0) for key in ("succeeded", "failed", "running", "total")
    )
    return succeeded, failed, running, total


class Lines:
    """A line for each change that a person would notice."""

    def __init__(self, now: Clock, stream: TextIO) -> None:
        self._now = now
        self._stream = stream
        self._last: dict[str, str] = {}

    def show(self, job: Object) -> None:
        """Write a line, unless it says what the last one said."""
        succeeded, failed, running, total = counts(job)
        parts = [job_phase(job)]
        if total:
            parts.append(f"{succeeded}/{total} frames")
        parts += [f"{running} running"] if running else []
        parts += [f"{failed} failed"] if failed else []
        parts += [clean(why(job), " ")] if why(job) else []
        name, text = job["metadata"]["name"], ", ".join(parts)
        if self._last.get(name) != text:
            self._last[name] = text
            click.echo(f"{self._now():%H:%M:%S} {name}: {text}", file=self._stream)

    def close(self) -> None:
        """Nothing to put in order."""


class Bars:
    """A bar for each job."""

    def __init__(self, now: Clock, stream: TextIO) -> None:
        self._now = now
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=Console(file=stream),
        )
        self._progress.start()

    def show(self, job: Object) -> None:
        """Move the job's bar."""
        succeeded, failed, running, total = counts(job)
        parts = [job_phase(job), eta(job, self._now)]
        parts += [f"{running} running"] if running else []
        parts += [f"{failed} failed"] if failed else []
        parts.append(clean(why(job), " "))
        text = ", ".join(part for part in parts if part)
        name = job["metadata"]["name"]
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=None, text="")
        self._progress.update(
            self._tasks[name], completed=succeeded, total=total or None, text=text
        )

    def close(self) -> None:
        """Draw the last state and give the terminal back."""
        self._progress.stop()

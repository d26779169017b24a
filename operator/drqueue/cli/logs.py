"""`drqueue job logs`: what the renderer wrote while at a frame."""

import codecs
import sys

import click

from drqueue.cli.context import Run, note, pass_run
from drqueue.cli.exits import not_found
from drqueue.cli.kinds import JOB
from drqueue.cli.objects import name_argument
from drqueue.cli.output import clean
from drqueue.cli.reading import FrameRow, Volume

# what waits and has an attempt waits for another one
INTEREST = {"failed": 3, "waiting": 3, "running": 2, "succeeded": 1}


@click.command("logs")
@name_argument(JOB)
@click.option(
    "--frame",
    type=int,
    metavar="N",
    help="The frame. Default: the one that failed last, else the newest that runs; "
    "with --follow the other way round.",
)
@click.option(
    "--attempt",
    type=click.IntRange(min=1),
    metavar="A",
    help="An attempt of it. Default: the latest.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on while the frame renders.")
@pass_run
def logs(run: Run, name: str, frame: int | None, attempt: int | None, follow: bool) -> None:
    """Print the log of a frame.

    It is read from the session's volume, so it stays when the node is gone.
    """
    volume = Volume(run, name)
    if frame is None:
        if attempt is not None:
            raise click.UsageError("--attempt belongs to --frame: give both")
        chosen = most_interesting(volume.frame_list().frames, running_first=follow)
        if chosen is None:
            raise not_found(f"job {name}: no frame has been started yet, so there is no log")
        frame, attempt = chosen.frame, chosen.attempt
        on_node = f" on {chosen.node}" if chosen.node else ""
        note(f"frame {frame}, attempt {chosen.attempt}, {chosen.state}{on_node}")
    arguments = ["--frame", str(frame)]
    if attempt is not None:
        arguments += ["--attempt", str(attempt)]
    if follow:
        arguments.append("--follow")
    printer = _Printer()

    def read() -> None:
        printer.begin()
        for piece in volume.stream("log", arguments, None if follow else 120.0):
            printer.write(piece)

    volume.retried(read)
    printer.end()


def most_interesting(rows: tuple[FrameRow, ...], *, running_first: bool = False) -> FrameRow | None:
    """The frame that failed last, else the newest one running, else the one finished last.

    Who follows a log wants one that goes on: with `running_first` those come first.
    """
    interest = {**INTEREST, "running": 4} if running_first else INTEREST
    started = [row for row in rows if row.attempt is not None and row.state in interest]
    return max(
        started, key=lambda row: (interest[row.state], row.attempt or 0, row.frame), default=None
    )


class _Printer:
    """Writes a log as it comes; when it comes again from the start, only what is new."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._written = 0
        self._skip = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def begin(self) -> None:
        self._skip = self._written

    def write(self, piece: bytes) -> None:
        fresh = piece[self._skip :]
        self._skip = max(0, self._skip - len(piece))
        self._written += len(fresh)
        if self._terminal:
            click.echo(clean(self._decoder.decode(fresh)), nl=False)
        else:
            click.echo(fresh, nl=False)

    def end(self) -> None:
        if self._terminal:
            click.echo(clean(self._decoder.decode(b"", final=True)), nl=False)

"""`drqueue job frames`: every frame and its state."""

import json
from collections.abc import Sequence

import click

from drqueue.api.frames import parse_frames
from drqueue.cli.context import Run, pass_run
from drqueue.cli.exits import not_found
from drqueue.cli.jobs import check_range
from drqueue.cli.kinds import JOB
from drqueue.cli.objects import name_argument
from drqueue.cli.output import bytes_text, output_option, print_object, print_table
from drqueue.cli.reading import FrameList, FrameRow, Volume

HEADERS = ["FRAME", "STATE", "ATTEMPT", "NODE", "SECONDS", "SIZE", "FILES", "EXIT", "MESSAGE"]


def choose(found: FrameList, frames: str | None) -> list[FrameRow]:
    """Choose rows by a frame range. Raises CliError naming frames that the job does not have."""
    if frames is None:
        return list(found.frames)
    rows = {row.frame: row for row in found.frames}
    wanted = parse_frames(frames)
    strange = [frame for frame in wanted if frame not in rows]
    if strange:
        raise not_found(f"--frames {frames}: the job has no frame {strange[0]}")
    return [rows[frame] for frame in wanted]


def row_cells(row: FrameRow) -> Sequence[object]:
    """One frame as a line of the table."""
    return [
        row.frame,
        row.state,
        row.attempt,
        row.node,
        f"{row.seconds:.1f}" if row.seconds is not None else "",
        bytes_text(sum(file.size for file in row.files)) if row.files else "",
        len(row.files) or "",
        row.exit_code,
        row.message,
    ]


@click.command("frames")
@name_argument(JOB)
@click.option("--frames", metavar="RANGE", help="Only these frames, as in 1-5,8.")
@click.option(
    "--state",
    type=click.Choice(["waiting", "running", "succeeded", "failed"]),
    help="Only frames in this state.",
)
@output_option
@pass_run
def frames(run: Run, name: str, frames: str | None, state: str | None, form: str) -> None:
    """List a job's frames: state, attempt, node, time and files.

    Read from the journal through the session's master, or a reader pod while it is asleep.
    """
    if frames is not None:
        check_range(frames)
    found = Volume(run, name).frame_list()
    rows = [row for row in choose(found, frames) if state in (None, row.state)]
    if form == "table":
        print_table(HEADERS, [row_cells(row) for row in rows], "no frames")
        return
    chosen = found.model_copy(update={"frames": tuple(rows)})
    print_object(form, json.loads(chosen.model_dump_json()))

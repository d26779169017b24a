"""`drqueue job download`: finished frames onto the user's disk."""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from drqueue.api.frames import MAX_FRAMES_TEXT, format_frames
from drqueue.cli.context import Run, pass_run
from drqueue.cli.exits import CliError, Exit, not_found
from drqueue.cli.frames import choose
from drqueue.cli.jobs import check_range
from drqueue.cli.kinds import JOB
from drqueue.cli.objects import name_argument
from drqueue.cli.output import bytes_text
from drqueue.cli.reading import FrameRow, Volume
from drqueue.cli.untar import UnpackError, unpack

MAX_CHUNK = 960
"""Frames fetched by one stream."""
CHECK_EVERY = 32

Sizes = Mapping[str, Collection[int]]
"""Bytes that the file of a path may have."""


@click.command("download")
@name_argument(JOB)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Folder to write into; made if need be. Default: the job's name.",
)
@click.option("--frames", metavar="RANGE", help="Only these frames, as in 1-5,8.")
@click.option(
    "--force",
    is_flag=True,
    help="Also files that are there with the right size; use it after a rerun.",
)
@pass_run
def download(run: Run, name: str, folder: Path | None, frames: str | None, force: bool) -> None:
    """Bring the finished frames of a job to this disk.

    Files that are there with the right size are skipped, so that a download that was broken off
    is resumed by the same command. Each file appears whole or not at all.
    """
    if frames is not None:
        check_range(frames)
    volume = Volume(run, name)
    found = volume.frame_list()
    rows = choose(found, frames)
    unfinished = [row.frame for row in rows if row.state != "succeeded"]
    finished = [row for row in rows if row.state == "succeeded"]
    if frames is not None and unfinished:
        raise not_found(f"job {name}: not finished: frames {format_frames(unfinished, 400)}")
    if not finished:
        raise not_found(f"job {name}: no frame is finished yet")
    target = folder or Path(name)
    try:
        target.mkdir(parents=True, exist_ok=True)
        sizes = sizes_of(row for row in found.frames if row.state == "succeeded")
        fetched, count = _fetch(volume, finished, target, sizes, force)
    except OSError as problem:
        raise CliError(
            Exit.CLUSTER, f"cannot write to {problem.filename or target}: {problem.strerror}"
        ) from problem
    present = len(sizes_of(finished)) - fetched
    skipped = f", {present} were there already" if present else ""
    click.echo(
        f"{len(finished)} frames in {target}: {fetched} files ({bytes_text(count)}){skipped}"
    )
    if unfinished:
        click.echo(f"not finished yet: {len(unfinished)} frames", err=True)


def _fetch(
    volume: Volume, rows: list[FrameRow], target: Path, sizes: Sizes, force: bool
) -> tuple[int, int]:
    """Fetch what is missing; give the number of files and bytes. Raises CliError if any is not."""
    got: set[str] = set()
    lacking: list[str] = []
    missing = [row for row in rows if wanted_files(row, target, sizes, force)]
    total = sum(max(each) for each in sizes_of(missing).values())
    with _progress_bar() as progress:
        task = progress.add_task(volume.job_name, total=total)

        def counted(count: int) -> None:
            progress.advance(task, count)

        for chunk in chunks(missing):
            try:
                _fetch_chunk(
                    volume,
                    chunk,
                    target=target,
                    sizes=sizes,
                    force=force,
                    got=got,
                    counted=counted,
                )
            except CliError as problem:
                if problem.exit_code != Exit.NOT_FOUND:
                    raise
                # a file that is no longer on the volume must not keep the others there
                lacking.append(problem.message)
    # what one stream lacked may have come by another, with the frame that left it last
    absent = [row.frame for row in rows if wanted_files(row, target, sizes, force) - got]
    if absent and lacking:
        raise CliError(Exit.NOT_FOUND, "not all files are there any more", lacking)
    if absent:
        raise CliError(
            Exit.CLUSTER,
            f"not all promised files came: frames {format_frames(absent, 400)} are not whole; "
            "run the command again",
        )
    return len(got), sum((target / path).stat().st_size for path in got)


def _fetch_chunk(
    volume: Volume,
    rows: list[FrameRow],
    *,
    target: Path,
    sizes: Sizes,
    force: bool,
    got: set[str],
    counted: Callable[[int], None],
) -> None:
    def read() -> None:
        # a second try asks only for what the first one did not bring
        left = [row for row in rows if wanted_files(row, target, sizes, force) - got]
        if not left:
            return
        promised = {path: sizes[path] for row in left for path in paths_of(row)}
        text = format_frames(row.frame for row in left)

        def pieces() -> Iterator[bytes]:
            yield from volume.stream("tar", ["--frames", text])

        try:
            unpack(pieces(), target, promised, counted, got.add)
        except UnpackError as problem:
            raise CliError(Exit.CLUSTER, f"job {volume.job_name}: {problem}") from problem

    volume.retried(read)


def plain(path: str) -> str:
    """A path as tar members are compared: without `./` in front."""
    return str(PurePosixPath(path))


def paths_of(row: FrameRow) -> set[str]:
    """The plain paths of a frame's files."""
    return {plain(file.path) for file in row.files}


def sizes_of(rows: Iterable[FrameRow]) -> Sizes:
    """The sizes that each file may have, by its plain path.

    There are several where frames left it under one name: then it is the last one's that was
    published, and frames are not published in their order.
    """
    sizes: dict[str, set[int]] = {}
    for row in rows:
        for file in row.files:
            sizes.setdefault(plain(file.path), set()).add(file.size)
    return sizes


def wanted_files(row: FrameRow, target: Path, sizes: Sizes, force: bool) -> set[str]:
    """The files of a frame that have to be fetched: with `force` all of them, else those that are
    not on the disk with a right size."""
    return {path for path in paths_of(row) if force or not has_size(target / path, sizes[path])}


def has_size(path: Path, sizes: Collection[int]) -> bool:
    """Whether a regular file of one of these sizes is there."""
    try:
        return path.is_file() and path.stat().st_size in sizes
    except OSError:
        return False


def chunks(rows: Sequence[FrameRow]) -> Iterator[list[FrameRow]]:
    """Cut frames into groups whose range text the reader takes, ascending."""
    group: list[FrameRow] = []
    for row in sorted(rows, key=lambda row: row.frame):
        if len(group) % CHECK_EVERY == 0 and group and _is_full(group):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _is_full(group: Sequence[FrameRow]) -> bool:
    longest = len(format_frames(row.frame for row in group)) + CHECK_EVERY * len("-12345678,")
    return len(group) >= MAX_CHUNK or longest > MAX_FRAMES_TEXT


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
    )

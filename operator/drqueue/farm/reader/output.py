"""What the reader's commands write: JSON, log text, tar."""

import json
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from drqueue.farm.frame_logs import log_path
from drqueue.farm.paths import UnsafePathError, open_file, opened
from drqueue.farm.reader.sources import Source, SourceError
from drqueue.farm.reading import NothingSuchError

_CHUNK = 256 * 1024
_LOOK_AGAIN_SECONDS = 0.5
Used = Callable[[], None]


def frames_json(source: Source, job_uid: str, out: IO[str], used: Used) -> None:
    """Write all frames of a job as one JSON object, a frame at a time."""
    items = source.frames(job_uid, None)
    head = next(items)
    out.write(f'{{"output_folder": {json.dumps(head["output_folder"])}, "frames": [')
    for count, row in enumerate(items):
        out.write(f"{',' if count else ''}\n{json.dumps(row)}")
        if count % 1000 == 0:
            used()
    out.write("]}\n")
    out.flush()


class _Chosen:
    """An attempt at a frame, and its log."""

    def __init__(
        self, source: Source, volume: Path, job_uid: str, frame: int, attempt: int | None
    ) -> None:
        """Raises NothingSuchError, SourceError."""
        _, row = source.frames(job_uid, str(frame))
        tries = {each["attempt"]: each for each in row["attempts"]}
        self.number = attempt if attempt is not None else row["attempt"]
        if self.number is None:
            raise NothingSuchError(f"frame {frame} has not been started yet, so there is no log")
        if self.number not in tries:
            there = ", ".join(map(str, tries)) or "none"
            raise NothingSuchError(f"frame {frame} has no attempt {self.number}, but {there}")
        self.ended = tries[self.number]["ended_at"] is not None
        if row["attempt"] == self.number and row["state"] in ("succeeded", "failed"):
            self.ended = True
        logs = volume / "logs"
        own = log_path(logs, job_uid, frame, self.number)
        # what failed before any frame, failed in an environment
        shared = log_path(logs, job_uid, None, self.number)
        self.path = shared if self.ended and not own.exists() and shared.exists() else own


def send_log(
    source: Callable[[], Source],
    volume: Path,
    *,
    job_uid: str,
    frame: int,
    attempt: int | None,
    out: IO[bytes],
    used: Used,
) -> None:
    """Write the log of a frame's attempt, the latest by default. Nothing where it wrote nothing."""
    chosen = _Chosen(source(), volume, job_uid, frame, attempt)
    if chosen.path.exists():
        with chosen.path.open("rb") as log:
            _pour(log, out, used)


def follow_log(
    source: Callable[[], Source],
    volume: Path,
    *,
    job_uid: str,
    frame: int,
    attempt: int | None,
    out: IO[bytes],
    used: Used,
) -> None:
    """Write the log of a frame's attempt as it grows, until the attempt has ended."""
    chosen = _Chosen(source(), volume, job_uid, frame, attempt)
    position, inode = 0, None
    while True:
        # whether it had ended is asked first: what it wrote before is then all there
        ended = chosen.ended
        if chosen.path.exists():
            with chosen.path.open("rb") as log:
                if inode not in (None, os.fstat(log.fileno()).st_ino):
                    # its middle was taken out: go on with what comes from now on
                    position = log.seek(0, os.SEEK_END)
                inode = os.fstat(log.fileno()).st_ino
                log.seek(position)
                _pour(log, out, used)
                position = log.tell()
        if ended:
            return
        used()
        time.sleep(_LOOK_AGAIN_SECONDS)
        chosen = _Chosen(source(), volume, job_uid, frame, chosen.number)


def _pour(log: IO[bytes], out: IO[bytes], used: Used) -> None:
    while piece := log.read(_CHUNK):
        out.write(piece)
        used()
    out.flush()


def send_tar(
    source: Source,
    volume: Path,
    *,
    job_uid: str,
    frames: str | None,
    out: IO[bytes],
    used: Used,
) -> list[str]:
    """Write the files of finished frames as a tar stream, by their paths in the output folder.

    A file that several frames left under one name is the last one's that was published: it is sent
    once, when a frame comes whose file it may be. Gives what could not be sent. Follows no link.
    Raises NothingSuchError, FramesError, SourceError, OSError.
    """
    items = source.frames(job_uid, frames)
    output_folder = next(items)["output_folder"]
    sent: set[str] = set()
    lacking: dict[str, str] = {}
    with opened(volume / "work") as work, tarfile.open(fileobj=out, mode="w|") as archive:
        for row in items:
            if row["state"] != "succeeded":
                continue
            for file in row["files"]:
                path = file["path"]
                if path in sent:
                    continue
                why = _send_file(archive, work, output_folder, file)
                if why:
                    lacking[path] = f"frame {row['frame']}: {why}"
                else:
                    sent.add(path)
                    lacking.pop(path, None)
            used()
    out.flush()
    return list(lacking.values())


def _send_file(
    archive: tarfile.TarFile, work: int, output_folder: str, file: dict[str, Any]
) -> str:
    path = file["path"]
    try:
        descriptor = open_file(work, f"{output_folder}/{path}")
    except (FileNotFoundError, PermissionError, UnsafePathError) as error:
        return f"{path}: {error}"
    with os.fdopen(descriptor, "rb") as content:
        found = os.fstat(descriptor)
        if found.st_size != file["size"]:
            return f"{path} is {found.st_size} bytes long now, it was {file['size']}"
        member = tarfile.TarInfo(path)
        member.size = found.st_size
        member.mtime = int(found.st_mtime)
        member.mode = 0o644
        try:
            archive.addfile(member, content)
        except OSError as error:
            if error.errno is not None:
                raise
            # tarfile's own: the archive cannot go on behind half a file
            raise SourceError(f"{path} became shorter while it was sent") from error
    return ""

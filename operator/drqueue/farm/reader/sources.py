"""Where a reader's answers come from: the master in the same container, else a private copy of the
journal."""

import contextlib
import fcntl
import hashlib
import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from drqueue.api.frames import FramesError
from drqueue.farm.journal import FILE_NAME
from drqueue.farm.reading import NothingSuchError, chosen_indexes, pages, read_head, read_page

_COPIES = 5
_SUFFIXES = ("", "-journal", "-wal")
"""Of the files that a journal may consist of, whatever mode its master keeps it in."""
_SOCKET_SECONDS = 60.0


class SourceError(Exception):
    """The journal cannot be read now."""


class Source(Protocol):
    """Answers what the journal says."""

    def frames(self, job_uid: str, frames: str | None) -> Iterator[dict[str, Any]]:
        """A first item with `output_folder`, then one a frame. Raises NothingSuchError,
        FramesError, SourceError."""


def socket_path(volume: Path, temporary: Path) -> Path:
    """Where the master of a volume listens for readers in its own container."""
    digest = hashlib.sha256(str(volume.absolute()).encode()).hexdigest()[:16]
    return temporary / f"drqueue-master-{digest}.sock"


class MasterSource:
    """Asks the master over its unix socket."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where no master listens."""
        self._path = path
        self._connect().close()

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_SOCKET_SECONDS)
        try:
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            raise
        return connection

    def frames(self, job_uid: str, frames: str | None) -> Iterator[dict[str, Any]]:
        """See `Source`."""
        try:
            with self._connect() as connection, connection.makefile("rwb") as stream:
                stream.write(json.dumps({"job_uid": job_uid, "frames": frames}).encode() + b"\n")
                stream.flush()
                yield from self._answer(stream)
        except OSError as error:
            raise SourceError(f"the master broke off: {error}") from error

    @staticmethod
    def _answer(stream: Any) -> Iterator[dict[str, Any]]:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            item: dict[str, Any] = json.loads(line)
            if "end" in item:
                return
            if "error" in item:
                if item["error"] == "frames":
                    raise FramesError(item["frames"], item["message"])
                raise NothingSuchError(item["message"])
            yield item
        raise SourceError("the master broke off")


class CopySource:
    """Reads a private copy of the journal, made anew when the journal changed."""

    def __init__(self, volume: Path, folder: Path) -> None:
        """Raises SourceError, NothingSuchError."""
        journal = volume / "journal" / FILE_NAME
        if not journal.exists():
            raise NothingSuchError("the session's volume has no journal: nothing rendered on it")
        try:
            self._connection = _copy(journal, folder)
        except OSError as error:
            raise SourceError(f"the journal cannot be copied: {error}") from error

    def frames(self, job_uid: str, frames: str | None) -> Iterator[dict[str, Any]]:
        """See `Source`."""
        head = read_head(self._connection.execute, job_uid)
        indexes = chosen_indexes(head, frames)
        yield {"output_folder": head.output_folder, "name": head.name}
        for page in pages(indexes):
            yield from read_page(self._connection.execute, head, page)


def _copy(journal: Path, folder: Path) -> sqlite3.Connection:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(_COPIES):
            stamp = _stamp(journal)
            known = folder / "stamp"
            target = folder / FILE_NAME
            if not known.exists() or known.read_text() != stamp:
                known.unlink(missing_ok=True)
                _copy_files(journal, target)
            connection = sqlite3.connect(target)
            with contextlib.suppress(sqlite3.DatabaseError):
                # a copy made while somebody wrote may be torn
                sound = known.exists() or _is_sound(connection)
                if sound and stamp == _stamp(journal):
                    known.write_text(stamp)
                    return connection
            connection.close()
    raise SourceError("the journal is being written: ask its master, or try again")


def _copy_files(journal: Path, target: Path) -> None:
    for suffix in _SUFFIXES:
        source = journal.with_name(journal.name + suffix)
        copy = target.with_name(target.name + suffix)
        copy.unlink(missing_ok=True)
        if source.exists():
            shutil.copyfile(source, copy)


def _is_sound(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")


def _stamp(journal: Path) -> str:
    parts = []
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            found = Path(f"{journal}{suffix}").stat()
            parts.append(f"{found.st_size}:{found.st_mtime_ns}:{found.st_ino}")
    return " ".join(parts)


def open_source(volume: Path, temporary: Path) -> Source:
    """The master where one runs beside us, else a copy. Raises SourceError, NothingSuchError."""
    with contextlib.suppress(OSError):
        return MasterSource(socket_path(volume, temporary))
    return CopySource(volume, temporary / "drqueue-reader")

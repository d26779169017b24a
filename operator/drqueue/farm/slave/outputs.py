"""Which files are a frame's, and whether they are all there. Blocking: call it off the loop."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from drqueue.farm.protocol import FileDone
from drqueue.farm.slave.blocks import pad

MAX_FILES = 256
"""Of one frame, as the protocol bounds them."""
_MAX_WALK = 100_000
_MAX_PATH = 1024
FULL = os.strerror(errno.ENOSPC)
"""What a renderer prints that could not write."""
VOLUME_FULL = (
    "the session's volume is full: remove files, or enlarge spec.storage.size of the session"
)


class MissingOutputError(Exception):
    """A file that a frame must leave is not there; the text says which, and why not."""


class OutputError(Exception):
    """Output that cannot be handed over; the text says why."""


def expand(pattern: str, frame: int) -> str:
    """Put a frame's padded number in place of each run of #: a pattern's width is its count."""
    return re.sub("#+", lambda run: pad(frame, len(run[0])), pattern)


class OutputFolder:
    """An attempt's folder. Files without a pattern belong to the frame that was rendered when they
    came up, so it remembers what it has seen."""

    def __init__(self, folder: Path, patterns: tuple[str, ...]) -> None:
        self.folder = folder
        self._patterns = patterns
        self._seen: dict[str, tuple[int, int]] = {}

    @property
    def named(self) -> bool:
        """Whether patterns say which files are a frame's."""
        return bool(self._patterns)

    def take(self, frame: int) -> tuple[FileDone, ...]:
        """Find the frame's files. Raises MissingOutputError, OutputError."""
        if self._patterns:
            return tuple(self._required(expand(pattern, frame)) for pattern in self._patterns)
        return self._new()

    def _required(self, path: str) -> FileDone:
        try:
            found = (self.folder / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            raise MissingOutputError(
                f"{path} was not written: have the renderer write it, or say in "
                "spec.output.files what it writes"
            ) from None
        if not stat.S_ISREG(found.st_mode):
            raise MissingOutputError(f"{path} is no regular file (a link or a folder)")
        if found.st_size == 0:
            raise MissingOutputError(f"{path} is empty")
        return FileDone(path=path, size=found.st_size)

    def _new(self) -> tuple[FileDone, ...]:
        files = []
        for count, (path, found) in enumerate(self._walk(), 1):
            if count > _MAX_WALK:
                raise OutputError(f"more than {_MAX_WALK} files in one block's folder")
            key = (found.st_size, found.st_mtime_ns)
            if self._seen.get(path) == key:
                continue
            self._seen[path] = key
            files.append(FileDone(path=path, size=found.st_size))
        if len(files) > MAX_FILES:
            raise OutputError(
                f"{len(files)} new files for one frame, at most {MAX_FILES}: name those that "
                "count in spec.output.files"
            )
        return tuple(sorted(files, key=lambda file: file.path))

    def _walk(self) -> Iterator[tuple[str, os.stat_result]]:
        for folder, _, names in os.walk(self.folder, followlinks=False):
            for name in names:
                path = Path(folder) / name
                try:
                    found = path.lstat()
                except FileNotFoundError:
                    continue  # a scratch file that the renderer took away meanwhile
                relative = str(path.relative_to(self.folder))
                if stat.S_ISREG(found.st_mode):
                    _check_name(relative)
                    yield relative, found


def _check_name(path: str) -> None:
    """Refuse what the master cannot be told of: JSON carries text, and file names are bytes.

    Passed over, the file would be removed with the attempt's folder, and its frame be counted.
    """
    try:
        path.encode()
        wrong = f"is longer than {_MAX_PATH} characters" if len(path) > _MAX_PATH else ""
    except UnicodeEncodeError:
        wrong = "is no UTF-8"
    if wrong:
        raise OutputError(
            f"the file name {os.fsencode(path)[:300]!r} {wrong}: rename it, or name the files that "
            "count in spec.output.files"
        )


def flush(folder: Path, files: tuple[FileDone, ...]) -> tuple[FileDone, ...]:
    """Write files and their folders through to the volume; gives the files with their marks.

    Raises OSError, OutputError.
    """
    folders = {folder}
    marked = []
    for file in files:
        path = folder / file.path
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.fsync(descriptor)
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if (size := found.st_size) != file.size:
            raise OutputError(
                f"{file.path} changed after its frame was done ({file.size}, now {size} bytes)"
            )
        marked.append(file.model_copy(update={"mark": (found.st_ino, found.st_mtime_ns)}))
        folders.add(path.parent)
    for each in folders:
        descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems without it
                raise
        finally:
            os.close(descriptor)
    return tuple(marked)


def is_full(folder: Path) -> bool:
    """Whether the volume that a folder lies on has no block left."""
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False


def describe(error: OSError) -> str:
    """Say what failed in the volume, and what mends it."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{VOLUME_FULL}{where}"
    return f"{os.strerror(error.errno) if error.errno else error}{where}"

"""Paths that strangers name: checked as text, and walked by directory descriptors without links.

A tenant's code runs as the same user as the master and may plant links anywhere in the work folder,
at any moment. So nothing in it is ever opened by a whole path: each part is opened from the
descriptor of the part before, with O_NOFOLLOW.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from drqueue.api.values import check_path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
MAX_DEPTH = 64


class UnsafePathError(ValueError):
    """A path that leaves its folder, or leads over a link or something else that it must not."""


def split(path: str) -> list[str]:
    """Give the parts of a relative path; raises UnsafePathError where it leaves its folder."""
    try:
        parts = check_path(path).split("/")
        path.encode()
    except ValueError as error:
        raise UnsafePathError(str(error)) from error
    if len(parts) > MAX_DEPTH:
        raise UnsafePathError(f"{path[:80]!r}... is more than {MAX_DEPTH} folders deep")
    return parts


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a folder that is ours, such as the volume's root. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def folder(root: int, path: str | list[str], *, create: bool = False) -> Iterator[int]:
    """A descriptor of a folder below `root`, made (and its parents flushed) where `create` says so.

    Raises UnsafePathError for links and files on the way, OSError (FileNotFoundError) otherwise.
    """
    parts = split(path) if isinstance(path, str) else path
    current = os.dup(root)
    try:
        for part in parts:
            following = _step(current, part, create)
            os.close(current)
            current = following
        yield current
    finally:
        os.close(current)


def _step(current: int, part: str, create: bool) -> int:
    try:
        return _open_folder(current, part)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, 0o770, dir_fd=current)
        flush(current)
    return _open_folder(current, part)


def _open_folder(current: int, part: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=current)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise UnsafePathError(
                f"{part!r} is a link or a file where a folder should be"
            ) from None
        raise


def open_file(root: int, path: str) -> int:
    """A descriptor (the caller's to close) of a regular file below `root`.

    Raises UnsafePathError for links, devices and the like, OSError otherwise.
    """
    *parents, name = split(path)
    with folder(root, parents) as parent:
        try:
            descriptor = os.open(name, _FILE, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise UnsafePathError(f"{path!r} is a link or a socket") from None
            raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafePathError(f"{path!r} is no regular file")
    return descriptor


def look(parent: int, name: str) -> os.stat_result | None:
    """What lies in a folder under a name, links not followed; None where nothing does."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def flush(descriptor: int) -> None:
    """Write a folder through to the volume. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems without it
            raise


def remove_tree(root: int, path: str) -> None:
    """Remove a folder below `root` with all that is in it, following no link. Fine if it is gone.

    Raises UnsafePathError when a folder on the way is a link; what cannot be removed stays.
    """
    *parents, name = split(path)
    try:
        with folder(root, parents) as parent:
            found = look(parent, name)
            if found is None:
                return
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(name, ignore_errors=True, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def is_full(error: BaseException) -> bool:
    """Whether an error says that the volume has no room left."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk is full" in str(error)

"""Frames' files, renamed from an attempt's folder into their final place. Blocking: off the loop.

Both folders are a tenant's to plant links in, at any moment. See `paths`.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Sequence

from drqueue.farm.paths import UnsafePathError, flush, folder, look, split
from drqueue.farm.protocol import FileDone

ATTEMPTS = "attempts"
_LASTING = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.ENAMETOOLONG,
        errno.EXDEV,
        errno.EMLINK,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOTEMPTY,
        errno.EEXIST,
        errno.EINVAL,
        errno.EILSEQ,
    }
)
"""What a tenant's folders, modes and names cause: repeating the move does not mend it."""


class NotPublishedError(Exception):
    """A file is not what the slave said; the text says why. The frame does not count."""


def publish(
    work: int, output_folder: str, frames: Sequence[tuple[int, Sequence[FileDone]]]
) -> list[str]:
    """Move frames' files into place and flush the folders. Repeating it does no harm.

    `work` is the work folder's descriptor; each frame is its attempt's number and its files. A file
    that is absent at the source, and at the target with its mark and size, has been moved before.
    Gives for each frame why it is not published: empty where it is. Raises OSError where the volume
    fails, as when it is full: then all of it is to be repeated. What would fail each time is no
    failure of the volume: it is why a frame is not published.
    """
    touched: set[tuple[str, ...]] = set()
    reasons = []
    for attempt, files in frames:
        try:
            for file in files:
                touched.add(_publish(work, attempt, output_folder, file))
            reasons.append("")
        except (NotPublishedError, UnsafePathError) as error:
            reasons.append(str(error))
    for parts in sorted(touched):
        with contextlib.suppress(UnsafePathError), folder(work, list(parts)) as target:
            flush(target)
    return reasons


def _publish(work: int, attempt: int, output_folder: str, file: FileDone) -> tuple[str, ...]:
    """Move a file; gives the folder that it is in now. Raises OSError where the volume fails."""
    try:
        return _move(work, attempt, output_folder, file)
    except OSError as error:
        if error.errno not in _LASTING:
            raise
        raise NotPublishedError(
            f"{file.path} cannot be moved into {output_folder}: {error.strerror}"
        ) from error


def _move(work: int, attempt: int, output_folder: str, file: FileDone) -> tuple[str, ...]:
    *parents, name = split(file.path)
    target_parts = [*split(output_folder), *parents]
    with folder(work, target_parts, create=True) as target:
        try:
            with folder(work, [ATTEMPTS, str(attempt), *parents]) as source:
                found = look(source, name)
                if found is not None:
                    _check(file, found)
                    _rename(name, source, target)
        except FileNotFoundError:
            found = None
        arrived = look(target, name)
        if arrived is None or (found is None and not _is_marked(file, arrived)):
            raise NotPublishedError(f"{file.path} is not there")
        try:
            _check(file, arrived)
        except NotPublishedError:
            if found is not None:
                # swapped in the moment between the check and the rename
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=target)
            raise
    return tuple(target_parts)


def _rename(name: str, source: int, target: int) -> None:
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except PermissionError:
        # a renderer that copies a read-only folder leaves one
        os.fchmod(source, stat.S_IMODE(os.fstat(source).st_mode) | stat.S_IRWXU)
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except IsADirectoryError:
        raise NotPublishedError(f"{name}: a folder of that name is in the output folder") from None


def _is_marked(file: FileDone, found: os.stat_result) -> bool:
    """Whether a file is the one that was reported, and no older one of its name.

    Either sign will do: some file systems number inodes on each machine anew, on others a machine
    that has just written sees a time of its own.
    """
    if file.mark is None:
        return True  # from a slave, or a journal, of the version before
    inode, modified_ns = file.mark
    return found.st_ino == inode or found.st_mtime_ns == modified_ns


def _check(file: FileDone, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotPublishedError(f"{file.path} is no regular file (a link, a folder or a device)")
    if found.st_nlink != 1:
        raise NotPublishedError(f"{file.path} has another name elsewhere (a hard link)")
    if found.st_size != file.size:
        raise NotPublishedError(
            f"{file.path} is {found.st_size} bytes long, and was said to be {file.size}"
        )

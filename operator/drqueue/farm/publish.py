"""Frames' files, renamed from an attempt's folder into their final place. Blocking: off the loop.

Both folders are a tenant's to plant links in, at any moment. See `paths`.
"""

import contextlib
import os
import stat
from collections.abc import Iterable

from drqueue.farm.paths import UnsafePathError, flush, folder, look, split
from drqueue.farm.protocol import FileDone

ATTEMPTS = "attempts"


class NotPublishedError(Exception):
    """A file is not what the slave said; the text says why. The frame does not count."""


def publish(work: int, attempt: int, output_folder: str, files: Iterable[FileDone]) -> None:
    """Move one frame's files into place and flush the folders. Repeating it does no harm.

    `work` is the work folder's descriptor. A file that is absent at the source, and at the target
    with the right size, has been moved before. Raises NotPublishedError; OSError where the volume
    fails, as when it is full: then it is to be repeated.
    """
    try:
        for file in files:
            _publish(work, attempt, output_folder, file)
    except UnsafePathError as error:
        raise NotPublishedError(str(error)) from error


def _publish(work: int, attempt: int, output_folder: str, file: FileDone) -> None:
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
        if arrived is None:
            raise NotPublishedError(f"{file.path} is not there")
        try:
            _check(file, arrived)
        except NotPublishedError:
            if found is not None:
                # swapped in the moment between the check and the rename
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=target)
            raise
        flush(target)


def _rename(name: str, source: int, target: int) -> None:
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except IsADirectoryError:
        raise NotPublishedError(f"{name}: a folder of that name is in the output folder") from None


def _check(file: FileDone, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotPublishedError(f"{file.path} is no regular file (a link, a folder or a device)")
    if found.st_nlink != 1:
        raise NotPublishedError(f"{file.path} has another name elsewhere (a hard link)")
    if found.st_size != file.size:
        raise NotPublishedError(
            f"{file.path} is {found.st_size} bytes long, and was said to be {file.size}"
        )

"""A tar stream unpacked onto a disk that somebody cares about.

Every file is written beside its place and renamed into it when it is whole, so that what is there
is either the old file or the new one. Nothing but the regular files that were promised is written.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

CHUNK = 256 * 1024


class UnpackError(Exception):
    """The stream held something that must not be written, or not what was promised."""


class PieceReader(io.RawIOBase):
    """Pieces of bytes as a file that can be read once, from front to back."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fill the buffer with what the next piece has; 0 at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def unpack(
    pieces: Iterator[bytes],
    target: Path,
    promised: Mapping[str, Collection[int]],
    on_bytes: Callable[[int], None],
    on_file: Callable[[str], None],
) -> None:
    """Write the promised files (path to the sizes it may have) from a tar stream below `target`.

    Calls `on_bytes` with the count of each piece, and `on_file` with the path of each whole file. A
    stream that ends early leaves whole files only; what `pieces` raises comes through. Raises
    UnpackError for links, devices, paths that lead out of `target`, strange files and wrong sizes.
    """
    reader = io.BufferedReader(PieceReader(pieces), CHUNK)
    try:
        with tarfile.open(fileobj=reader, mode="r|") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = _checked(member, target, promised)
                source = archive.extractfile(member)
                if source is None:
                    raise UnpackError(f"{member.name}: no file")
                _write(source, target, name, member.size, on_bytes)
                on_file(name)
    except tarfile.ReadError as problem:
        raise UnpackError(f"the stream is no whole tar: {problem}") from problem
    # the exit status comes behind the archive's end: read on, so that its failure is not missed
    while reader.read(CHUNK):
        pass


def _checked(member: tarfile.TarInfo, target: Path, promised: Mapping[str, Collection[int]]) -> str:
    """Give the member's path, if it may be written. Raises UnpackError."""
    name = member.name
    if not member.isreg():
        raise UnpackError(f"{name!r}: no regular file, but a link or device")
    try:
        tarfile.data_filter(member, str(target))
    except tarfile.FilterError as problem:
        raise UnpackError(f"{name!r}: {problem}") from problem
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise UnpackError(f"{name!r}: leads out of the folder")
    plain = str(path)
    if plain not in promised:
        raise UnpackError(f"{name!r}: not among the files of the frames asked for")
    if member.size not in promised[plain]:
        sizes = " or ".join(map(str, sorted(promised[plain])[:5]))
        raise UnpackError(f"{name!r}: {member.size} bytes, {sizes} were promised")
    return plain


def _write(
    source: IO[bytes], target: Path, name: str, size: int, on_bytes: Callable[[int], None]
) -> None:
    final = target / name
    final.parent.mkdir(parents=True, exist_ok=True)
    # a hash, for the name may already be as long as the disk takes
    digest = hashlib.sha256(os.fsencode(final.name)).hexdigest()[:16]
    partial = final.with_name(f".{digest}.{os.getpid()}.part")
    # O_NOFOLLOW and O_EXCL by way of mode x: a link planted under this name is not written through
    partial.unlink(missing_ok=True)
    try:
        with partial.open("xb") as sink:
            left = size
            while left:
                chunk = source.read(min(CHUNK, left))
                if not chunk:
                    raise UnpackError(f"{name!r}: the stream ended {left} bytes too early")
                sink.write(chunk)
                left -= len(chunk)
                on_bytes(len(chunk))
        partial.replace(final)
    except BaseException as problem:
        if isinstance(problem, OSError) and problem.filename is not None:
            # the user knows the file by its own name
            problem.filename, problem.filename2 = str(final), None
        partial.unlink(missing_ok=True)
        raise

"""Logs of frames: one file an attempt and frame, bounded, its head and its end kept. Blocking."""

import os
from collections.abc import Iterable
from pathlib import Path

from drqueue.farm.protocol import LogText

MAX_LOG_FILE = 1024 * 1024
"""Bytes of one attempt's log of one frame."""
_HEAD = MAX_LOG_FILE // 2
_TAIL = MAX_LOG_FILE // 4
_OMITTED = b"\n[... text left out: the log is longer than is kept ...]\n"


def log_path(logs: Path, job_uid: str, frame: int | None, attempt: int) -> Path:
    """Where the log of a frame (None: of the environments) of an attempt is."""
    return logs / job_uid / ("env" if frame is None else str(frame)) / f"{attempt}.log"


def append(logs: Path, job_uid: str, attempt: int, texts: Iterable[LogText]) -> None:
    """Add what a renderer wrote. Raises OSError."""
    for text in texts:
        path = log_path(logs, job_uid, text.frame, attempt)
        path.parent.mkdir(mode=0o770, parents=True, exist_ok=True)
        piece = text.text.encode(errors="replace")
        with path.open("ab") as log:
            log.write(piece)
            size = log.tell()
        if size > MAX_LOG_FILE:
            _shorten(path)


def _shorten(path: Path) -> None:
    """Take out the middle; a reader that follows sees a new file."""
    shorter = path.with_suffix(".shorter")
    with path.open("rb") as log, shorter.open("wb") as kept:
        kept.write(log.read(_HEAD).removesuffix(_OMITTED))
        kept.write(_OMITTED)
        log.seek(-_TAIL, os.SEEK_END)
        kept.write(log.read())
    shorter.replace(path)

"""What Open Job Description's library logs, as lines of a renderer; and its appetite, bounded."""

import logging
import queue
import re
from collections import deque
from collections.abc import Callable
from threading import Condition

from openjd.sessions import LOG as OPENJD_LOG
from openjd.sessions import LogContent
from openjd.sessions import _subprocess as openjd_subprocess

_MAX_PIECE = 8192
"""Characters of a line; and of lines that are taken together."""
_MAX_PIECES = 64
_STARTED = re.compile(r"Command started as pid: (\d+)")


def bound_openjd_output() -> None:
    """Make the library hold back a renderer that prints faster than its lines are taken, where it
    would queue them without end; and cut lines earlier. Also keeps its log to our own handlers."""
    openjd_subprocess.Queue = LineQueue
    openjd_subprocess.LOG_LINE_MAX_LENGTH = _MAX_PIECE
    OPENJD_LOG.setLevel(logging.INFO)
    OPENJD_LOG.propagate = False


class LineQueue:
    """Stands in for the library's queue of lines. It is bounded, and lines that pile up come out
    together, as one text: a log record for each would cost a flood 20 µs a line.

    Lines that may be the library's own messages (openjd_progress: and the like) stay apart.
    """

    def __init__(self) -> None:
        self._pieces: deque[list[str]] = deque()
        self._open = False
        """Whether the last piece may take another line."""
        self._open_size = 0
        self._changed = Condition()

    def put(self, line: str) -> None:
        """Append a line; waits while too many are there."""
        plain = not line.lstrip()[:7].lower().startswith("openjd_")
        with self._changed:
            if plain and self._open and self._open_size + len(line) < _MAX_PIECE:
                self._pieces[-1].append(line)
            else:
                while len(self._pieces) >= _MAX_PIECES:
                    self._changed.wait()
                self._pieces.append([line])
                self._open, self._open_size = plain, 0
                self._changed.notify_all()
            self._open_size += len(line) + 1

    def get(self, timeout: float | None = None) -> str:
        """Take the oldest lines, joined. Raises queue.Empty after `timeout` seconds."""
        with self._changed:
            if not self._pieces and not self._changed.wait_for(lambda: self._pieces, timeout):
                raise queue.Empty
            piece = self._pieces.popleft()
            if not self._pieces:
                self._open = False
            self._changed.notify_all()
        return "\n".join(piece)

    def empty(self) -> bool:
        """Whether no line waits."""
        return not self._pieces


class Feed(logging.Handler):
    """Picks the lines of one session out of the library's log: what the renderer printed, and why
    an action could not start."""

    def __init__(
        self, session_id: str, on_line: Callable[[str], None], on_start: Callable[[int], None]
    ) -> None:
        super().__init__()
        self._session_id = session_id
        self._on_line = on_line
        self._on_start = on_start

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record of the library's."""
        if getattr(record, "session_id", None) != self._session_id:
            return
        content = getattr(record, "openjd_log_content", None) or LogContent(0)
        if LogContent.COMMAND_OUTPUT in content:
            if LogContent.BANNER not in content:
                for line in record.getMessage().split("\n"):
                    self._on_line(line)
        elif LogContent.EXCEPTION_INFO in content:
            self._on_line(record.getMessage())
        elif LogContent.PROCESS_CONTROL in content and (
            match := _STARTED.match(record.getMessage())
        ):
            self._on_start(int(match[1]))

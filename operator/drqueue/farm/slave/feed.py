"""What Open Job Description's library logs, as lines of a renderer; and its appetite, bounded."""

import logging
import queue
import re
from collections.abc import Callable

from openjd.sessions import LOG as OPENJD_LOG
from openjd.sessions import LogContent
from openjd.sessions import _subprocess as openjd_subprocess

_MAX_LINE = 8192
_MAX_QUEUED_LINES = 256
_STARTED = re.compile(r"Command started as pid: (\d+)")


def bound_openjd_output() -> None:
    """Make the library hold back a renderer that prints faster than its lines are taken, where it
    would queue them without end; and cut lines earlier. Also keeps its log to our own handlers."""
    openjd_subprocess.Queue = lambda: queue.Queue(_MAX_QUEUED_LINES)
    openjd_subprocess.LOG_LINE_MAX_LENGTH = _MAX_LINE
    OPENJD_LOG.setLevel(logging.INFO)
    OPENJD_LOG.propagate = False


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
                self._on_line(record.getMessage())
        elif LogContent.EXCEPTION_INFO in content:
            self._on_line(record.getMessage())
        elif LogContent.PROCESS_CONTROL in content and (
            match := _STARTED.match(record.getMessage())
        ):
            self._on_start(int(match[1]))

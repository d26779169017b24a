"""What a renderer prints, on its way to the master: cut where it floods, in order, bounded."""

from collections import deque
from dataclasses import dataclass, field

from drqueue.farm.protocol import LogText

HEAD_BYTES = 128 * 1024
TAIL_BYTES = 32 * 1024
"""Kept of a frame's text: so much from its beginning, and so much from its end."""
REPORT_BYTES = 64 * 1024
"""Of text in one report: escaped as JSON it still fits the master's bound on a request."""
BACKLOG_BYTES = 2 * 1024 * 1024
"""Kept while the master cannot be reached; beyond it, a frame's text is dropped, with a note."""
LAST_LINES = 20
LAST_LINE_CHARACTERS = 500


@dataclass
class _Piece:
    frame: int | None
    lines: deque[str] = field(default_factory=deque)
    size: int = 0


class LogBuffer:
    """Lines of one attempt. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._ready: deque[_Piece] = deque()
        self._ready_bytes = 0
        self._frame: int | None = None
        self._head = 0
        self._tail: deque[str] = deque()
        self._tail_bytes = 0
        self._cut_bytes = 0
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._dropped = False

    def add(self, frame: int | None, line: str) -> None:
        """Take a line (without its end) that was printed while at a frame, or in an environment."""
        if frame != self._frame:
            self.finish()
            self._frame = frame
        self._last.append(line[:LAST_LINE_CHARACTERS])
        size = len(line.encode()) + 1
        if self._head + size <= HEAD_BYTES and not self._tail:
            self._head += size
            self._put(line, size)
            return
        self._tail.append(line)
        self._tail_bytes += size
        while self._tail_bytes > TAIL_BYTES:
            out = len(self._tail.popleft().encode()) + 1
            self._tail_bytes -= out
            self._cut_bytes += out

    def finish(self) -> None:
        """The frame is over: what was held back of its end may go."""
        if self._cut_bytes:
            note = f"[… {self._cut_bytes} bytes cut: a frame's log keeps its beginning and end …]"
            self._put(note, len(note.encode()) + 1)
        for line in self._tail:
            self._put(line, len(line.encode()) + 1)
        self._tail.clear()
        self._head = self._tail_bytes = self._cut_bytes = 0

    def last_lines(self) -> tuple[str, ...]:
        """The newest lines, blank ones left out."""
        return tuple(line for line in self._last if line.strip())

    def forget_last_lines(self) -> None:
        """What follows is another frame's: earlier lines say nothing of it."""
        self._last.clear()

    @property
    def waiting(self) -> bool:
        """Whether there is text to report."""
        return bool(self._ready)

    def take(self) -> tuple[LogText, ...]:
        """Take out text for one report, oldest first."""
        texts: list[LogText] = []
        room = REPORT_BYTES
        while self._ready:
            piece = self._ready[0]
            lines = []
            while piece.lines and (size := len(piece.lines[0].encode()) + 1) <= room:
                lines.append(piece.lines.popleft())
                room -= size
                piece.size -= size
                self._ready_bytes -= size
            if lines:
                texts.append(LogText(frame=piece.frame, text="\n".join(lines) + "\n"))
            if piece.lines or len(texts) >= 500:
                break
            self._ready.popleft()
        return tuple(texts)

    def _put(self, line: str, size: int) -> None:
        if self._ready_bytes + size > BACKLOG_BYTES:
            if not self._dropped:
                self._dropped = True
                self._append("[… text dropped: the master could not take it in time …]", 0)
            return
        self._dropped = False
        self._append(line, size)

    def _append(self, line: str, size: int) -> None:
        if not self._ready or self._ready[-1].frame != self._frame:
            self._ready.append(_Piece(self._frame))
        self._ready[-1].lines.append(line)
        self._ready[-1].size += size
        self._ready_bytes += size

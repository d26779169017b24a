"""What an attempt has to tell the master: filled by the renderer's threads, emptied by the loop."""

from collections import deque
from collections.abc import Callable
from threading import Lock

from drqueue.farm.protocol import AttemptEnd, AttemptReport, FrameDone
from drqueue.farm.slave.log import LogBuffer

_FRAMES_A_REPORT = 1000
_FRAME_BYTES_A_REPORT = 128 * 1024


class News:
    """News of one attempt. Thread-safe; `wake` is called (from any thread) for what is urgent."""

    def __init__(self, attempt: int, wake: Callable[[], None] = lambda: None) -> None:
        self.attempt = attempt
        self._wake = wake
        self._lock = Lock()
        self._frames: deque[FrameDone] = deque()
        self._progress = 0.0
        self._told_progress = 0.0
        self._log = LogBuffer()

    def frame_done(self, done: FrameDone) -> None:
        """A frame rendered, and its files are safe on the volume."""
        with self._lock:
            self._frames.append(done)
            self._progress = 0.0
        self._wake()

    def progress(self, part: float) -> None:
        """So much (0 to 1) of the frame at hand is done."""
        with self._lock:
            self._progress = min(max(part, 0.0), 1.0)

    def line(self, frame: int | None, text: str) -> None:
        """The renderer printed a line."""
        with self._lock:
            self._log.add(frame, text)

    def next_frame(self) -> None:
        """What is printed from now on belongs to another frame."""
        with self._lock:
            self._log.finish()
            self._log.forget_last_lines()
            self._progress = 0.0

    def last_lines(self) -> tuple[str, ...]:
        """The newest lines of the frame at hand."""
        with self._lock:
            return self._log.last_lines()

    @property
    def urgent(self) -> bool:
        """Whether frames wait to be reported."""
        return bool(self._frames)

    @property
    def waiting(self) -> bool:
        """Whether there is anything to report."""
        with self._lock:
            return bool(self._frames) or self._log.waiting or self._progress != self._told_progress

    def take(self, end: AttemptEnd | None = None) -> AttemptReport:
        """Take out one report; it carries `end` only when it is the last."""
        with self._lock:
            if end is not None:
                self._log.finish()
            frames: list[FrameDone] = []
            size = 0
            while self._frames and len(frames) < _FRAMES_A_REPORT:
                size += 80 + sum(100 + 2 * len(file.path) for file in self._frames[0].files)
                if frames and size > _FRAME_BYTES_A_REPORT:
                    break
                frames.append(self._frames.popleft())
            log = self._log.take()
            self._told_progress = self._progress
            last = not self._frames and not self._log.waiting
            return AttemptReport(
                attempt=self.attempt,
                frames_done=tuple(frames),
                progress=self._progress,
                log=log,
                end=end if last else None,
            )

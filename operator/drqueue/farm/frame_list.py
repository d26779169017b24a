"""A job's frames by index: looked up, cut into blocks, and written as range text; cheap for a
million frames."""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from drqueue.api.frames import (
    CUT_SHORT,
    MAX_FRAMES_TEXT,
    MAX_RANGE_TEXT,
    format_frames,
    parse_frames,
)

T = TypeVar("T")

MAX_LEASE_TEXT = 512 * 1024
"""Longest range text of a block, in characters: it has 10,000 frames at most."""


class FrameList:
    """The frames of a job in the order written. An index is a frame's place in it."""

    def __init__(self, text: str, max_text: int = MAX_FRAMES_TEXT) -> None:
        """Raises FramesError, also for text of more characters than `max_text`."""
        self.frames: Sequence[int] = parse_frames(text, max_text)
        self._sorted: array[int] | None = None
        if not isinstance(self.frames, range):
            self._sorted = array("I", sorted(range(len(self.frames)), key=self.frames.__getitem__))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> int:
        return self.frames[index]

    def index(self, frame: int) -> int | None:
        """The index of a frame, None for one that the job does not have."""
        if isinstance(self.frames, range):
            return self.frames.index(frame) if frame in self.frames else None
        if self._sorted is None or not self._sorted:
            return None
        place = bisect_left(self._sorted, frame, key=self.frames.__getitem__)
        if place < len(self._sorted) and self.frames[self._sorted[place]] == frame:
            return self._sorted[place]
        return None

    def ascending(self, rows: Iterable[tuple[int, T]]) -> Iterator[tuple[int, T]]:
        """Give indexes for frames, each with what comes along; frames that the job does not have
        are left out. The frames must ascend: then a million take no search each."""
        if self._sorted is None:
            for frame, rest in rows:
                index = self.index(frame)
                if index is not None:
                    yield index, rest
            return
        place = 0
        for frame, rest in rows:
            while place < len(self._sorted) and self.frames[self._sorted[place]] < frame:
                place += 1
            if place < len(self._sorted) and self.frames[self._sorted[place]] == frame:
                yield self._sorted[place], rest

    def text(self, states: bytes | bytearray, state: int, limit: int = MAX_RANGE_TEXT) -> str:
        """Range text of the frames in a state (a byte a frame), at most so many bytes.

        Looks at runs of equal bytes, not at frames, and stops where the text is full.
        """
        pieces: list[str] = []
        size = 0
        for first, last in _runs(states, state):
            for piece in self._pieces(first, last):
                size += len(piece) + 1
                if size - 1 > limit:
                    return _cut(pieces, limit)
                pieces.append(piece)
        return ",".join(pieces)

    def _pieces(self, first: int, last: int) -> Iterator[str]:
        """Range text of the indexes first..last, in parts of bounded length."""
        if isinstance(self.frames, range):
            yield format_range(self.frames[first], self.frames[last], self.frames.step)
            return
        for start in range(first, last + 1, 4096):
            yield format_frames(self.frames[start : min(start + 4096, last + 1)])


def format_range(first: int, last: int, step: int) -> str:
    """Write an arithmetic run as a part of a range: `7`, `1-5`, `1-9x2`."""
    if first == last:
        return str(first)
    if last - first == step and step > 1:
        return f"{first},{last}"
    return f"{first}-{last}" if step == 1 else f"{first}-{last}x{step}"


def _runs(states: bytes | bytearray, state: int) -> Iterator[tuple[int, int]]:
    for match in re.finditer(re.escape(bytes([state])) + b"+", states):
        yield match.start(), match.end() - 1


def _cut(pieces: list[str], limit: int) -> str:
    text = ",".join(pieces)
    room = limit - len(CUT_SHORT.encode())
    if len(text) > room:
        text = text[:room]
        text = text[: text.rfind(",")] if "," in text else ""
    return f"{text}{CUT_SHORT}"

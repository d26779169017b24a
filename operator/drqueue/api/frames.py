"""Frame ranges: `1-100`, `1-100x5,120` (every fifth), `1-100y3` (all but every third).

A range is read in the order written, and a frame that comes again counts once. `fileseq` gives
a part its meaning; what may be written is stricter here, and the same in CEL (`FRAMES_RULES`), so
that the API server, the operator and the command line refuse the same text with the same words.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise

from fileseq import FrameSet

from drqueue.api.rule import Rule

MAX_FRAMES_TEXT = 512
MAX_FRAMES = 1_000_000
MAX_RANGE_TEXT = 16 * 1024
"""Bytes of range text kept in a status; longer text ends in `,…`."""
CUT_SHORT = ",…"

_NUMBER = "-?[0-9]{1,8}"
_PART = f"{_NUMBER}(-{_NUMBER}([xy](0+|[1-9][0-9]{{0,7}}))?)?"
FRAMES_PATTERN = f"^{_PART}(,{_PART})*$"
_WELL_FORMED = re.compile(FRAMES_PATTERN.removeprefix("^").removesuffix("$"))
_SPLIT_PART = re.compile(r"(-?\d+)(?:-(-?\d+)(?:([xy])(\d+))?)?")

COLON = (
    "':' means different things in OpenCue, Open Job Description and Deadline: "
    "write every fifth frame as 1-100x5, all but every fifth as 1-100y5"
)
FORM = (
    "write frames as in 1-100, 1-100x5,120 or 1-100y3: whole numbers of at most 8 digits, "
    "joined by commas, no spaces"
)
ZERO_STEP = "a step of 0 never ends: write a step of 1 or more, as in 1-100x5"
REVERSED = "the first frame of a range comes after its last: write the lower number first, 1-100"
NOTHING_LEFT = (
    "a part with y leaves out its first frame and every n-th from there, and this one leaves no "
    "frame: write a range of two frames or more and a y of 2 or more, as in 1-100y3"
)
TOO_MANY = (
    f"more than {MAX_FRAMES:,} frames, counted before duplicates are removed: "
    "split them over several jobs"
)


def _cel_rules() -> tuple[Rule, ...]:
    """Say the checks of `count_frames` in CEL. Each passes where one before it failed."""
    parts = "self.split(',')"
    # The API server prices a match by its pattern's length: \d keeps within the budget, [0-9] not.
    is_range = r"p.matches(r'\d-')"
    first = r"int(p.find(r'^-?\d+'))"
    last = r"int(p.find(r'\d--?\d+').substring(2))"
    step = r"int(p.find(r'[xy]\d+').substring(1))"
    well_formed = f"self.matches('{FRAMES_PATTERN}')"
    zero_step = "self.matches('[xy]0+(,|$)')"
    malformed = f"!{well_formed} || {zero_step}"
    span = f"({last} - {first})"
    count = (
        f"!{is_range} ? 1 : p.contains('x') ? {span} / {step} + 1 : "
        f"p.contains('y') ? {span} - {span} / {step} : {span} + 1"
    )
    return (
        Rule(rule="!self.contains(':')", message=COLON),
        Rule(rule=f"self.contains(':') || {well_formed}", message=FORM),
        Rule(rule=f"!{zero_step}", message=ZERO_STEP),
        Rule(
            rule=f"{malformed} || {parts}.all(p, !{is_range} || {first} <= {last})",
            message=REVERSED,
        ),
        Rule(
            rule=f"{malformed} || {parts}.all(p, !p.contains('y') || {first} > {last} || "
            f"({first} < {last} && {step} > 1))",
            message=NOTHING_LEFT,
        ),
        Rule(
            rule=f"{malformed} || {parts}.map(p, {count}).sum() <= {MAX_FRAMES}", message=TOO_MANY
        ),
    )


FRAMES_RULES = _cel_rules()


class FramesError(ValueError):
    """Text that is no frame range, or too large a one. `why` says it without the text."""

    def __init__(self, text: str, why: str) -> None:
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        super().__init__(f"frames {shown!r}: {why}")
        self.why = why


def _split(text: str) -> Iterator[tuple[int, int, str, int]]:
    """Give the first frame, last frame, `x`, `y` or nothing, and step of each part."""
    for match in _SPLIT_PART.finditer(text):
        first, last, kind, step = match.groups()
        yield int(first), int(first if last is None else last), kind or "", int(step or 1)


def _count(first: int, last: int, kind: str, step: int) -> int:
    stepped = (last - first) // step + 1
    return last - first + 1 - stepped if kind == "y" else stepped


def count_frames(text: str, max_text: int = MAX_FRAMES_TEXT) -> int:
    """Check a frame range and count its frames before duplicates are removed.

    Takes microseconds whatever the count, for nothing is expanded. Raises FramesError.
    """
    if not text:
        raise FramesError(text, FORM)
    if len(text) > max_text:
        raise FramesError(
            text, f"{len(text)} characters, at most {max_text}: use steps, or several jobs"
        )
    if ":" in text:
        raise FramesError(text, COLON)
    if not _WELL_FORMED.fullmatch(text):
        raise FramesError(text, FORM)
    parts = list(_split(text))
    if any(step == 0 for _, _, _, step in parts):
        raise FramesError(text, ZERO_STEP)
    if any(first > last for first, last, _, _ in parts):
        raise FramesError(text, REVERSED)
    if any(kind == "y" and (first == last or step == 1) for first, last, kind, step in parts):
        raise FramesError(text, NOTHING_LEFT)
    total = sum(_count(*part) for part in parts)
    if total > MAX_FRAMES:
        raise FramesError(text, TOO_MANY)
    return total


def check_frames(text: str) -> str:
    """Give back a job's frame range that holds; raises FramesError."""
    count_frames(text)
    return text


def parse_frames(text: str, max_text: int = MAX_FRAMES_TEXT) -> Sequence[int]:
    """Read a frame range: its frames in the order written, each once.

    The result is a `range` where one will do, else an array of 4 bytes a frame. A status's range
    text may be longer than a job's: give `max_text` for it. Raises FramesError.
    """
    count_frames(text, max_text)
    parts = list(_split(text))
    first, last, kind, step = parts[0]
    if len(parts) == 1 and kind != "y":
        return range(first, last + 1, step)
    # Part by part, as fileseq's own removal of duplicates looks through all ranges before it for
    # each frame: minutes for a text of many parts.
    expanded = (_expand(*part) for part in parts)
    if _disjoint(parts):
        return array("i", chain.from_iterable(expanded))
    return array("i", dict.fromkeys(chain.from_iterable(expanded)))


def _expand(first: int, last: int, kind: str, step: int) -> Iterable[int]:
    if kind == "y":
        # fileseq makes a set of it first, and a master hears nobody for 1.6 s
        return (frame for frame in range(first, last + 1) if (frame - first) % step)
    frames: Iterable[int] = FrameSet(f"{first}-{last}x{step}")
    return frames


def _disjoint(parts: list[tuple[int, int, str, int]]) -> bool:
    spans = sorted((first, last) for first, last, _, _ in parts)
    return all(before[1] < after[0] for before, after in pairwise(spans))


def format_frames(frames: Iterable[int], max_bytes: int | None = None) -> str:
    """Write frames as range text in their order, such as `1-5,8,10-20x2`.

    Reads back to the same frames. With `max_bytes` (of UTF-8), text that would be longer ends in
    `,…` in place of what does not fit. No frames give an empty text.
    """
    parts: list[str] = []
    size = 0
    for part in _runs(frames):
        size += len(part) + 1
        if max_bytes is not None and size - 1 > max_bytes:
            return _cut(parts, max_bytes)
        parts.append(part)
    return ",".join(parts)


def _cut(parts: list[str], max_bytes: int) -> str:
    text = ",".join(parts)
    while parts and len(text) + len(CUT_SHORT.encode()) > max_bytes:
        text = text[: -len(parts.pop()) - 1]
    return f"{text}{CUT_SHORT}"


def _runs(frames: Iterable[int]) -> Iterator[str]:
    """Write ascending runs of one step as a part each: from two frames on, or three if stepped."""
    first = last = step = 0
    length = 0
    for frame in frames:
        if length == 0 or (length == 1 and frame <= last):
            if length:
                yield str(last)
            first, length = frame, 1
        elif length == 1:
            step, length = frame - last, 2
        elif frame - last == step:
            length += 1
        elif length == 2 and step > 1:
            # two frames apart are no run yet: the second may start a better one
            yield str(first)
            if frame > last:
                first, step = last, frame - last
            else:
                yield str(last)
                first, length = frame, 1
        else:
            yield _run(first, last, step)
            first, length = frame, 1
        last = frame
    if length == 1:
        yield str(last)
    elif length == 2 and step > 1:
        yield from (str(first), str(last))
    elif length:
        yield _run(first, last, step)


def _run(first: int, last: int, step: int) -> str:
    return f"{first}-{last}" if step == 1 else f"{first}-{last}x{step}"

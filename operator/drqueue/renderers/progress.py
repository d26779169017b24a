"""Lines by which renderers say how far they are, beside Open Job Description's own."""

import re

_PERCENT = re.compile(r"Rendered \d+ of \d+ pixels \((\d{1,3})%\)")
"""POV-Ray, about once a second."""
_SAMPLES = re.compile(r"Fra:-?\d+ .*\b(?:Sample|Rendering) (\d{1,7}) ?/ ?(\d{1,7})\b")
"""Blender: Cycles says Sample, Eevee says Rendering."""
_FRAME_DONE = re.compile(r"drqueue_frame_done: (-?\d{1,8})\s*")


def progress_of(line: str) -> float | None:
    """The part done of a frame (0 to 1) that a line reports; None for any other line."""
    if match := _PERCENT.match(line):
        return min(int(match[1]) / 100, 1.0)
    if match := _SAMPLES.match(line):
        done, total = int(match[1]), int(match[2])
        return min(done / total, 1.0) if total else None
    return None


def frame_done_of(line: str) -> int | None:
    """The frame of a line `drqueue_frame_done: 17`, by which a chunk reports its frames one by
    one; None for any other line."""
    match = _FRAME_DONE.fullmatch(line)
    return int(match[1]) if match else None

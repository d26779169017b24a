"""What DrQueue itself tells a template: about the job, its scene, its frames, its folders."""

from collections.abc import Callable
from dataclasses import dataclass

from drqueue.api.frames import format_frames, parse_frames

_MAX_RANGE_TEXT = 1024
"""Longest range text that Open Job Description takes."""


@dataclass(frozen=True)
class JobFacts:
    """A job as its template sees it. Folders are absolute paths on the machine that renders."""

    name: str
    owner: str
    frames: str
    scene: str | None
    output_folder: str
    work_folder: str

    @property
    def span(self) -> tuple[int, int]:
        """The lowest and the highest frame."""
        frames = parse_frames(self.frames)
        return min(frames), max(frames)

    @property
    def openjd_frames(self) -> str:
        """The frames in Open Job Description's form, `1-100:5,120`; first to last where that
        would be longer than it takes."""
        text = format_frames(sorted(parse_frames(self.frames))).replace("x", ":")
        if len(text) <= _MAX_RANGE_TEXT:
            return text
        first, last = self.span
        return f"{first}-{last}"


SUPPLIED: dict[str, Callable[[JobFacts], str | None]] = {
    "SceneFile": lambda facts: facts.scene,
    "OutputFolder": lambda facts: facts.output_folder,
    "WorkFolder": lambda facts: facts.work_folder,
    "JobName": lambda facts: facts.name,
    "Owner": lambda facts: facts.owner,
    "Frames": lambda facts: facts.openjd_frames,
    "FirstFrame": lambda facts: str(facts.span[0]),
    "LastFrame": lambda facts: str(facts.span[1]),
}
"""Job parameters that DrQueue sets where a template declares them, and how each is found."""

"""How a lease's frames become tasks of a session, and what each task is told. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drqueue.api.frames import format_frames, parse_frames
from drqueue.farm.protocol import JobWork, Lease

MAX_LEASE_TEXT = 512 * 1024
"""Longest range text of a block (10,000 frames at most)."""
PADDING = 4


@dataclass(frozen=True)
class Task:
    """One run of the template's action: its frames, in order."""

    frames: tuple[int, ...]

    @property
    def value(self) -> str:
        """The frames as Open Job Description writes them: `17`, `1-9:2,20`."""
        return format_frames(self.frames).replace("x", ":")


def tasks_of(frames_text: str, chunked: bool, contiguous: bool) -> list[Task]:
    """Cut a block into tasks: one a frame, or one a chunk where the template takes chunks.

    Raises FramesError.
    """
    frames = parse_frames(frames_text, MAX_LEASE_TEXT)
    if not chunked:
        return [Task((frame,)) for frame in frames]
    if not contiguous:
        return [Task(tuple(frames))]
    return [Task(run) for run in _contiguous(frames)]


def _contiguous(frames: Sequence[int]) -> Iterator[tuple[int, ...]]:
    run: list[int] = []
    for frame in frames:
        if run and frame != run[-1] + 1:
            yield tuple(run)
            run = []
        run.append(frame)
    if run:
        yield tuple(run)


def pad(frame: int, width: int = PADDING) -> str:
    """Write a frame number as file names carry it: 7 as 0007, -7 as -007, 12345 as it is."""
    return str(frame).zfill(width)


@dataclass(frozen=True)
class JobFrames:
    """What the variables say of a job's whole range; worked out once, not once a frame."""

    first: int
    last: int
    step: int

    @classmethod
    def of(cls, frames_text: str) -> "JobFrames":
        """Read a job's range; a step of 1 where the frames have no single one."""
        frames = parse_frames(frames_text)
        step = frames.step if isinstance(frames, range) else 1
        return cls(min(frames), max(frames), step)


def job_variables(work: JobWork, frames: JobFrames, scene: str | None) -> dict[str, str]:
    """The variables that DrQueue's scripts read and that are the same for all of a job's tasks."""
    return {
        "DRQUEUE_JOBNAME": work.name,
        "DRQUEUE_JOBID": work.uid,
        "DRQUEUE_OWNER": work.owner,
        "DRQUEUE_OS": "LINUX",
        "DRQUEUE_SCENEFILE": scene or "",
        "DRQUEUE_STARTFRAME": str(frames.first),
        "DRQUEUE_ENDFRAME": str(frames.last),
        "DRQUEUE_STEPFRAME": str(frames.step),
    }


def task_variables(lease: Lease, task: Task, folder: str) -> dict[str, str]:
    """The variables of one task; `folder` is the attempt's, where its output belongs."""
    return {
        "DRQUEUE_FRAME": str(task.frames[0]),
        "DRQUEUE_PADFRAME": pad(task.frames[0]),
        "DRQUEUE_PADFRAMES": str(PADDING),
        "DRQUEUE_BLOCKSIZE": str(len(task.frames)),
        "DRQUEUE_FRAMES": format_frames(task.frames),
        "DRQUEUE_ATTEMPT": str(lease.attempt),
        "DRQUEUE_OUTPUTFOLDER": folder,
    }

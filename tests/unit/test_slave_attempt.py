"""How an attempt's end is judged."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from drqueue.farm.protocol import AttemptEnd
from drqueue.farm.slave.attempt import Attempt
from drqueue.farm.slave.blocks import Task
from drqueue.farm.slave.news import News
from drqueue.farm.slave.outputs import OutputFolder
from drqueue.farm.slave.session import ActionEnd


async def _end_of(
    folder: Path, end: ActionEnd, kills: Iterator[int | None], timeout: float | None = None
) -> AttemptEnd:
    attempt = Attempt(News(1), OutputFolder(folder, ()), lambda: next(kills), lambda: 0.0)
    attempt.begin(Task((4, 5)))
    attempt.line("drqueue_frame_done: 4")
    attempt.line("the last line")
    await attempt.end_of_task(end, timeout)
    return await attempt.finish()


@pytest.mark.parametrize(
    ("exit_code", "before", "after", "result"),
    [
        (137, 2, 3, "out_of_memory"),
        # a child was killed, and the renderer gave up with a status of its own
        (1, 0, 1, "out_of_memory"),
        # someone else's SIGKILL
        (137, 2, 2, "failed"),
        (1, 2, 2, "failed"),
        # no counter to read: SIGKILL is most likely it
        (137, None, None, "out_of_memory"),
        (1, None, None, "failed"),
        (137, 2, None, "out_of_memory"),
    ],
)
async def test_kills_for_want_of_memory(
    tmp_path: Path, exit_code: int, before: int | None, after: int | None, result: str
) -> None:
    end = await _end_of(tmp_path, ActionEnd(False, exit_code=exit_code), iter([before, after]))
    assert (end.result, end.exit_code, end.frame) == (result, exit_code, 5)
    assert end.last_lines == ("the last line",)
    assert ("spec.limits.memory" in end.message) == (result == "out_of_memory")


async def test_timeouts_say_whose(tmp_path: Path) -> None:
    timed_out = ActionEnd(False, timed_out=True, exit_code=143)
    ours = await _end_of(tmp_path, timed_out, iter([0, 0]), 90.0)
    assert ours.message == "frame 5: took longer than 90 s (spec.timeouts.frame)"
    templates = await _end_of(tmp_path, timed_out, iter([0, 0]))
    assert templates.message == "frame 5: took longer than its timeout"


async def test_what_could_not_start_says_so(tmp_path: Path) -> None:
    end = await _end_of(tmp_path, ActionEnd(False, message="no such file"), iter([0, 0]))
    assert (end.result, end.message) == ("failed", "frame 5: it did not start: no such file")

"""One block as it renders: which frame it is at, what that left, how it ended."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from drqueue.farm.protocol import AttemptEnd, EndResult, FileDone, FrameDone
from drqueue.farm.slave.blocks import Task
from drqueue.farm.slave.memory import OomCount
from drqueue.farm.slave.news import News
from drqueue.farm.slave.outputs import (
    FULL,
    VOLUME_FULL,
    MissingOutputError,
    OutputError,
    OutputFolder,
    describe,
    flush,
    is_full,
)
from drqueue.farm.slave.session import ActionEnd
from drqueue.renderers.progress import frame_done_of, progress_of

_KILLED = 137


class Attempt:
    """The state of one block. `line` and `progress` may be called from any thread."""

    def __init__(
        self, news: News, output: OutputFolder, oom_count: OomCount, clock: Callable[[], float]
    ) -> None:
        self.failure: AttemptEnd | None = None
        self._news = news
        self._output = output
        self._oom_count = oom_count
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._files = ThreadPoolExecutor(1, "files")
        self._left: list[int] = []
        self._following: dict[int, int] = {}
        self._frame: int | None = None
        self._since = 0.0
        self._oom_before: int | None = None
        self._finishing: list[asyncio.Task[None]] = []

    def begin(self, task: Task) -> None:
        """A task is about to run."""
        self._news.next_frame()
        self._left = list(task.frames)
        self._following = dict(zip(task.frames, (*task.frames[1:], task.frames[-1]), strict=True))
        self._frame = self._left[0]
        self._since = self._clock()
        self._oom_before = self._oom_count()

    def line(self, text: str, stopped: bool = False) -> None:
        """The renderer, or an environment, printed a line; `stopped`: after it was told to end."""
        if (part := progress_of(text)) is not None:
            self._news.progress(part)
        elif (frame := frame_done_of(text)) is not None:
            # what it says of frames that are not its own is nothing; and the frame at which it was
            # told to end may be half done
            if frame in self._following and not stopped:
                last_lines = self._news.last_lines()
                self._news.next_frame()
                self._frame = self._following[frame]
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._reported, frame, last_lines)
        else:
            self._news.line(self._frame, text)

    def progress(self, part: float) -> None:
        """So much of the frame at hand is done."""
        self._news.progress(part)

    def _reported(self, frame: int, last_lines: tuple[str, ...]) -> None:
        """The renderer says that a frame of its chunk is done."""
        if frame in self._left:
            self._left.remove(frame)
            self._finish_frame(frame, last_lines)

    def _finish_frame(self, frame: int, last_lines: tuple[str, ...]) -> None:
        now = self._clock()
        seconds, self._since = now - self._since, now
        # its files are looked up now, before a next frame's come up; then flushed meanwhile
        found = self._loop.run_in_executor(self._files, self._output.take, frame)
        report = self._report(frame, seconds, found, last_lines)
        self._finishing.append(asyncio.create_task(report))

    async def _report(
        self,
        frame: int,
        seconds: float,
        found: "asyncio.Future[tuple[FileDone, ...]]",
        last_lines: tuple[str, ...],
    ) -> None:
        try:
            files = await asyncio.to_thread(flush, self._output.folder, await found)
        except MissingOutputError as error:
            self._fail("missing_output", frame, str(error), 0, last_lines)
        except OutputError as error:
            self._fail("failed", frame, str(error), 0, last_lines)
        except OSError as error:
            self._fail("failed", frame, describe(error), 0, last_lines)
        else:
            self._news.frame_done(FrameDone(frame=frame, seconds=seconds, files=files))

    async def end_of_task(self, end: ActionEnd, frame_timeout: float | None) -> None:
        """The task's action is over: take what it left, or note why it failed."""
        last_lines = self._news.last_lines()
        # let what it printed last, from another thread, come in before
        await asyncio.sleep(0)
        if end.succeeded:
            left, self._left = self._left, []
            for each in left:
                self._finish_frame(each, last_lines)
            if not self._output.named:
                await self._settle()
            return
        await self._settle()
        frame = self._left[0] if self._left else self._frame
        if end.timed_out:
            limit = f"{frame_timeout:g} s (spec.timeouts.frame)" if frame_timeout else "its timeout"
            self._fail("timeout", frame, f"took longer than {limit}", end.exit_code, last_lines)
        else:
            result, why = self._judge(end, last_lines)
            self._fail(result, frame, why, end.exit_code, last_lines)

    def _judge(self, end: ActionEnd, last_lines: tuple[str, ...]) -> tuple[EndResult, str]:
        oom = self._oom_count()
        killed_for_memory = (
            oom > self._oom_before
            if oom is not None and self._oom_before is not None
            else end.exit_code == _KILLED
        )
        if killed_for_memory:
            return "out_of_memory", (
                "killed for want of memory: ask for a node with more (spec.limits.memory), or make "
                "the scene smaller"
            )
        status = f"exit status {end.exit_code}" if end.exit_code is not None else "it did not start"
        why = f"{status}: {end.message}" if end.message else status
        if is_full(self._output.folder) or any(FULL in line for line in last_lines):
            why = f"{why}: {VOLUME_FULL}"
        return "failed", why

    def environment_failed(self, end: ActionEnd, limit: float) -> AttemptEnd:
        """An environment could not be entered: that is the attempt's end."""
        why = f"took longer than {limit:g} s" if end.timed_out else f"exit status {end.exit_code}"
        result: EndResult = "timeout" if end.timed_out else "failed"
        message = f"{end.message} {why}"
        self._fail(result, None, message, end.exit_code, self._news.last_lines())
        return self._ended()

    async def finish(self) -> AttemptEnd:
        """Wait until all files are safe; give the attempt's end."""
        await self._settle()
        self._files.shutdown(wait=False)
        return self._ended()

    async def _settle(self) -> None:
        waiting, self._finishing = self._finishing, []
        if waiting:
            await asyncio.gather(*waiting)

    def _ended(self) -> AttemptEnd:
        return self.failure or AttemptEnd(result="succeeded", exit_code=0)

    def _fail(
        self,
        result: EndResult,
        frame: int | None,
        why: str,
        exit_code: int | None,
        last_lines: tuple[str, ...],
    ) -> None:
        """Note the first failure; what follows from it says less."""
        if self.failure is None:
            message = why if frame is None else f"frame {frame}: {why}"
            self.failure = AttemptEnd(
                result=result,
                exit_code=exit_code,
                frame=frame,
                message=message[:2000],
                last_lines=last_lines,
            )

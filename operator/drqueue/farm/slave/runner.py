"""The runner that renders: blocks of frames through Open Job Description's sessions."""

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from drqueue.api.frames import FramesError
from drqueue.farm.protocol import AttemptEnd, JobWork, Lease
from drqueue.farm.slave.attempt import Attempt
from drqueue.farm.slave.blocks import JobFrames, Task, job_variables, task_variables, tasks_of
from drqueue.farm.slave.memory import OomCount
from drqueue.farm.slave.news import News
from drqueue.farm.slave.outputs import OutputFolder, describe
from drqueue.farm.slave.processes import ProcessTree
from drqueue.farm.slave.session import JobSession
from drqueue.renderers import JobFacts, ParametersError, PreparedJob, TemplateError, prepare

LOG = logging.getLogger(__name__)

ENVIRONMENT_SECONDS = 600.0
"""For entering or leaving an environment, where a job says nothing."""

STUCK = "its processes withstand SIGKILL: the node's storage or a driver of it hangs, and it leaves"


class _Current:
    """The job whose environments are entered."""

    def __init__(
        self,
        work: JobWork,
        base: Path,
        session: JobSession,
        prepared: PreparedJob,
        scene: str | None,
    ) -> None:
        self.key = (work.uid, work.generation)
        self.base = base
        self.session = session
        self.prepared = prepared
        self.variables = job_variables(work, JobFrames.of(work.frames), scene)
        self.environment_seconds = work.environment_timeout_seconds or ENVIRONMENT_SECONDS


class OpenJdRunner:
    """Renders one block at a time. For the event loop's thread."""

    def __init__(
        self,
        work_folder: Path,
        tree: ProcessTree,
        oom_count: OomCount,
        clock: Callable[[], float] = time.monotonic,
        scratch: Path | None = None,
    ) -> None:
        """`work_folder` is the session's volume; `scratch` (the system's temporary folder) takes
        the sessions' own files. `clock` gives seconds."""
        self._work = work_folder
        self._tree = tree
        self._oom_count = oom_count
        self._clock = clock
        self._scratch = Path(tempfile.mkdtemp(prefix="drqueue-", dir=scratch))
        self._current: _Current | None = None
        self._left: asyncio.Task[None] | None = None
        self._failed: JobSession | None = None
        self._attempt: Attempt | None = None
        self._stop: Literal["canceled", "drained"] | None = None
        self.stuck = False
        """Whether processes cannot be killed: nothing more is to be rendered here."""

    async def run(self, lease: Lease, work: JobWork, news: News) -> AttemptEnd:
        """Render a block to its end, whatever that is; raises nothing that a job could cause."""
        self._stop = None
        try:
            end = await self._run(lease, work, news)
        except (TemplateError, ParametersError, FramesError, RuntimeError) as error:
            end = AttemptEnd(result="failed", message=str(error)[:2000])
        except OSError as error:
            end = AttemptEnd(result="failed", message=describe(error))
        finally:
            self._attempt = None
        if self._stop is not None:
            end = AttemptEnd(result=self._stop, frame=end.frame)
        self.stuck = self.stuck or (self._current is not None and self._current.session.stuck)
        if self.stuck:
            message = "; ".join(filter(None, (end.message[:1000], STUCK)))
            return end.model_copy(update={"message": message})
        if end.result != "succeeded" and self._current is not None:
            # Open Job Description allows a session nothing after a failure but to leave; the
            # master is told meanwhile
            self._failed = self._current.session
            self._left = asyncio.create_task(self._leave())
        return end

    def cancel(self, result: Literal["canceled", "drained"]) -> None:
        """End the block at hand at once, with all its processes; `run` then gives this result."""
        self._stop = self._stop or result
        if self._current is not None:
            self._current.session.kill()

    async def close(self, seconds: float | None = None) -> None:
        """Leave the environments (each within `seconds`, where given) and clear away all there
        is."""
        await self._leave(seconds)
        if self._left is not None and self._failed is not None and seconds is not None:
            await asyncio.wait({self._left}, timeout=seconds)
            while not self._left.done():
                self._failed.kill()
                await asyncio.wait({self._left}, timeout=0.5)
        await self._have_left()
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)

    def _folder(self, attempt: int) -> Path:
        return self._work / "attempts" / str(attempt)

    async def _run(self, lease: Lease, work: JobWork, news: News) -> AttemptEnd:
        folder = self._folder(lease.attempt)
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        scene = str(self._work / work.scene) if work.scene else None
        if scene is not None and not await asyncio.to_thread(Path(scene).exists):
            return AttemptEnd(
                result="failed", message=f"the scene {work.scene} is not in the session's volume"
            )
        attempt = Attempt(
            news, OutputFolder(folder, work.output_files), self._oom_count, self._clock
        )
        self._attempt = attempt
        current = await self._enter(work, scene, folder, attempt)
        if isinstance(current, AttemptEnd):
            return current
        prepared = current.prepared
        for task in tasks_of(lease.frames, prepared.chunked, prepared.contiguous):
            if self._stop is not None:
                # frames that were done before count, once their files are safe
                await attempt.finish()
                return AttemptEnd(result=self._stop, frame=task.frames[0])
            await self._run_task(
                lease=lease,
                work=work,
                current=current,
                attempt=attempt,
                task=task,
                folder=folder,
            )
            if attempt.failure is not None:
                break
        return await attempt.finish()

    async def _run_task(
        self,
        *,
        lease: Lease,
        work: JobWork,
        current: _Current,
        attempt: Attempt,
        task: Task,
        folder: Path,
    ) -> None:
        timeout = work.frame_timeout_seconds
        attempt.begin(task)
        end = await current.session.run(
            task.value,
            current.variables | task_variables(lease, task, str(folder)),
            timeout * len(task.frames) if timeout else None,
        )
        await attempt.end_of_task(end, timeout)

    async def _enter(
        self, work: JobWork, scene: str | None, folder: Path, attempt: Attempt
    ) -> _Current | AttemptEnd:
        """Have the job's session, with this block's folder as its output."""
        await self._have_left()
        if self._stop is not None:
            return AttemptEnd(result=self._stop)
        key = (work.uid, work.generation)
        if self._current is not None and (
            self._current.key != key or not self._current.session.usable
        ):
            await self._leave()
        if self.stuck:
            return AttemptEnd(result="drained")
        current = self._current
        if current is not None:
            _point(current.base / "output", folder)
            return current
        base = self._scratch / f"{work.uid}-{work.generation}"
        await asyncio.to_thread(base.mkdir, parents=True, exist_ok=True)
        _point(base / "output", folder)
        facts = JobFacts(
            name=work.name,
            owner=work.owner,
            frames=work.frames,
            scene=scene,
            output_folder=str(base / "output"),
            work_folder=str(self._work),
        )
        prepared = await asyncio.to_thread(prepare, work.template, work.parameters, facts)
        variables = {"TMPDIR": str(base / "tmp"), "DRQUEUE_WORKFOLDER": str(self._work)}
        await asyncio.to_thread((base / "tmp").mkdir, exist_ok=True)
        if self._stop is not None:
            return AttemptEnd(result=self._stop)
        session = JobSession(
            name=base.name,
            prepared=prepared,
            root=base,
            variables=variables,
            tree=self._tree,
            on_line=self._line,
            on_progress=self._progress,
        )
        current = self._current = _Current(work, base, session, prepared, scene)
        end = await session.enter(current.environment_seconds)
        if not end.succeeded:
            return attempt.environment_failed(end, current.environment_seconds)
        return current

    async def _have_left(self) -> None:
        """Wait until the environments of a job that failed have been left."""
        left, self._left, self._failed = self._left, None, None
        if left is not None:
            await left

    async def _leave(self, seconds: float | None = None) -> None:
        current, self._current = self._current, None
        if current is not None:
            limit = current.environment_seconds
            await current.session.close(limit if seconds is None else min(limit, seconds))
            self.stuck = self.stuck or current.session.stuck
            await asyncio.to_thread(shutil.rmtree, current.base, ignore_errors=True)

    def _line(self, text: str) -> None:
        """(From another thread.)"""
        attempt, current = self._attempt, self._current
        if attempt is not None:
            attempt.line(text, stopped=current is not None and current.session.killing)

    def _progress(self, part: float) -> None:
        """(From another thread.)"""
        attempt = self._attempt
        if attempt is not None:
            attempt.progress(part)


def _point(link: Path, folder: Path) -> None:
    """Have a session's output path, which its parameters name once, lead to this block's folder."""
    fresh = link.with_name("output.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder)
    fresh.replace(link)

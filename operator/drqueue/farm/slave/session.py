"""One Open Job Description session: a job's environments and tasks, one action at a time.

The library runs actions on threads of its own; here, each is awaited, bounded in time, and followed
by a sweep that lets nothing of its process tree live on.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from openjd.model import ParameterValue, ParameterValueType
from openjd.sessions import LOG as OPENJD_LOG
from openjd.sessions import ActionState, ActionStatus, Session

from drqueue.farm.slave.feed import Feed
from drqueue.farm.slave.processes import ProcessTree
from drqueue.renderers import PreparedJob

LOG = logging.getLogger(__name__)

KILL_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL when an action is ended."""
UNKILLABLE_SECONDS = 30.0
"""What does not end for so long, though it is killed again and again, never will: it hangs in a
dead network file system or driver."""
BURY_SECONDS = 10.0
"""Between two looks for dead orphans of a long action."""
LINGER = 0.3
"""Seconds that what an action left running has to end by itself, as a `tee` would."""
_OVER = (ActionState.SUCCESS, ActionState.FAILED, ActionState.CANCELED, ActionState.TIMEOUT)


@dataclass(frozen=True)
class ActionEnd:
    """How an action ended. `exit_code` as a shell gives it: 128 + n for signal n."""

    succeeded: bool
    timed_out: bool = False
    exit_code: int | None = None
    message: str = ""


class JobSession:
    """A session for one job at one generation. All methods are for the event loop's thread."""

    def __init__(
        self,
        *,
        name: str,
        prepared: PreparedJob,
        root: Path,
        variables: Mapping[str, str],
        tree: ProcessTree,
        on_line: Callable[[str], None],
        on_progress: Callable[[float], None],
    ) -> None:
        """`on_line` and `on_progress` (0 to 1) are called from other threads. Blocks for
        milliseconds. Raises RuntimeError, OSError when the session cannot have its folder."""
        self._prepared = prepared
        self._tree = tree
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._starter = ThreadPoolExecutor(1, "openjd-start")
        self._reaper = ThreadPoolExecutor(1, "reaper")
        self._over: asyncio.Future[ActionStatus] | None = None
        self._main_pid: int | None = None
        self._entered: list[str] = []
        self._killing: asyncio.Task[None] | None = None
        self._sweeps: set[asyncio.Future[None]] = set()
        self._feed = Feed(name, on_line, self._started)
        OPENJD_LOG.addHandler(self._feed)
        try:
            self._session = Session(
                session_id=name,
                job_parameter_values=prepared.parameter_values,
                job_name=prepared.name,
                callback=self._news,
                os_env_vars=dict(variables),
                session_root_directory=root,
                revision_extensions=prepared.revision,
            )
        except BaseException:
            OPENJD_LOG.removeHandler(self._feed)
            raise
        self.usable = True
        self.stuck = False
        """Whether an action's processes cannot be killed; the library's thread waits on."""

    @property
    def folder(self) -> Path:
        """The session's working directory."""
        return Path(self._session.working_directory)

    async def enter(self, timeout: float | None) -> ActionEnd:
        """Enter the job's environments, each within `timeout` seconds; stops at the first failure.

        What they leave running is spared until they are left.
        """
        for environment in self._prepared.environments:
            if not self.usable:
                return ActionEnd(False, message="stopped between two environments")
            identifier = str(len(self._entered))
            self._entered.append(identifier)
            enter = partial(
                self._session.enter_environment,
                environment=environment,
                identifier=identifier,
                step_name=self._prepared.step_name,
                resolved_symtab=self._prepared.symbols,
            )
            end = await self._act(enter, timeout, keep_children=True)
            if not end.succeeded:
                return ActionEnd(
                    False,
                    end.timed_out,
                    end.exit_code,
                    f"environment {environment.name}: {end.message}",
                )
        if self._prepared.environments:
            await self._in_reaper(self._tree.spare_the_living)
        return ActionEnd(True)

    async def run(
        self, value: str, variables: Mapping[str, str], timeout: float | None
    ) -> ActionEnd:
        """Run the step's action for a frame or chunk; nothing that it started is left after it."""
        name = self._prepared.frame_parameter
        kind = ParameterValueType.CHUNK_INT if self._prepared.chunked else ParameterValueType.INT
        values = {name: ParameterValue(type=kind, value=value)} if name else {}
        end = await self._act(
            lambda: self._session.run_task(
                step_script=self._prepared.script,
                task_parameter_values=values,
                os_env_vars=dict(variables),
                log_task_banner=False,
                step_name=self._prepared.step_name,
                resolved_symtab=self._prepared.symbols,
            ),
            timeout,
        )
        await self._in_starter(self._forget_scripts)
        return end

    @property
    def killing(self) -> bool:
        """Whether the action at hand is being ended, or was. For any thread."""
        return self._killing is not None

    def kill(self) -> None:
        """End the action at hand, if any, with its whole process tree; nothing but leaving may come
        after it."""
        self.usable = False
        if self._killing is None and self._over is not None and not self._over.done():
            self._killing = asyncio.create_task(self._kill(self._over))

    async def close(self, timeout: float | None) -> None:
        """Leave the environments, each within `timeout` seconds, and clear away all there is."""
        self.usable = False
        while self._entered:
            identifier = self._entered.pop()
            leave = partial(
                self._session.exit_environment,
                identifier=identifier,
                resolved_symtab=self._prepared.symbols,
            )
            end = await self._act(leave, timeout, keep_children=True)
            if not end.succeeded:
                LOG.warning("an environment could not be left: %s", end.message)
        try:
            await self._in_reaper(lambda: self._tree.end(KILL_GRACE, all_of_it=True))
            await self._in_starter(self._session.cleanup)
        except (OSError, RuntimeError) as error:
            LOG.warning("a session's folder could not be cleared: %s", error)
        finally:
            OPENJD_LOG.removeHandler(self._feed)
            self._starter.shutdown(wait=False)
            self._reaper.shutdown(wait=False)

    async def _act(
        self, start: Callable[[], None], timeout: float | None, keep_children: bool = False
    ) -> ActionEnd:
        over: asyncio.Future[ActionStatus] = self._loop.create_future()
        self._over, self._main_pid, self._killing = over, None, None
        self._keep_children = keep_children
        timed_out = False
        try:
            await self._in_starter(start)
            timed_out = not await self._in_time(over, timeout)
            if timed_out:
                self.kill()
            status = await over
        except (RuntimeError, ValueError, OSError) as error:
            # it never started, as with a full disk; the session's own state is unknown now
            self.usable = False
            return ActionEnd(False, message=f"it could not be started: {error}")
        finally:
            # of what never started, nobody else tells the end
            over.cancel()
            if self._killing is not None:
                await self._killing
            if self._sweeps:
                await asyncio.wait(self._sweeps)
            if not keep_children and not self.stuck and not self._tree.childless:
                await self._sweep()
        code = status.exit_code
        return ActionEnd(
            # one that was ended may exit 0 all the same, with its work half done; or be said to
            # have, where the sweep took its status
            succeeded=status.state == ActionState.SUCCESS and not self.killing,
            timed_out=timed_out or status.state == ActionState.TIMEOUT,
            exit_code=128 - code if code is not None and code < 0 else code,
            message=status.fail_message or "",
        )

    async def _in_time(self, over: asyncio.Future[ActionStatus], timeout: float | None) -> bool:
        """Wait for an action's end, burying its orphans meanwhile; False when it takes too long."""
        deadline = None if timeout is None else self._loop.time() + timeout
        while not over.done():
            left = BURY_SECONDS if deadline is None else deadline - self._loop.time()
            if left <= 0:
                return False
            await asyncio.wait({over}, timeout=min(left, BURY_SECONDS))
            if not over.done() and self._main_pid is not None:
                await self._in_reaper(lambda: self._tree.bury(self._main_pid))
        return True

    async def _kill(self, over: asyncio.Future[ActionStatus]) -> None:
        deadline = self._loop.time() + UNKILLABLE_SECONDS
        while not over.done():
            # again and again: the action may be just about to start its process
            await self._sweep(KILL_GRACE, linger=0.0)
            await asyncio.wait({over}, timeout=0.05)
            if not over.done() and self._loop.time() >= deadline:
                self.stuck = True
                over.set_result(ActionStatus(state=ActionState.FAILED))

    async def _sweep(self, grace: float = KILL_GRACE, linger: float = LINGER) -> None:
        try:
            await self._in_reaper(lambda: self._tree.end(grace, self._main_pid, linger))
        except TimeoutError as error:
            LOG.error("%s", error)

    def _started(self, pid: int) -> None:
        """(From another thread.) The action's first process runs: watch for its end, as children
        that outlive it may hold its output open and would be waited for in vain."""
        self._main_pid = pid
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._watch, pid)

    def _watch(self, pid: int) -> None:
        over = self._over
        if self._keep_children or over is None or over.done():
            return
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return  # it has ended already; or a kernel without: it is swept after the action anyway

        def ended() -> None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            # nearly always the action is over in a moment, and there is nothing to sweep
            self._loop.call_later(0.02, self._sweep_behind, over)

        self._loop.add_reader(descriptor, ended)

    def _sweep_behind(self, over: "asyncio.Future[ActionStatus] | None") -> None:
        if over is not None and not over.done() and self._killing is None:
            sweep = asyncio.ensure_future(self._sweep())
            self._sweeps.add(sweep)
            sweep.add_done_callback(self._sweeps.discard)

    def _news(self, _: str, status: ActionStatus) -> None:
        """(From another thread.)"""
        if status.state in _OVER:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._ended, self._over, status)
        elif status.progress is not None:
            self._on_progress(status.progress / 100)

    @staticmethod
    def _ended(over: "asyncio.Future[ActionStatus] | None", status: ActionStatus) -> None:
        if over is not None and not over.done():
            over.set_result(status)

    def _forget_scripts(self) -> None:
        """The library leaves a script a task behind: thousands in a long job."""
        for script in self.folder.glob("tmp????????.sh"):
            script.unlink(missing_ok=True)

    async def _in_starter(self, call: Callable[[], Any]) -> None:
        await self._loop.run_in_executor(self._starter, call)

    async def _in_reaper(self, call: Callable[[], Any]) -> None:
        await self._loop.run_in_executor(self._reaper, call)

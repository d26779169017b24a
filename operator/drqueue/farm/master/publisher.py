"""What touches the volume for the master: publishing, logs, clearing up, scenes. Off the loop."""

import asyncio
import base64
import binascii
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from drqueue.farm import frame_logs
from drqueue.farm.attempts import Batch, accept, publish, refuse
from drqueue.farm.master.hub import FULL, FULL_OF_FILES, Hub
from drqueue.farm.orders import RefusedError
from drqueue.farm.paths import (
    UnsafePathError,
    flush,
    folder,
    is_full,
    look,
    remove_tree,
    split,
)
from drqueue.farm.protocol import FrameDone, JobProblem, LogText, SceneOrder
from drqueue.farm.publish import ATTEMPTS
from drqueue.farm.publish import publish as publish_files
from drqueue.farm.reports import required_files
from drqueue.farm.slave.outputs import expand
from drqueue.farm.state import Job, Publishing

P = ParamSpec("P")
T = TypeVar("T")
LOG = logging.getLogger(__name__)

VOLUME_FAILED = "VolumeFailed"
_LEAST_ROOM = 128 * 1024
_ENOUGH_ROOM = 64 * 1024 * 1024
"""Bytes free, or a hundredth of the volume, below which nothing more is started on it."""
_LEAST_FILES = 100
_ENOUGH_FILES = 20_000
"""The same of files (inodes)."""


class Publisher:
    """The master's hands on the volume."""

    def __init__(self, hub: Hub, volume: Path) -> None:
        """Make the folders that slaves need. Raises OSError."""
        self._hub = hub
        self._logs = volume / "logs"
        self._busy: set[int] = set()
        """Attempts whose frames are being published now."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._files = ThreadPoolExecutor(4, "files")
        self._log_writer = ThreadPoolExecutor(1, "logs")
        for name in ("work", "logs"):
            (volume / name).mkdir(mode=0o770, exist_ok=True)
        self._work = os.open(volume / "work", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        with folder(self._work, ATTEMPTS, create=True):
            pass

    # frames ----------------------------------------------------------------------------------

    @staticmethod
    def missing(job: Job, done: FrameDone) -> str:
        """What a frame lacks of the files that it must leave; empty where it lacks nothing."""
        paths = {file.path for file in done.files}
        lacking = [
            path
            for path in (expand(pattern, done.frame) for pattern in required_files(job))
            if path not in paths
        ]
        return f"{lacking[0]} was not written" if lacking else ""

    async def publish(
        self,
        job: Job,
        number: int,
        frames: Sequence[tuple[int, FrameDone]],
        before: Batch,
        after: Batch,
    ) -> None:
        """Publish frames of an attempt: commit that they are being moved (with the records
        `before`), move them, and put into `after` what is to be committed then.

        Raises RefusedError when the volume fails; it is finished later, or by a repeated report.
        """
        for index, done in frames:
            publish(self._hub.change(before), job, index, number, done)
        self._busy.add(number)
        try:
            await self._hub.commit(before)
            await self._move(job.uid, [index for index, _ in frames], after)
        finally:
            self._busy.discard(number)

    async def _move(self, uid: str, indexes: Sequence[int], after: Batch) -> None:
        job = self._hub.farm.jobs.get(uid)
        found = [(i, p) for i in indexes if (p := self._hub.farm.publishing.get((uid, i)))]
        if job is None or not found:
            return
        try:
            reasons = await self._in_files(
                publish_files,
                self._work,
                job.order.output_folder,
                [(published.attempt, published.files) for _, published in found],
            )
        except OSError as error:
            LOG.warning("frames could not be moved into place", extra={"error": str(error)})
            self._note_full(error)
            raise _refusal(error) from error
        # from here to the commit nothing is awaited: memory must not be ahead of what is queued
        for (index, published), why in zip(found, reasons, strict=True):
            self._conclude(uid, index, published, why, after)

    def _conclude(self, uid: str, index: int, found: Publishing, why: str, after: Batch) -> None:
        farm = self._hub.farm
        job = farm.jobs.get(uid)
        if job is None or farm.publishing.get((uid, index)) != found:
            return  # deleted meanwhile
        if why:
            LOG.warning(
                "a frame's files are refused",
                extra={"job": job.order.name, "attempt": found.attempt, "why": why},
            )
            refuse(self._hub.change(after), job, index, found.attempt, why)
        else:
            accept(self._hub.change(after), job, index, found)

    async def finish(self) -> None:
        """Finish what was being published when a master died, or the volume failed."""
        waiting = [
            (uid, index, found.attempt)
            for (uid, index), found in self._hub.farm.publishing.items()
            if found.attempt not in self._busy
        ]
        for uid, index, attempt in waiting:
            if attempt in self._busy:
                continue
            self._busy.add(attempt)
            after: Batch = []
            try:
                await self._move(uid, [index], after)
                await self._hub.commit(after)
            except RefusedError as error:
                if error.code == VOLUME_FAILED:
                    continue  # other frames' folders may be well
                return
            finally:
                self._busy.discard(attempt)
            if attempt not in self._hub.farm.attempts:
                self.clear_later(attempt)

    # attempts' folders -----------------------------------------------------------------------

    def clear_later(self, attempt: int) -> None:
        """Remove an attempt's folder, once nothing of it is being published."""
        if not any(found.attempt == attempt for found in self._hub.farm.publishing.values()):
            task = asyncio.create_task(self._clear(str(attempt)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def clear_leftovers(self) -> None:
        """Remove the folders of attempts that run no more, which nobody got to."""
        try:
            names = await self._in_files(self._list_attempts)
        except (OSError, UnsafePathError) as error:
            LOG.warning("attempts' folders cannot be listed", extra={"error": str(error)})
            return
        for name in names:
            # asked now: a folder may be as new as its lease
            farm = self._hub.farm
            held = {str(found.attempt) for found in farm.publishing.values()}
            held |= {str(number) for number in farm.attempts}
            if name not in held:
                await self._clear(name)

    def _list_attempts(self) -> list[str]:
        with folder(self._work, ATTEMPTS) as attempts:
            return os.listdir(attempts)  # noqa: PTH208 a descriptor

    async def _clear(self, name: str) -> None:
        try:
            await self._in_files(remove_tree, self._work, f"{ATTEMPTS}/{name}")
        except (OSError, UnsafePathError) as error:
            LOG.warning("a folder could not be removed", extra={"error": str(error)})

    async def log(self, job_uid: str, attempt: int, texts: Sequence[LogText]) -> bool:
        """Keep log text; whether that went well. A log that cannot be written costs no frame."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(
                self._log_writer, frame_logs.append, self._logs, job_uid, attempt, texts
            )
        except OSError as error:
            self._note_full(error)
            LOG.warning("log text could not be kept", extra={"error": str(error)})
            return False
        return True

    # scenes ----------------------------------------------------------------------------------

    async def store_scene(self, scene: SceneOrder | None) -> str | None:
        """Give the scene's path in the work folder; content is stored there by its hash first.

        Raises RefusedError.
        """
        if scene is None:
            return None
        try:
            if scene.content_base64 is None:
                if scene.path is not None:
                    split(scene.path)
                return scene.path
            name = scene.file_name or "scene"
            if len(split(name)) != 1:
                raise UnsafePathError(f"scene.file_name {name!r} is no plain file name")
            content = base64.b64decode(scene.content_base64, validate=True)
            path = f"scenes/{hashlib.sha256(content).hexdigest()}/{name}"
            await self._in_files(_store, self._work, path, content)
        except (UnsafePathError, binascii.Error) as error:
            raise RefusedError(400, "SceneInvalid", f"scene: {error}") from error
        except OSError as error:
            self._note_full(error)
            raise _refusal(error) from error
        return path

    async def scene_problem(self, path: str | None) -> JobProblem | None:
        """What is wrong with a scene's path, if anything is."""
        if path is None:
            return None
        why = await self._in_files(_scene_missing, self._work, path)
        return JobProblem(reason="SceneMissing", message=why) if why else None

    async def look_for_room(self) -> None:
        """Find out whether the volume is full: then nothing is handed out."""
        hub = self._hub
        try:
            found = await self._in_files(os.fstatvfs, self._work)
        except OSError as error:
            LOG.warning("the volume cannot be looked at", extra={"error": str(error)})
            return
        hub.set_full(_full(found))

    async def remove_logs(self, job_uid: str) -> None:
        """Remove the logs of a job that was deleted."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._log_writer, _remove_logs, self._logs, job_uid)

    async def close(self) -> None:
        """Let what is under way finish."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        self._files.shutdown(wait=True, cancel_futures=True)
        self._log_writer.shutdown(wait=True)
        os.close(self._work)

    def _note_full(self, error: OSError) -> None:
        if is_full(error):
            self._hub.disk_full = True

    async def _in_files(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._files, partial(call, *arguments, **named)
        )


def _full(found: os.statvfs_result) -> str:
    """What a volume is full of; empty where it is not."""
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    if free < max(_LEAST_ROOM, min(_ENOUGH_ROOM, size // 100)):
        return FULL
    # file systems that do not count files say 0 of 0, and some (CephFS) that -1 are free
    least = max(_LEAST_FILES, min(_ENOUGH_FILES, found.f_files // 100))
    return FULL_OF_FILES if found.f_files and 0 <= found.f_favail < least else ""


def _refusal(error: OSError) -> RefusedError:
    if is_full(error):
        return RefusedError(507, "VolumeFull", FULL)
    return RefusedError(503, VOLUME_FAILED, f"the session's volume: {error.strerror}")


def _store(work: int, path: str, content: bytes) -> None:
    *parents, name = split(path)
    with folder(work, parents, create=True) as target:
        found = look(target, name)
        if found is not None and found.st_size == len(content):
            return
        fresh = f".{name[:200]}.new"
        if look(target, fresh) is not None:
            os.unlink(fresh, dir_fd=target)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(fresh, flags, 0o660, dir_fd=target)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(fresh, name, src_dir_fd=target, dst_dir_fd=target)
        except BaseException:
            if look(target, fresh) is not None:
                os.unlink(fresh, dir_fd=target)
            raise
        flush(target)


def _scene_missing(work: int, path: str) -> str:
    advice = "put it there, or write another path in a new job"
    *parents, name = split(path)
    try:
        with folder(work, parents) as parent:
            if look(parent, name) is not None:
                return ""
    except UnsafePathError as error:
        return f"spec.scene.path {path!r}: {error}; {advice}"
    except OSError:
        pass
    return f"spec.scene.path {path!r} is not in the session's volume: {advice}"


def _remove_logs(logs: Path, job_uid: str) -> None:
    root = os.open(logs, os.O_RDONLY | os.O_DIRECTORY)
    try:
        remove_tree(root, job_uid)
    finally:
        os.close(root)

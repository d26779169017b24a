"""A master in a few lines, speaking the protocol over real HTTPS, and slaves as real processes."""

import asyncio
import contextlib
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from drqueue.farm.protocol import (
    AttemptEnd,
    FrameDone,
    JobWork,
    Lease,
    Problem,
    WorkAnswer,
    WorkReport,
)
from drqueue.farm.slave.processes import ProcessTree
from drqueue.renderers import output_files, template_of
from drqueue.security.ca import CertificateAuthority
from drqueue.security.identity import Identity

NODE = Identity("node", "session-1", "node-0", "node-uid-0")


@dataclass
class SeenAttempt:
    """What the master heard of one attempt."""

    lease: Lease
    frames: list[FrameDone] = field(default_factory=list)
    log: dict[int | None, str] = field(default_factory=dict)
    progress: list[float] = field(default_factory=list)
    end: AttemptEnd | None = None
    reports: int = 0


class SmallMaster:
    """Hands out what is put in `leases`, remembers what it hears, cancels and drains on demand."""

    def __init__(self, folder: Path, lease_seconds: float = 6.0) -> None:
        self.folder = folder
        self.lease_seconds = lease_seconds
        self.jobs: dict[str, JobWork] = {}
        self.attempts: dict[int, SeenAttempt] = {}
        self.canceled: set[int] = set()
        self.drain = False
        self.refusal: tuple[int, dict[str, str]] | None = None
        self.requests: list[WorkReport] = []
        self.job_requests = 0
        self._waiting: list[Lease] = []
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.port = 0
        self._authority, _ = CertificateAuthority.create(lambda: datetime.now(UTC))
        self._write("master", Identity("master", "session-1"), server=True)
        self._write("node", NODE)

    def _write(self, name: str, identity: Identity, server: bool = False) -> None:
        issued = self._authority.issue(
            identity, validity=timedelta(hours=1), dns_names=["localhost"] * server, server=server
        )
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "tls.crt").write_text(issued.certificate)
        (folder / "tls.key").write_text(issued.private_key)
        (folder / "ca.crt").write_text(issued.authority)

    def renew_node(self) -> None:
        """Give the node another certificate."""
        self._write("node", NODE)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=512 * 1024)
        app.router.add_post("/v1/work", self._work)
        app.router.add_get("/v1/jobs/{uid}/work", self._job)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(self.folder / "master/ca.crt")
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.folder / "master/tls.crt", self.folder / "master/tls.key")
        site = web.TCPSite(self._runner, "localhost", self.port, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def offer(self, job: JobWork, *ranges: str) -> list[int]:
        """Have blocks of a job handed out; gives their attempts' numbers."""
        self.jobs[job.uid] = job
        numbers = []
        async with self._changed:
            for frames in ranges:
                number = len(self.attempts) + len(self._waiting) + 1
                numbers.append(number)
                self._waiting.append(
                    Lease(
                        attempt=number,
                        job_uid=job.uid,
                        job_name=job.name,
                        generation=job.generation,
                        frames=frames,
                    )
                )
            self._changed.notify_all()
        return numbers

    async def cancel(self, attempt: int) -> None:
        async with self._changed:
            self.canceled.add(attempt)
            self._changed.notify_all()

    async def start_draining(self) -> None:
        async with self._changed:
            self.drain = True
            self._changed.notify_all()

    async def until(self, condition: Callable[[], Any], seconds: float = 120.0) -> None:
        """Wait until something holds of what was heard; says what was heard when it never does."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"never came; heard: {self.attempts}") from None

    async def ended(self, attempt: int, seconds: float = 120.0) -> SeenAttempt:
        await self.until(
            lambda: attempt in self.attempts and self.attempts[attempt].end is not None, seconds
        )
        return self.attempts[attempt]

    async def _job(self, request: web.Request) -> web.Response:
        self.job_requests += 1
        job = self.jobs.get(request.match_info["uid"])
        if job is None:
            return _problem(404, "Unknown")
        return web.Response(text=job.model_dump_json())

    async def _work(self, request: web.Request) -> web.Response:
        report = WorkReport.model_validate_json(await request.read())
        async with self._changed:
            if self.refusal is not None:
                status, headers = self.refusal
                return _problem(status, "Refused", headers)
            self.requests.append(report)
            number = self._hear(report)
            self._changed.notify_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(report.wait_seconds):
                    await self._changed.wait_for(lambda: self._has_news(report, number))
            lease = None
            if report.wants_lease and self._waiting and not self.drain:
                lease = self._waiting.pop(0)
                self.attempts[lease.attempt] = SeenAttempt(lease)
            action = "drain" if self.drain else "continue"
            if number in self.canceled:
                action = "cancel"
            answer = WorkAnswer(action=action, lease=lease, lease_seconds=self.lease_seconds)
            self._changed.notify_all()
        return web.Response(text=answer.model_dump_json())

    def _hear(self, report: WorkReport) -> int | None:
        news = report.attempt
        if news is None:
            return None
        seen = self.attempts[news.attempt]
        if news.attempt not in self.canceled and seen.end is None:
            seen.reports += 1
            seen.frames += news.frames_done
            seen.progress.append(news.progress)
            for text in news.log:
                seen.log[text.frame] = seen.log.get(text.frame, "") + text.text
            seen.end = news.end
        return news.attempt

    def _has_news(self, report: WorkReport, number: int | None) -> bool:
        if self.drain or number in self.canceled:
            return True
        return report.wants_lease and bool(self._waiting)


def _problem(status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
    text = Problem(code=code, message="as the test wants it").model_dump_json()
    return web.Response(status=status, text=text, headers=headers)


class SlaveProcess:
    """A real `drqueue-slave`."""

    def __init__(
        self, master: SmallMaster, folder: Path, prelude: str = "", **variables: str
    ) -> None:
        self._code = f"{prelude}\nfrom drqueue.farm.slave.main import main; main()"
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        self.scratch = folder / "scratch"
        self.scratch.mkdir(exist_ok=True)
        self.log = folder / "slave.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.scratch),
            "TMPDIR": str(self.scratch),
            "LANG": "C.UTF-8",
            "DRQUEUE_MASTER_URL": master.url,
            "DRQUEUE_TLS": str(master.folder / "node"),
            "DRQUEUE_WORK": str(self.work),
            "DRQUEUE_NODE_CORES": "2",
            "DRQUEUE_NODE_MEMORY": "1073741824",
            "DRQUEUE_NODE_POOLS": "fast, big",
            "DRQUEUE_NODE_RENDERERS": "povray,general",
            "DRQUEUE_HEALTH": "127.0.0.1:0",
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
            "SOME_SERVICE_HOST": "10.0.0.2",
            "SOME_PORT_80_TCP_ADDR": "10.0.0.2",
            "FROM_NODE_CLASS": "kept",
            **variables,
        }
        self.process: asyncio.subprocess.Process | None = None
        self._tree: ProcessTree | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                self._code,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        self._tree = ProcessTree(self.process.pid)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def exit_code(self, seconds: float = 60.0) -> int:
        assert self.process is not None
        try:
            async with asyncio.timeout(seconds):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"the slave goes on: {self.log.read_text()}") from None

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            # what it renders would live on without it
            renderers = self._tree.living() if self._tree is not None else []
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
            await self.process.wait()
            for renderer in renderers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(renderer.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def farm(
    folder: Path, prelude: str = "", **variables: str
) -> AsyncIterator[tuple[SmallMaster, SlaveProcess]]:
    """A master and a slave of its own, that runs Python code (`prelude`) first; the slave's log is
    printed when the test fails."""
    tls = folder / "tls"
    tls.mkdir()
    master = SmallMaster(tls)
    await master.start()
    slave = SlaveProcess(master, folder, prelude, **variables)
    await slave.start()
    try:
        yield master, slave
    except BaseException:
        print(slave.log.read_text())  # noqa: T201
        raise
    finally:
        await slave.stop()
        await master.stop()


def general_job(command: str, frames: str = "1-10", **changes: Any) -> JobWork:
    """A job that runs a shell command a frame."""
    values: dict[str, Any] = {
        "uid": "job-1",
        "generation": 1,
        "name": "shell",
        "owner": "studio-a",
        "template": template_of("general"),
        "parameters": {"Command": command},
        "frames": frames,
        "block_size": 1,
    }
    return JobWork(**(values | changes))


def povray_job(scene: str, frames: str = "1-4", **changes: Any) -> JobWork:
    """A job that renders a scene of the work folder with POV-Ray."""
    parameters = changes.pop("parameters", {"Width": "32", "Height": "24"})
    values: dict[str, Any] = {
        "uid": "job-2",
        "generation": 1,
        "name": "teapot",
        "owner": "studio-a",
        "template": template_of("povray"),
        "parameters": parameters,
        "scene": scene,
        "frames": frames,
        "block_size": 1,
        "output_files": output_files("povray", "teapot", parameters),
    }
    return JobWork(**(values | changes))


def running_with(mark: str) -> list[int]:
    """Processes whose command line or environment contains a mark, zombies apart."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            text = (entry / "cmdline").read_bytes()
            if mark.encode() in text:
                found.append(int(entry.name))
    return found


async def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    """Poll for something outside of this process."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never came: {what}")
        await asyncio.sleep(0.02)

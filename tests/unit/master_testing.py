"""A real master over real HTTPS, in this process or one of its own, and who speaks to it."""

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from drqueue.farm.master.checking import problem_of
from drqueue.farm.master.master import Master
from drqueue.farm.master.settings import Settings
from drqueue.farm.protocol import (
    PROTOCOL_VERSION,
    VERSION_HEADER,
    AttemptEnd,
    AttemptReport,
    Changes,
    FileDone,
    FrameDone,
    JobOrder,
    JobProblem,
    JobReport,
    NodeOffer,
    WorkAnswer,
    WorkReport,
)
from drqueue.farm.state import Moment
from drqueue.security.ca import CertificateAuthority
from drqueue.security.identity import Identity
from pydantic import BaseModel

from tests.ports import Port

SESSION = "session-1"
HOUR = timedelta(hours=1)
OFFER = NodeOffer(cores=4, memory=2**30, renderers=("general", "povray"))


def now() -> Moment:
    return Moment(datetime.now(UTC), time.monotonic())


class Keys:
    """An authority, and the folders with what it issued."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.authority, _ = CertificateAuthority.create(lambda: datetime.now(UTC))

    def folder(self, name: str, identity: Identity, *, server: bool = False) -> Path:
        folder = self.root / name
        if not folder.exists():
            folder.mkdir(parents=True)
            self.write(folder, identity, server=server)
        return folder

    def write(self, folder: Path, identity: Identity, *, server: bool = False) -> None:
        issued = self.authority.issue(
            identity, validity=HOUR, dns_names=["localhost"] * server, server=server
        )
        (folder / "tls.crt").write_text(issued.certificate)
        (folder / "tls.key").write_text(issued.private_key)
        (folder / "ca.crt").write_text(issued.authority)


def client_context(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


class Caller:
    """Somebody with a certificate, speaking to the master."""

    def __init__(self, url: Callable[[], str], folder: Path) -> None:
        self._url = url
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=client_context(folder)),
            headers={VERSION_HEADER: str(PROTOCOL_VERSION)},
        )

    async def ask(
        self, method: str, path: str, body: BaseModel | bytes | None = None, **options: Any
    ) -> tuple[int, Any]:
        """The status, and the answer's JSON."""
        data = body.model_dump_json().encode() if isinstance(body, BaseModel) else body
        async with self.session.request(
            method, f"{self._url()}{path}", data=data, **options
        ) as answer:
            content = await answer.read()
            return answer.status, await answer.json() if content else None

    # operator

    async def put(self, order: JobOrder) -> JobReport:
        status, answer = await self.ask("PUT", f"/v1/jobs/{order.uid}", order)
        assert status == 200, answer
        return JobReport.model_validate(answer)

    async def changes(self, epoch: str = "", sequence: int = 0, wait: float = 0) -> Changes:
        status, answer = await self.ask(
            "GET", f"/v1/changes?epoch={epoch}&sequence={sequence}&wait={wait}"
        )
        assert status == 200, answer
        return Changes.model_validate(answer)

    async def job(self, uid: str) -> JobReport:
        return next(job for job in (await self.changes()).jobs if job.uid == uid)

    async def until(
        self, uid: str, condition: Callable[[JobReport], Any], seconds: float = 60.0
    ) -> JobReport:
        """Wait until something holds of a job."""
        deadline = time.monotonic() + seconds
        changes = await self.changes()
        while True:
            for job in changes.jobs:
                if job.uid == uid:
                    seen = job
                    if condition(job):
                        return job
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"never came; last seen: {seen}")
            changes = await self.changes(changes.epoch, changes.sequence, min(left, 5.0))

    # slave

    async def work(
        self,
        attempt: AttemptReport | None = None,
        wants_lease: bool = True,
        wait: float = 0.0,
        offer: NodeOffer = OFFER,
    ) -> WorkAnswer:
        report = WorkReport(
            offer=offer, attempt=attempt, wants_lease=wants_lease, wait_seconds=wait
        )
        status, answer = await self.ask("POST", "/v1/work", report)
        assert status == 200, answer
        return WorkAnswer.model_validate(answer)

    async def take(self, wait: float = 0.0) -> int:
        """Ask for a block; the attempt's number."""
        answer = await self.work(wait=wait)
        assert answer.lease is not None
        return answer.lease.attempt


def done(
    attempt: int, *frames: int, files: tuple[FileDone, ...] = (), end: str | None = "succeeded"
) -> AttemptReport:
    """A report of frames done, and of the end."""
    return AttemptReport(
        attempt=attempt,
        frames_done=tuple(FrameDone(frame=frame, seconds=0.5, files=files) for frame in frames),
        end=AttemptEnd.model_validate({"result": end}) if end else None,
    )


async def check_here(job: JobOrder, scene: str | None) -> JobProblem | None:
    """The checker's work without its process."""
    return problem_of(job, scene)


class Studio:
    """A master in this process, on a volume of its own."""

    def __init__(self, root: Path, lease_seconds: float) -> None:
        self.root = root
        self.keys = Keys(root / "tls")
        self.volume = root / "volume"
        self.volume.mkdir()
        self.settings = Settings(
            session_uid=SESSION,
            volume=self.volume,
            tls=self.keys.folder("master", Identity("master", SESSION), server=True),
            lease_seconds=lease_seconds,
            listen=("localhost", 0),
            health=("localhost", 0),
        )
        self.master = self.make()
        self._callers: list[Caller] = []
        self.operator = self.caller(Identity("operator"))

    def make(self) -> Master:
        return Master(self.settings, now, check_here)

    def caller(self, identity: Identity, keys: Keys | None = None) -> Caller:
        name = identity.uri.replace("/", "_")
        folder = (keys or self.keys).folder(name, identity)
        made = Caller(lambda: f"https://localhost:{self.master.port}", folder)
        self._callers.append(made)
        return made

    def node(self, name: str = "n0") -> Caller:
        return self.caller(Identity("node", SESSION, name, f"{name}-uid"))

    async def restart(self) -> None:
        await self.master.stop()
        self.master = self.make()
        await self.master.start()

    async def close(self) -> None:
        for caller in self._callers:
            await caller.session.close()
        await self.master.stop()

    def write_output(self, attempt: int, name: str, content: str) -> FileDone:
        """What a slave does: a file in its attempt's folder."""
        folder = self.volume / "work" / "attempts" / str(attempt)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        found = (folder / name).stat()
        return FileDone(path=name, size=len(content), mark=(found.st_ino, found.st_mtime_ns))


@contextlib.asynccontextmanager
async def studio(root: Path, lease_seconds: float = 60.0) -> AsyncIterator[Studio]:
    made = Studio(root, lease_seconds)
    try:
        await made.master.start()
        yield made
    finally:
        await made.close()


class Program:
    """A `drqueue-master` of its own process."""

    def __init__(self, keys: Keys, root: Path, lease_seconds: float = 60.0) -> None:
        self.volume = root / "volume"
        self.volume.mkdir(exist_ok=True)
        self.port, self._health = Port(), Port()
        self.log = root / "master.log"
        self.environment = os.environ | {
            "DRQUEUE_SESSION_UID": SESSION,
            "DRQUEUE_VOLUME": str(self.volume),
            "DRQUEUE_TLS": str(keys.folder("master", Identity("master", SESSION), server=True)),
            "DRQUEUE_LISTEN": self.port.address,
            "DRQUEUE_HEALTH": self._health.address,
            "DRQUEUE_LEASE_SECONDS": str(lease_seconds),
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port.number}"

    async def start(self, seconds: float = 120.0) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 a moment
                [sys.executable, "-c", "from drqueue.farm.master.main import main; main()"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + seconds
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://{self._health.address}/readyz") as answer:
                        if answer.status == 200:
                            return
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(self.log.read_text()[-3000:])
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it for good."""
        if self.process is not None:
            self.kill()
        self.port.close()
        self._health.close()

    def terminate(self, seconds: float = 60.0) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(seconds)


class SlaveProgram:
    """A `drqueue-slave` of its own process."""

    def __init__(self, keys: Keys, program: Program, name: str) -> None:
        tls = keys.folder(name, Identity("node", SESSION, name, f"{name}-uid"))
        scratch = program.volume.parent / f"{name}-scratch"
        scratch.mkdir()
        self.log = program.volume.parent / f"{name}.log"
        environment = os.environ | {
            "TMPDIR": str(scratch),
            "DRQUEUE_MASTER_URL": program.url,
            "DRQUEUE_TLS": str(tls),
            "DRQUEUE_WORK": str(program.volume / "work"),
            "DRQUEUE_NODE_CORES": "1",
            "DRQUEUE_NODE_MEMORY": str(2**30),
            "DRQUEUE_NODE_RENDERERS": "general",
            "DRQUEUE_HEALTH": "127.0.0.1:0",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from drqueue.farm.slave.main import main; main()"],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def read_frames(program: Program, uid: str) -> dict[int, dict[str, Any]]:
    """What `drqueue-reader frames` says, by frame."""
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            "from drqueue.farm.reader.main import main; main()",
            "frames",
            "--job-uid",
            uid,
        ],
        env=program.environment,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return {row["frame"]: row for row in json.loads(answer.stdout)["frames"]}

"""A real master and real slaves as processes on this machine: a farm without Kubernetes."""

import asyncio
import base64
import contextlib
import os
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from drqueue.farm.protocol import (
    PROTOCOL_VERSION,
    VERSION_HEADER,
    Changes,
    JobOrder,
    JobReport,
    SceneOrder,
)
from drqueue.farm.slave.processes import ProcessTree
from drqueue.security.ca import CertificateAuthority
from drqueue.security.identity import Identity

from tests.ports import Port

SESSION = "session-uid-1"


class Program:
    """One process of the farm, with its log in a file."""

    def __init__(self, name: str, code: str, log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.log = log
        self._code = code
        self._environment = environment
        self.process: asyncio.subprocess.Process | None = None
        self._tree: ProcessTree | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", self._code, env=self._environment, stdout=log, stderr=log
            )
        self._tree = ProcessTree(self.process.pid)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def wait(self, seconds: float = 60.0) -> int:
        assert self.process is not None
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            # what a slave renders would live on without it
            below = self._tree.living() if self._tree is not None else []
            with contextlib.suppress(ProcessLookupError):
                self.send(signal.SIGCONT)
                self.send(signal.SIGKILL)
            await self.process.wait()
            for process in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)


class Farm:
    """A master, and slaves as they are started; the operator's side of the protocol."""

    def __init__(self, folder: Path, lease_seconds: float) -> None:
        self.folder = folder
        self.volume = folder / "volume"
        self.work = self.volume / "work"
        self.slaves: list[Program] = []
        self._lease_seconds = lease_seconds
        self._authority, _ = CertificateAuthority.create(lambda: datetime.now(UTC))
        self._port, self._health = Port(), Port()
        self._session: aiohttp.ClientSession | None = None
        self.volume.mkdir()
        self.master = self._master()

    def _certificate(self, name: str, identity: Identity, server: bool = False) -> Path:
        issued = self._authority.issue(
            identity, validity=timedelta(hours=1), dns_names=["localhost"] * server, server=server
        )
        folder = self.folder / f"tls-{name}"
        folder.mkdir()
        (folder / "tls.crt").write_text(issued.certificate)
        (folder / "tls.key").write_text(issued.private_key)
        (folder / "ca.crt").write_text(issued.authority)
        return folder

    def _master(self) -> Program:
        tls = self._certificate("master", Identity("master", SESSION), server=True)
        environment = _basic_environment(self.folder) | {
            "DRQUEUE_SESSION_UID": SESSION,
            "DRQUEUE_VOLUME": str(self.volume),
            "DRQUEUE_TLS": str(tls),
            "DRQUEUE_LEASE_SECONDS": str(self._lease_seconds),
            "DRQUEUE_LISTEN": self._port.address,
            "DRQUEUE_HEALTH": self._health.address,
            "DRQUEUE_SOCKET": str(self.folder / "reader.sock"),
        }
        code = "from drqueue.farm.master.main import main; main()"
        return Program("master", code, self.folder / "master.log", environment)

    async def add_slave(self, **variables: str) -> Program:
        number = len(self.slaves)
        name = f"node-{number}"
        scratch = self.folder / f"scratch-{number}"
        scratch.mkdir()
        tls = self._certificate(name, Identity("node", SESSION, name, f"uid-{name}"))
        environment = _basic_environment(scratch) | {
            "DRQUEUE_MASTER_URL": f"https://localhost:{self._port.number}",
            "DRQUEUE_TLS": str(tls),
            "DRQUEUE_WORK": str(self.work),
            "DRQUEUE_NODE_CORES": "2",
            "DRQUEUE_NODE_MEMORY": str(2**30),
            "DRQUEUE_NODE_RENDERERS": "povray,general",
            "DRQUEUE_HEALTH": "127.0.0.1:0",
            **variables,
        }
        code = "from drqueue.farm.slave.main import main; main()"
        slave = Program(name, code, self.folder / f"{name}.log", environment)
        await slave.start()
        self.slaves.append(slave)
        return slave

    async def start(self) -> None:
        tls = self._certificate("operator", Identity("operator"))
        context = ssl.create_default_context(cafile=str(tls / "ca.crt"))
        context.load_cert_chain(tls / "tls.crt", tls / "tls.key")
        self._session = aiohttp.ClientSession(
            f"https://localhost:{self._port.number}",
            connector=aiohttp.TCPConnector(ssl=context),
            headers={VERSION_HEADER: str(PROTOCOL_VERSION)},
        )
        await self.master.start()

    async def stop(self) -> None:
        for program in (*self.slaves, self.master):
            await program.kill()
        self._port.close()
        self._health.close()
        if self._session is not None:
            await self._session.close()

    async def put(self, order: JobOrder) -> JobReport:
        async with asyncio.timeout(120):
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    return JobReport.model_validate_json(
                        await self._call("PUT", f"/v1/jobs/{order.uid}", order.model_dump_json())
                    )
                assert self.master.process is not None
                assert self.master.process.returncode is None, self.master.log.read_text()
                await asyncio.sleep(0.05)

    async def delete(self, uid: str) -> None:
        await self._call("DELETE", f"/v1/jobs/{uid}")

    async def report(self, uid: str) -> JobReport:
        """What the master says of a job now."""
        changes = Changes.model_validate_json(
            await self._call("GET", "/v1/changes?epoch=&sequence=0&wait=0")
        )
        return next(job for job in changes.jobs if job.uid == uid)

    async def until(
        self, uid: str, condition: Callable[[JobReport], bool], seconds: float = 120.0
    ) -> JobReport:
        """Ask until something holds of a job; says what was last heard when it never does."""
        deadline = time.monotonic() + seconds
        report: JobReport | None = None
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                report = await self.report(uid)
                if condition(report):
                    return report
            await asyncio.sleep(0.1)
        raise AssertionError(f"never came; last heard: {report}")

    async def _call(self, method: str, path: str, body: str | None = None) -> bytes:
        assert self._session is not None
        async with self._session.request(method, path, data=body) as answer:
            content = await answer.read()
            assert answer.status in (200, 204), f"{method} {path}: {answer.status} {content!r}"
            return content


@contextlib.asynccontextmanager
async def real_farm(folder: Path, lease_seconds: float = 60.0) -> AsyncIterator[Farm]:
    """A running master; all logs are printed when the test fails."""
    farm = Farm(folder, lease_seconds)
    await farm.start()
    try:
        yield farm
    except BaseException:
        for program in (farm.master, *farm.slaves):
            if program.log.exists():
                print(f"--- {program.name}\n{program.log.read_text()[-8000:]}")  # noqa: T201
        raise
    finally:
        await farm.stop()


def order(name: str, frames: str, **changes: Any) -> JobOrder:
    """A job order as the operator would send it."""
    values: dict[str, Any] = {
        "uid": f"uid-{name}",
        "generation": 1,
        "name": name,
        "owner": "studio-a",
        "created_at": datetime.now(UTC),
        "priority": 50,
        "frames": frames,
        "block_size": 1,
        "retries": 3,
        "renderer": "general",
        "output_folder": f"outputs/{name}",
    }
    return JobOrder(**(values | changes))


def scene(text: str) -> SceneOrder:
    """A scene as it comes from a ConfigMap."""
    content = base64.b64encode(text.encode()).decode()
    return SceneOrder(file_name="scene.pov", content_base64=content)


def _basic_environment(scratch: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        # a short path: the master's socket lies there, and may have 107 bytes
        "TMPDIR": tempfile.gettempdir(),
        "LANG": "C.UTF-8",
    }

"""A master and slaves as plain processes on this machine, without Kubernetes."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from drqueue.farm.protocol import PROTOCOL_VERSION, VERSION_HEADER, Changes, JobOrder
from drqueue.security.ca import CertificateAuthority
from drqueue.security.identity import Identity

SESSION_UID = "bench-session"
DAY = timedelta(days=1)
START_SECONDS = 30


_kept: list[socket.socket] = []


def free_port() -> int:
    """A port of the loopback interface, kept as long as this process lives: nobody else is given
    it, and a program that sets SO_REUSEADDR, as asyncio does, can listen on it."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", 0))
    _kept.append(found)
    return int(found.getsockname()[1])


@dataclass
class BareFarm:
    """A running master, and how the operator speaks to it."""

    scratch: Path
    authority: CertificateAuthority
    port: int
    process: subprocess.Popen[bytes]

    def keys(self, name: str, identity: Identity, *, server: bool = False) -> Path:
        """Write a key pair of this farm's authority into a folder, and return the folder."""
        return write_keys(self.scratch / "tls" / name, self.authority, identity, server=server)

    def ask(self, method: str, path: str, body: str | None = None) -> Any:
        """One request as the operator; returns the JSON answer."""
        folder = self.scratch / "tls" / "operator"
        if not folder.exists():
            self.keys("operator", Identity("operator"))
        context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        request = urllib.request.Request(
            f"https://localhost:{self.port}{path}",
            method=method,
            data=body.encode() if body else None,
            headers={VERSION_HEADER: str(PROTOCOL_VERSION), "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def put(self, order: JobOrder) -> None:
        """Hand a job to the master."""
        self.ask("PUT", f"/v1/jobs/{order.uid}", order.model_dump_json())

    def changes(self) -> Changes:
        """All that the master says of its jobs and nodes."""
        return Changes.model_validate(self.ask("GET", "/v1/changes?epoch=&sequence=0&wait=0"))

    def succeeded(self, uid: str) -> int:
        """How many of a job's frames count as done."""
        return next((job.succeeded for job in self.changes().jobs if job.uid == uid), 0)

    def wait_succeeded(self, uid: str, count: int, seconds: float) -> None:
        """Wait until so many frames are done. Raises TimeoutError with what was seen."""
        deadline = time.monotonic() + seconds
        while (done := self.succeeded(uid)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{done} of {count} frames after {seconds} s")
            time.sleep(0.05)


def write_keys(
    folder: Path, authority: CertificateAuthority, identity: Identity, *, server: bool = False
) -> Path:
    """Issue a key pair and write tls.crt, tls.key and ca.crt into a folder."""
    folder.mkdir(parents=True)
    names = ["localhost"] if server else []
    issued = authority.issue(identity, validity=DAY, dns_names=names, server=server)
    (folder / "tls.crt").write_text(issued.certificate)
    (folder / "tls.key").write_text(issued.private_key)
    (folder / "ca.crt").write_text(issued.authority)
    return folder


@contextlib.contextmanager
def master(scratch: Path) -> Iterator[BareFarm]:
    """A master process on a volume of its own, stopped at the end."""
    authority, _ = CertificateAuthority.create(lambda: datetime.now(UTC))
    port, health = free_port(), free_port()
    volume = scratch / "volume"
    volume.mkdir(parents=True)
    tls = write_keys(
        scratch / "tls" / "master", authority, Identity("master", SESSION_UID), server=True
    )
    environment = os.environ | {
        "DRQUEUE_SESSION_UID": SESSION_UID,
        "DRQUEUE_VOLUME": str(volume),
        "DRQUEUE_TLS": str(tls),
        "DRQUEUE_LISTEN": f"127.0.0.1:{port}",
        "DRQUEUE_HEALTH": f"127.0.0.1:{health}",
    }
    program = Path(sys.executable).with_name("drqueue-master")
    with (
        (scratch / "master.log").open("wb") as log,
        subprocess.Popen([str(program)], env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_ready(f"http://127.0.0.1:{health}/readyz", process, scratch / "master.log")
            yield BareFarm(scratch, authority, port, process)
        finally:
            process.terminate()


@contextlib.contextmanager
def slaves(farm: BareFarm, count: int, program: Sequence[str]) -> Iterator[list[int]]:
    """Slave processes, told to leave at the end; gives their pids."""
    running = []
    for number in range(count):
        tls = farm.keys(
            f"slave{number}", Identity("node", SESSION_UID, f"slave{number}", f"node-{number}")
        )
        environment = os.environ | {
            "DRQUEUE_MASTER_URL": f"https://localhost:{farm.port}",
            "DRQUEUE_TLS": str(tls),
            "DRQUEUE_WORK": str(farm.scratch / "volume" / "work"),
            "DRQUEUE_NODE_CORES": "1",
            "DRQUEUE_NODE_MEMORY": str(2**30),
            "DRQUEUE_NODE_RENDERERS": "povray,general",
            "DRQUEUE_HEALTH": f"127.0.0.1:{free_port()}",
        }
        log = (farm.scratch / f"slave{number}.log").open("wb")
        running.append(subprocess.Popen(list(program), env=environment, stdout=log, stderr=log))
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=30)


def _wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(url, timeout=2) as answer,
        ):
            if answer.status == 200:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the master did not start:\n{log.read_text()[-4000:]}")
        time.sleep(0.05)

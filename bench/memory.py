"""Memory of the operator with 1,000 sessions and 10,000 jobs stored, and from start to ready."""

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drqueue.api import API_VERSION
from drqueue.control.client import Client
from drqueue.control.errors import AlreadyExists
from drqueue.control.limiter import Limiter
from drqueue.control.metrics import Metrics
from drqueue.control.transport import Transport, connect

from bench.figures import Figure
from devcluster import local
from tests.control_plane import apply_crds

NAMESPACES = 20
SESSIONS = 1_000
JOBS_A_SESSION = 10
LISTEN = "127.0.0.1:18089"
READY_WITHIN = 180.0
SETTLED_AFTER = 10.0
AT_ONCE = 24


def measure(scratch: Path) -> list[Figure]:
    """Fill a control plane of its own with finished work, and start the operator on it."""
    name = "bench-memory"
    try:
        kubeconfig = local.start(name, "control-plane").kubeconfig
        apply_crds(kubeconfig)
        os.environ["KUBECONFIG"] = str(kubeconfig)
        return measure_on(scratch)
    finally:
        local.stop(name)


def measure_on(scratch: Path) -> list[Figure]:
    """The same on the cluster of KUBECONFIG, where our CRDs are."""
    asyncio.run(fill())
    seconds, resident, peak = start(scratch / "operator.log")
    objects = SESSIONS * (1 + JOBS_A_SESSION)
    return [
        Figure("memory", f"operator with {objects:,} objects", resident, "MB", "≤ 256"),
        Figure("memory", "the same, at its highest", peak, "MB"),
        Figure("memory", "from start to ready with them", seconds, "s", "≤ 20"),
    ]


async def fill() -> None:
    """Make what is missing of the sessions and jobs, with the status of finished work."""
    async with await connect() as api:
        limiter = Limiter(10_000, 1_000, time.monotonic)
        client = Client(Transport(api, limiter, Metrics()))
        for number in range(NAMESPACES):
            await client.apply(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _namespace(number)}}
            )
        await client.apply(
            {
                "apiVersion": API_VERSION,
                "kind": "RenderNodeClass",
                "metadata": {"name": "cpu-small"},
                "spec": {"provider": {"kubernetes": {}}},
            }
        )
        work = _objects()
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(_make(client, work))


async def _make(client: Client, work: Iterator[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    for obj, status in work:
        try:
            made = await client.create(obj)
        except AlreadyExists:
            continue
        await client.update_status(made, status)


def _namespace(number: int) -> str:
    return f"bench-memory-{number % NAMESPACES}"


def _objects() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for number in range(SESSIONS):
        meta = {"namespace": _namespace(number), "name": f"session-{number}"}
        session = {"nodeClassName": "cpu-small", "nodes": 4, "renderTime": "4h", "suspend": True}
        yield _object("RenderSession", meta, session), _session_status(number)
        for index in range(JOBS_A_SESSION):
            name = f"job-{number}-{index}"
            job = {
                "sessionName": f"session-{number}",
                "renderer": "povray",
                "scene": {"path": f"scenes/shot-{number}/scene-{index}.pov"},
                "frames": "1-240",
                "blockSize": 4,
                "parameters": {"Width": "1920", "Height": "1080"},
                "suspend": True,
            }
            yield _object("RenderJob", {**meta, "name": name}, job), _job_status(number, name)


def _object(kind: str, meta: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    labels = {"drqueue.org/show": "benchmark"}
    finalizers = ["drqueue.org/finalizer"]
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {**meta, "labels": labels, "finalizers": finalizers},
        "spec": spec,
    }


def _conditions(number: int, *types: str) -> list[dict[str, Any]]:
    return [
        {
            "type": type_,
            "status": "True",
            "reason": "AsWanted",
            "message": f"All that session {number} needs is there",
            "lastTransitionTime": f"2026-10-{1 + number % 28:02}T10:00:00Z",
            "observedGeneration": 1,
        }
        for type_ in types
    ]


def _session_status(number: int) -> dict[str, Any]:
    return {
        "observedGeneration": 1,
        "phase": "Asleep",
        "conditions": _conditions(number, "Ready", "VolumeReady", "MasterReady", "NodesAvailable"),
        "renderTime": {"granted": "16h", "used": "2h", "remaining": "14h"},
        "claimName": f"session-{number}-volume",
    }


def _job_status(number: int, name: str) -> dict[str, Any]:
    return {
        "observedGeneration": 1,
        "phase": "Succeeded",
        "conditions": _conditions(number, "Ready", "Accepted", "Complete"),
        "frames": {"total": 240, "waiting": 0, "running": 0, "succeeded": 240, "failed": 0},
        "succeededFrames": "1-240",
        "progress": "100%",
        "outputFolder": f"outputs/{name}",
        "startedAt": "2026-10-01T10:00:00Z",
        "finishedAt": f"2026-10-01T11:00:{number % 60:02}Z",
    }


def start(
    log: Path, command: tuple[str, ...] = ("-m", "drqueue.control.main")
) -> tuple[float, ...]:
    """Start the operator; answers the seconds until it was ready, and its memory (MB) then and
    at its highest."""
    began = time.monotonic()
    environment = {**os.environ, "DRQUEUE_LISTEN": LISTEN, "DRQUEUE_NAMESPACE": _namespace(0)}
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *command], env=environment, stderr=output)
    try:
        while not _is_ready():
            if process.poll() is not None or time.monotonic() - began > READY_WITHIN:
                raise RuntimeError(f"the operator is not ready:\n{log.read_text()[-4000:]}")
            time.sleep(0.1)
        ready = time.monotonic() - began
        time.sleep(SETTLED_AFTER)
        return ready, _memory(process.pid, "VmRSS"), _memory(process.pid, "VmHWM")
    finally:
        process.terminate()
        process.wait(30)


def _is_ready() -> bool:
    try:
        with urllib.request.urlopen(f"http://{LISTEN}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _memory(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/{pid}/status has no {field}")

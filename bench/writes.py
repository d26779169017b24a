"""What the operator writes: for a job of few frames, of many, and with nothing to do."""

import sys
import time
from pathlib import Path
from typing import Any

from bench.audit import Requests
from bench.farm import free_port
from bench.figures import Figure
from bench.operator_process import USER, make_class, operator
from bench.plane import CLAIM, NAMESPACE, OURS, Plane, plane
from bench.played import Played
from bench.programs import Program, wait_for
from bench.scaleup import settle

MANY = 1_000
FEW = 10
PACE = {"DRQUEUE_BENCH_FRAME_SECONDS": "0.02"}
PROGRESS_SECONDS = 5.0
IDLE_SECONDS = 60.0
LONGEST = 180.0
JOBS = f"{OURS}/namespaces/{NAMESPACE}/renderjobs"
SESSIONS = f"{OURS}/namespaces/{NAMESPACE}/rendersessions"
LEASES = frozenset({"leases"})


def measure(scratch: Path) -> list[Figure]:
    """Run jobs from creation to deletion, by a real master and slaves, and then do nothing."""
    port = free_port()
    environment = {"DRQUEUE_MASTER_ADDRESS": f"127.0.0.1:{port}"}
    with (
        plane(scratch, "writes", 2) as made,
        operator(made, scratch / "operator.log", environment) as running,
        Played(made, scratch, port, PACE) as played,
    ):
        make_class(made)
        made.admin.create(SESSIONS, _session())
        settle(made, USER)
        _life(made, running, played, "warm-up", FEW)
        few, few_all, _ = _life(made, running, played, "few", FEW)
        many, many_all, seconds = _life(made, running, played, "many", MANY)
        mark = made.audit.mark()
        time.sleep(IDLE_SECONDS)
        idle = made.audit.since(mark, USER, LEASES)
    print(f"idle: {idle}", file=sys.stderr, flush=True)
    progress = int(seconds / PROGRESS_SECONDS)
    return [
        Figure("writes", f"a job of {FEW} frames, its own", few, "", "≤ 8"),
        Figure("writes", f"a job of {MANY:,} frames, its own", many, "", f"≤ 8 + {progress}"),
        Figure("writes", f"the same took (one write per {PROGRESS_SECONDS:g} s)", seconds, "s"),
        Figure("writes", f"all writes while the job of {FEW} frames lived", few_all, ""),
        Figure("writes", f"all writes while the job of {MANY:,} frames lived", many_all, ""),
        Figure("writes", f"idle for {IDLE_SECONDS:g} s: writes, Lease aside", idle.writes, "", "0"),
        Figure("writes", f"idle for {IDLE_SECONDS:g} s: reads", idle.total - idle.writes, ""),
    ]


def _life(
    made: Plane, running: Program, played: Played, name: str, frames: int
) -> tuple[int, int, float]:
    """From creation to deletion: writes for the job, all writes, seconds until it succeeded."""
    path = f"{JOBS}/{name}"
    mark, start = made.audit.mark(), time.monotonic()
    made.admin.create(JOBS, _job(name, frames))

    def succeeded() -> bool:
        running.require_running()
        played.tick("master", "slave")
        status: dict[str, Any] = made.admin.ask("GET", path).get("status") or {}
        return status.get("phase") == "Succeeded"

    wait_for(succeeded, LONGEST, lambda: f"{made.admin.ask('GET', path)}\n{running.tail()}")
    seconds = time.monotonic() - start
    _rest(made, played)
    made.admin.delete(path)
    wait_for(lambda: not made.admin.found(path), LONGEST, running.tail)
    _rest(made, played)
    requests = made.audit.since(mark, USER, LEASES)
    print(f"{name}: {seconds:.1f} s; {requests}", file=sys.stderr, flush=True)
    return _of_job(requests), requests.writes, seconds


def _rest(made: Plane, played: Played) -> None:
    """Wait until session and nodes are through with it too."""
    session = f"{SESSIONS}/farm"

    def asleep() -> bool:
        played.tick("master", "slave")
        return bool(made.admin.ask("GET", session)["status"].get("master") == "Asleep")

    wait_for(asleep, LONGEST, lambda: str(made.admin.ask("GET", session)))
    settle(made, USER)


def _of_job(requests: Requests) -> int:
    """Writes to RenderJobs. (Events are told of nodes and sessions too, so they are in the sum.)"""
    return sum(
        count
        for what, count in requests.mutating.items()
        if what.split()[1].partition("/")[0] == "renderjobs"
    )


def _session() -> dict[str, Any]:
    return {
        "apiVersion": "drqueue.org/v1alpha1",
        "kind": "RenderSession",
        "metadata": {"name": "farm"},
        "spec": {
            "nodeClassName": "bench",
            "nodes": 2,
            "renderTime": "4h",
            "storage": {"claimName": CLAIM},
        },
    }


def _job(name: str, frames: int) -> dict[str, Any]:
    return {
        "apiVersion": "drqueue.org/v1alpha1",
        "kind": "RenderJob",
        "metadata": {"name": name},
        "spec": {
            "sessionName": "farm",
            "renderer": "general",
            "parameters": {"Command": "true"},
            "frames": f"1-{frames}",
        },
    }

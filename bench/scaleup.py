"""From nothing to 500 slave pods Running on kwok's nodes, to half of them, to none.

Each contender has a fresh control plane with the same nodes, so that none works among the leavings
of another: the bare writes (the floor), our operator, the bare writes again, dask-kubernetes.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import dask_cluster
from bench.admin import Live
from bench.audit import Requests
from bench.farm import free_port
from bench.figures import Figure
from bench.floor import SLAVES
from bench.operator_process import USER, make_class, operator
from bench.plane import CLAIM, NAMESPACE, OURS, PODS, Plane, plane
from bench.played import Played
from bench.programs import Program, program, wait_for

COUNT = int(os.environ.get("DRQUEUE_BENCH_NODES", "500"))
MACHINES = int(os.environ.get("DRQUEUE_BENCH_MACHINES", "100"))
LONGEST = 300.0
QUIET_SECONDS = 3.0
SESSIONS = f"{OURS}/namespaces/{NAMESPACE}/rendersessions"
JOBS = f"{OURS}/namespaces/{NAMESPACE}/renderjobs"
NODES = f"{OURS}/namespaces/{NAMESPACE}/rendernodes"


@dataclass(frozen=True)
class Scale:
    """What it took to have all pods Running, and to come to rest after it."""

    seconds: float
    cpu: float
    megabytes: float
    requests: Requests

    @property
    def writes_a_node(self) -> float:
        """Mutating requests for each pod."""
        return self.requests.writes / COUNT


@dataclass(frozen=True)
class Taken:
    """A contender's whole run: up, seconds down to half (None: not to be had), seconds to none."""

    up: Scale
    half: float | None = None
    none: float | None = None


def measure(scratch: Path) -> list[Figure]:
    """Measure all contenders in turn."""
    before = _floor(scratch, "floor")
    ours = _drqueue(scratch)
    after = _floor(scratch, "floor-again")
    dask = _dask(scratch)
    floor = (before.seconds + after.seconds) / 2
    pods = f"{COUNT} pods Running"

    def figure(name: str, value: float, unit: str, aim: str = "") -> Figure:
        return Figure("scaleup", name, value, unit, aim)

    return [
        figure(f"bare writes: {pods} (mean of before and after)", floor, "s"),
        figure("bare writes: writes a node", before.writes_a_node, ""),
        figure("bare writes: CPU", (before.cpu + after.cpu) / 2, "s"),
        figure(f"DrQueue: {pods}", ours.up.seconds, "s"),
        figure("DrQueue: writes a node", ours.up.writes_a_node, "", "≤ 4"),
        figure("DrQueue: all requests", ours.up.requests.total, ""),
        figure("DrQueue: operator's CPU", ours.up.cpu, "s", "less than dask-kubernetes"),
        figure("DrQueue: operator's memory", ours.up.megabytes, "MB"),
        *([figure("DrQueue: down to half", ours.half, "s")] if ours.half else []),
        *([figure("DrQueue: session deleted", ours.none, "s")] if ours.none else []),
        figure(f"dask-kubernetes: {pods}", dask.up.seconds, "s"),
        figure("dask-kubernetes: writes a node", dask.up.writes_a_node, ""),
        figure("dask-kubernetes: all requests", dask.up.requests.total, ""),
        figure("dask-kubernetes: operator's CPU", dask.up.cpu, "s"),
        figure("dask-kubernetes: operator's memory", dask.up.megabytes, "MB"),
        *([figure("dask-kubernetes: cluster deleted", dask.none, "s")] if dask.none else []),
        figure("DrQueue / bare writes, time", ours.up.seconds / floor, "×", "≤ 1.5"),
        figure("dask-kubernetes / DrQueue, time", dask.up.seconds / ours.up.seconds, "×", "≥ 8"),
        figure("dask-kubernetes / DrQueue, CPU", dask.up.cpu / ours.up.cpu, "×", "> 1"),
    ]


def _floor(scratch: Path, name: str) -> Scale:
    with plane(scratch, name, MACHINES) as made:
        make_class(made)
        made.admin.create(SESSIONS, _session())
        command = [sys.executable, "-m", "bench.floor", made.user("floor"), "farm", str(COUNT)]
        with program(command, scratch / f"{name}.log", {}) as running:
            wait_for(lambda: "ready" in running.require_running().tail(), 60, running.tail)
            return _up(made, running, "floor", SLAVES, lambda: _say_go(running))


def _say_go(running: Program) -> None:
    if running.process.stdin is None:
        raise RuntimeError("started without a standard input")
    running.process.stdin.write(b"go\n")
    running.process.stdin.flush()


def _drqueue(scratch: Path) -> Taken:
    port = free_port()
    master = {"DRQUEUE_MASTER_ADDRESS": f"127.0.0.1:{port}"}
    with (
        plane(scratch, "drqueue", MACHINES) as made,
        operator(made, scratch / "operator.log", master) as running,
        Played(made, scratch, port) as played,
    ):
        make_class(made)
        made.admin.create(JOBS, _job())
        time.sleep(1.0)  # the job's first condition is written before the clock starts
        with _on_failure(running):
            up = _up(made, running, USER, SLAVES, lambda: made.admin.create(SESSIONS, _session()))
            played.tick("master")  # until now the operator went by the job's spec alone
            settle(made, USER)
            half = _half(made, running)
            none = _delete(made, running)
        return Taken(up, half, none)


def _half(made: Plane, running: Program) -> float:
    with Live(made.admin, PODS, labels=SLAVES) as live:
        start = time.perf_counter()
        made.admin.patch(f"{SESSIONS}/farm", {"spec": {"nodes": COUNT // 2}})
        still = running.require_running
        return live.wait("slave pods", lambda n: n <= COUNT // 2, LONGEST, still) - start


def _delete(made: Plane, running: Program) -> float:
    with Live(made.admin, SESSIONS) as live:
        start = time.perf_counter()
        made.admin.delete(f"{SESSIONS}/farm")
        return live.wait("sessions", lambda n: n == 0, LONGEST, running.require_running) - start


def _dask(scratch: Path) -> Taken:
    with (
        plane(scratch, "dask", MACHINES) as made,
        dask_cluster.operator(made, scratch / "dask.log") as running,
        _on_failure(running),
    ):
        labels = dask_cluster.WORKERS
        up = _up(made, running, "dask", labels, lambda: dask_cluster.create(made, COUNT))
        with Live(made.admin, PODS, labels=labels) as live:
            start = time.perf_counter()
            dask_cluster.delete(made)
            none = live.wait("worker pods", lambda n: n == 0, LONGEST) - start
        return Taken(up, None, none)


def _up(made: Plane, running: Program, user: str, labels: str, go: Callable[[], object]) -> Scale:
    mark, cpu = made.audit.mark(), running.cpu_seconds
    with Live(made.admin, PODS, labels=labels, fields="status.phase=Running") as live:
        start = time.perf_counter()
        go()
        seconds = (
            live.wait("pods Running", lambda n: n >= COUNT, LONGEST, running.require_running)
            - start
        )
    settle(made, user)
    requests = made.audit.since(mark, user)
    print(f"{user}: {seconds:.2f} s; {requests}", file=sys.stderr, flush=True)
    return Scale(seconds, running.cpu_seconds - cpu, running.megabytes(), requests)


def settle(made: Plane, user: str) -> None:
    """Wait until a user has written nothing (its Lease aside) for some seconds."""
    deadline = time.monotonic() + 60
    while True:
        mark = made.audit.mark()
        time.sleep(QUIET_SECONDS)
        requests = made.audit.since(mark, user, frozenset({"leases"}))
        if not requests.writes:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{user} does not come to rest: {requests}")


@contextlib.contextmanager
def _on_failure(running: Program) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        error.add_note(running.tail())
        raise


def _session() -> dict[str, object]:
    return {
        "apiVersion": "drqueue.org/v1alpha1",
        "kind": "RenderSession",
        "metadata": {"name": "farm"},
        "spec": {
            "nodeClassName": "bench",
            "nodes": COUNT,
            "renderTime": "4h",
            "storage": {"claimName": CLAIM},
        },
    }


def _job() -> dict[str, object]:
    return {
        "apiVersion": "drqueue.org/v1alpha1",
        "kind": "RenderJob",
        "metadata": {"name": "frames"},
        "spec": {
            "sessionName": "farm",
            "renderer": "general",
            "parameters": {"Command": "true"},
            "frames": f"1-{COUNT * 2}",
        },
    }

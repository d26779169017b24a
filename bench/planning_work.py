"""What a session's change has a real operator do, among few other sessions and among many."""

import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.audit import Requests
from bench.farm import free_port
from bench.figures import Figure
from bench.operator_process import USER, make_class, operator
from bench.plane import NAMESPACE, OURS, Plane, plane
from bench.programs import Program, wait_for
from bench.scaleup import settle

FEW, MANY = 10, 1_000
LONGEST = 600.0
HERE = f"{OURS}/namespaces/{NAMESPACE}"
CLASS = f"{OURS}/rendernodeclasses/bench"
LEASES = frozenset({"leases"})


class Work(NamedTuple):
    """What was done from one moment to another."""

    reconciles: int
    requests: Requests


def measure(scratch: Path) -> list[Figure]:
    """Start and stop a session's two nodes, with 10 others on its class and with 1,000."""
    listen = f"127.0.0.1:{free_port()}"
    nobody = f"127.0.0.1:{free_port()}"  # no master answers: the operator goes by the job's spec
    environment = {"DRQUEUE_LISTEN": listen, "DRQUEUE_MASTER_ADDRESS": nobody}
    with (
        plane(scratch, "planning", 1) as made,
        operator(made, scratch / "operator.log", environment) as running,
    ):
        make_class(made)
        limits = {"nodes": 100_000, "nodesPerTenant": 50_000, "nodesPerSession": 5_000}
        made.admin.patch(CLASS, {"spec": {"limits": limits}})
        made.admin.create(f"{HERE}/renderjobs", _job())
        made.admin.create(f"{HERE}/rendersessions", _session("changed"))
        _others(made, running, 0, FEW)
        _change(made, running, listen)  # the first one of all costs more: CA, connections
        few = _change(made, running, listen)
        _others(made, running, FEW, MANY)
        many = _change(made, running, listen)
    return [*_figures(FEW, few, ""), *_figures(MANY, many, "as with 10")]


def _figures(others: int, work: Work, aim: str) -> Iterator[Figure]:
    what = f"2 nodes started and stopped, {others:,} others there"
    yield Figure("planning", f"{what}: reconciles", work.reconciles, "", aim)
    yield Figure("planning", f"{what}: writes", work.requests.writes, "", aim)
    yield Figure("planning", f"{what}: reads", work.requests.total - work.requests.writes, "", aim)


def _others(made: Plane, running: Program, first: int, last: int) -> None:
    """Sessions on the same class, asleep, with claims that are bound."""

    def make(number: int) -> None:
        volume = {
            "metadata": {"name": f"other-{number}"},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "bench",
                "hostPath": {"path": "/nowhere"},
            },
        }
        claim = {
            "metadata": {"name": f"other-{number}"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "bench",
                "volumeName": f"other-{number}",
                "resources": {"requests": {"storage": "10Gi"}},
            },
        }
        made.admin.create("/api/v1/persistentvolumes", volume)
        made.admin.create(f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims", claim)
        made.admin.create(f"{HERE}/rendersessions", _session(f"other-{number}"))

    for number in range(first, last):
        make(number)

    def bound_and_asleep() -> bool:
        running.require_running()
        sessions = made.admin.ask("GET", f"{HERE}/rendersessions")["items"]
        return sum(map(_rests, sessions)) >= last

    # who sleeps while its claim is not bound yet is looked at once more when it is: a controller
    # of Kubernetes' own binds some of the claims up to 15 s late
    wait_for(bound_and_asleep, LONGEST, running.tail)
    settle(made, USER)


def _rests(session: dict[str, Any]) -> bool:
    status = session.get("status") or {}
    true = {found["type"] for found in status.get("conditions", ()) if found["status"] == "True"}
    return status.get("phase") == "Asleep" and "VolumeReady" in true


def _change(made: Plane, running: Program, listen: str) -> Work:
    """Have its job render, wait until two nodes are Ready, stop it, and wait until all rests."""
    mark, before = made.audit.mark(), _reconciles(listen)
    job = f"{HERE}/renderjobs/job"
    made.admin.patch(job, {"spec": {"suspend": False}})
    wait_for(lambda: _phases(made) == ["Ready", "Ready"], LONGEST, running.tail)
    made.admin.patch(job, {"spec": {"suspend": True}})
    wait_for(lambda: _phases(made) == [], LONGEST, running.tail)
    settle(made, USER)
    work = Work(_reconciles(listen) - before, made.audit.since(mark, USER, LEASES))
    print(f"one change: {work}", file=sys.stderr, flush=True)
    return work


def _phases(made: Plane) -> list[str | None]:
    nodes = made.admin.ask("GET", f"{HERE}/rendernodes")["items"]
    return [(node.get("status") or {}).get("phase") for node in nodes]


def _reconciles(listen: str) -> int:
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    counts = re.findall(r"^drqueue_reconcile_seconds_count\{.*\} (\S+)$", text, re.MULTILINE)
    return int(sum(map(float, counts)))


def _session(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"nodeClassName": "bench", "nodes": 2, "renderTime": "100h"}
    spec["storage"] = {"claimName": "volume" if name == "changed" else name}
    return _object("RenderSession", name, spec)


def _job() -> dict[str, Any]:
    spec = {
        "sessionName": "changed",
        "renderer": "general",
        "frames": "1-100",
        "parameters": {"Command": "true"},
        "suspend": True,
    }
    return _object("RenderJob", "job", spec)


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    api_version = "drqueue.org/v1alpha1"
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}

"""A fresh control plane with kwok's nodes, the same for everybody who is measured."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from bench.admin import Admin, ApiError, Live
from bench.audit import Audit
from bench.programs import program, wait_for
from devcluster import build, components, local
from devcluster.progress import Steps

HERE = Path(__file__).parent
CRDS = HERE.parent / "crds"
NAMESPACE = "bench"
CLAIM = "volume"
NODES = "/api/v1/nodes"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
OURS = "/apis/drqueue.org/v1alpha1"


@dataclass(frozen=True)
class Plane:
    """A running control plane."""

    name: str
    admin: Admin
    kubeconfig: Path
    audit: Audit

    def user(self, name: str) -> Path:
        """The kubeconfig of somebody with every right, told from others in the audit log."""
        return local.user_kubeconfig(self.name, name, ["system:masters"])


@contextlib.contextmanager
def plane(scratch: Path, name: str, nodes: int = 0) -> Iterator[Plane]:
    """Start one, with so many nodes on which a pod has run; taken down at the end."""
    name = f"bench-{name}"
    local.stop(name)  # what a run that was killed has left
    try:
        cluster = local.start(name, "control-plane", audit=True)
        if cluster.audit_log is None:
            raise RuntimeError(f"cluster {name} has no audit log")
        made = Plane(name, Admin(cluster.kubeconfig), cluster.kubeconfig, Audit(cluster.audit_log))
        _set_up(made.admin)
        with contextlib.ExitStack() as running:
            if nodes:
                running.enter_context(_kwok(made, scratch / f"{name}-kwok.log"))
                _make_nodes(made.admin, nodes)
            yield made
    finally:
        local.stop(name)


def apply_crds(admin: Admin, folder: Path, group: str) -> None:
    """Apply all CRDs in a folder and wait until they are served."""
    for path in sorted(folder.glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            if not isinstance(crd, dict) or crd.get("kind") != "CustomResourceDefinition":
                continue
            where = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            admin.apply(f"{where}/{crd['metadata']['name']}", crd)
            version = crd["spec"]["versions"][0]["name"]
            kind = f"/apis/{group}/{version}/{crd['spec']['names']['plural']}?limit=1"
            wait_for(partial(_served, admin, kind), 60, f"{kind} is not served".__str__)


def _served(admin: Admin, path: str) -> bool:
    try:
        admin.ask("GET", path)
    except ApiError as error:
        if error.args[0] in (404, 429):
            return False
        raise
    return True


def _set_up(admin: Admin) -> None:
    """Our CRDs, a namespace, and a claim that is bound: no provisioner is measured."""
    apply_crds(admin, CRDS, "drqueue.org")
    admin.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    size = {"storage": "10Gi"}
    volume = {
        "metadata": {"name": CLAIM},
        "spec": {
            "capacity": size,
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "bench",
            "hostPath": {"path": "/nowhere"},
        },
    }
    claim = {
        "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "bench",
            "volumeName": CLAIM,
            "resources": {"requests": size},
        },
    }
    admin.create("/api/v1/persistentvolumes", volume)
    claims = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
    admin.create(claims, claim)
    wait_for(
        lambda: admin.ask("GET", f"{claims}/{CLAIM}")["status"].get("phase") == "Bound",
        60,
        lambda: "the claim is not bound",
    )
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
    wait_for(lambda: admin.found(account), 60, lambda: "no default service account")


@contextlib.contextmanager
def _kwok(made: Plane, log: Path) -> Iterator[None]:
    with Steps() as steps:
        build.ensure(["kwok"], steps)
    command: list[str | Path] = [
        components.program("kwok"),
        f"--kubeconfig={made.user('kwok')}",
        f"--config={HERE / 'kwok.yaml'}",
        "--manage-all-nodes=true",
    ]
    with program(command, log, {}) as running:
        time.sleep(0.5)
        running.require_running()
        yield


def _make_nodes(admin: Admin, count: int) -> None:
    size = {"cpu": "64", "memory": "256Gi", "pods": "110"}
    for number in range(count):
        name = f"node-{number}"
        admin.create(
            NODES,
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
                "status": {"capacity": size, "allocatable": size},
            },
        )
    wait_for(lambda: not _tainted(admin), 120, lambda: f"tainted nodes: {_tainted(admin)}")
    with Live(admin, PODS, labels="app=warm-up", fields="status.phase=Running") as live:
        for number in range(count):
            admin.create(PODS, _warm_up(number))
        live.wait("pods to warm up with", lambda n: n == count, 120)
        admin.delete(f"{PODS}?labelSelector=app%3Dwarm-up")
    wait_for(lambda: not admin.names(PODS), 120, lambda: "the pods of the warm-up stay")


def _tainted(admin: Admin) -> list[str]:
    nodes = admin.ask("GET", NODES)["items"]
    return [node["metadata"]["name"] for node in nodes if node["spec"].get("taints")]


def _warm_up(number: int) -> dict[str, Any]:
    only = {"kubernetes.io/hostname": f"node-{number}"}
    return {
        "metadata": {"name": f"warm-up-{number}", "labels": {"app": "warm-up"}},
        "spec": {
            "nodeSelector": only,
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": "none"}],
        },
    }

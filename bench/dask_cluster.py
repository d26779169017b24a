"""dask-kubernetes: its operator, and a cluster of it, on a control plane of the bench."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench import peers
from bench.farm import free_port
from bench.plane import NAMESPACE, Plane, apply_crds
from bench.programs import Program, program

USER = "dask"
WORKERS = "dask.org/component=worker"
GROUP = "kubernetes.dask.org"
CHARTS_CRDS = "deployment/helm/dask-kubernetes-operator/crds"
CLUSTERS = f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/daskclusters"


@contextlib.contextmanager
def operator(made: Plane, log: Path) -> Iterator[Program]:
    """Start it as its chart does, as a user of its own."""
    python = peers.python()
    where = "import dask_kubernetes.operator as o; print(o.__path__[0])"
    package = subprocess.run(
        [str(python), "-c", where], capture_output=True, text=True, check=True
    ).stdout.strip()
    apply_crds(made.admin, Path(package) / CHARTS_CRDS, GROUP)
    probe = f"http://127.0.0.1:{free_port()}/healthz"
    command = [
        *(str(python), "-m", "kopf", "run", "-m", "dask_kubernetes.operator.controller"),
        *(f"--liveness={probe}", "--all-namespaces"),
    ]
    with program(command, log, {"KUBECONFIG": str(made.user(USER))}) as running:
        running.wait_answers(probe, 60)
        yield running


def create(made: Plane, workers: int) -> None:
    """A cluster with so many workers."""
    size = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
    ports = {"tcp-comm": 8786, "http-dashboard": 8787}
    made.admin.create(
        CLUSTERS,
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": "DaskCluster",
            "metadata": {"name": "farm"},
            "spec": {
                "worker": {
                    "replicas": workers,
                    "spec": {
                        "containers": [
                            {
                                "name": "worker",
                                "image": "dask",
                                "args": ["dask-worker", "--name", "$(DASK_WORKER_NAME)"],
                                "resources": size,
                            }
                        ]
                    },
                },
                "scheduler": {
                    "spec": {
                        "containers": [
                            {
                                "name": "scheduler",
                                "image": "dask",
                                "args": ["dask-scheduler"],
                                "ports": [
                                    {"name": name, "containerPort": port}
                                    for name, port in ports.items()
                                ],
                            }
                        ]
                    },
                    "service": {
                        "type": "ClusterIP",
                        "selector": {
                            "dask.org/cluster-name": "farm",
                            "dask.org/component": "scheduler",
                        },
                        "ports": [
                            {"name": name, "port": port, "targetPort": name}
                            for name, port in ports.items()
                        ],
                    },
                },
            },
        },
    )


def delete(made: Plane) -> None:
    """Delete the cluster; the garbage collector takes the rest."""
    made.admin.delete(f"{CLUSTERS}/farm")

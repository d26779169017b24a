"""Our operator as a process of this host, on a control plane of the bench."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.farm import free_port
from bench.plane import OURS, Plane
from bench.programs import Program, program

USER = "operator"
HOME = "drqueue-system"


@contextlib.contextmanager
def operator(
    made: Plane, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Start it as a user of its own, and wait until it leads and has filled its store."""
    listen = (environment or {}).get("DRQUEUE_LISTEN") or f"127.0.0.1:{free_port()}"
    settings = {
        "KUBECONFIG": str(made.user(USER)),
        "DRQUEUE_NAMESPACE": HOME,
        "DRQUEUE_LISTEN": listen,
        "DRQUEUE_LOG_FORMAT": "plain",
        **(environment or {}),
    }
    if not made.admin.found(f"/api/v1/namespaces/{HOME}"):
        made.admin.create("/api/v1/namespaces", {"metadata": {"name": HOME}})
    with program([sys.executable, "-m", "drqueue.control.main"], log, settings) as running:
        running.wait_answers(f"http://{listen}/readyz", 60)
        yield running


def make_class(made: Plane) -> None:
    """The node class that sessions of the bench use."""
    made.admin.create(
        f"{OURS}/rendernodeclasses",
        {
            "apiVersion": "drqueue.org/v1alpha1",
            "kind": "RenderNodeClass",
            "metadata": {"name": "bench"},
            "spec": {
                "provider": {"kubernetes": {}},
                "renderers": ["general"],
                "drainGrace": "5s",
            },
        },
    )

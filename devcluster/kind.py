"""A cluster in Docker, by kind. Its node image comes from a registry, so Docker must reach one."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devcluster import build, components, images, paths
from devcluster.errors import DevclusterError
from devcluster.images import Image
from devcluster.progress import Steps

CONFIG = {
    "kind": "Cluster",
    "apiVersion": "kind.x-k8s.io/v1alpha4",
    "nodes": [{"role": "control-plane"}],
}


def create_command(kind: str, name: str, kubeconfig: Path) -> list[str]:
    """Give the command that makes a cluster, its configuration on standard input."""
    where = ("--kubeconfig", str(kubeconfig), "--wait", "120s")
    return [kind, "create", "cluster", "--name", name, "--config", "-", *where]


def delete_command(kind: str, name: str, kubeconfig: Path) -> list[str]:
    """Give the command that removes a cluster; kind succeeds where there is none."""
    return [kind, "delete", "cluster", "--name", name, "--kubeconfig", str(kubeconfig)]


def load_command(kind: str, name: str, loaded: Sequence[Image]) -> list[str]:
    """Give the command that puts images of Docker's into a cluster."""
    return [kind, "load", "docker-image", "--name", name, *(image.name for image in loaded)]


def kubeconfig_of(name: str) -> Path:
    """Give where the kubeconfig of a kind cluster lies."""
    return paths.cache() / "kind" / f"{name}.kubeconfig"


def start(name: str, steps: Steps) -> Path:
    """Create the cluster unless it is there, and give its kubeconfig."""
    build.ensure(["kind", "helm"], steps)
    kind, target = str(components.program("kind")), kubeconfig_of(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if name in _run([kind, "get", "clusters"]).split():
        _run([kind, "export", "kubeconfig", "--name", name, "--kubeconfig", str(target)])
        return target
    with steps.step(f"creating the kind cluster {name}"):
        _run(create_command(kind, name, target), stdin=json.dumps(CONFIG))
    return target


def stop(name: str) -> None:
    """Remove the cluster, if it is there."""
    with Steps() as steps:
        build.ensure(["kind"], steps)
    _run(delete_command(str(components.program("kind")), name, kubeconfig_of(name)))
    kubeconfig_of(name).unlink(missing_ok=True)


def load_images(name: str, targets: Sequence[str], steps: Steps) -> list[Image]:
    """Build images with Docker and load them into the cluster."""
    made = images.build_with_docker(targets, steps)
    build.ensure(["kind"], steps)
    with steps.step(f"loading images into {name}"):
        _run(load_command(str(components.program("kind")), name, made))
    return made


def _run(command: list[str], stdin: str | None = None) -> str:
    run = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if run.returncode:
        end = "\n".join((run.stdout + run.stderr).splitlines()[-12:])
        raise DevclusterError(f"`{Path(command[0]).name} {' '.join(command[1:3])}` failed:\n{end}")
    return run.stdout

"""A cluster that is there already: the current context, and only when CLUSTER=existing says so."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster import images
from devcluster.errors import DevclusterError
from devcluster.images import Image
from devcluster.local import kubectl

STAYS = (
    "The cluster is yours and stays: `helm uninstall drqueue -n drqueue-system` takes the "
    "operator off it."
)


def kubeconfig(environ: Mapping[str, str] | None = None) -> Path:
    """Give the kubeconfig in force; raises DevclusterError if there is none.

    Of several in KUBECONFIG it must be one: whose current context counts would be a guess.
    """
    named = (os.environ if environ is None else environ).get("KUBECONFIG", "")
    files = [part for part in named.split(os.pathsep) if part]
    if len(files) > 1:
        raise DevclusterError(f"KUBECONFIG={named}: name one file with CLUSTER=existing")
    path = Path(files[0]) if files else Path.home() / ".kube" / "config"
    if not path.exists():
        raise DevclusterError(
            f"CLUSTER=existing, but there is no kubeconfig {path}: set KUBECONFIG"
        )
    return path


def require_reachable(path: Path) -> str:
    """Give the current context's name, once its API server has answered."""
    context = kubectl.kubectl(path, "config", "current-context").strip()
    try:
        kubectl.kubectl(path, "--request-timeout=15s", "get", "--raw", "/readyz")
    except (DevclusterError, subprocess.SubprocessError) as error:
        raise DevclusterError(
            f"the cluster of context {context!r} does not answer: {error}; "
            f"choose another: kubectl --kubeconfig={path} config use-context …"
        ) from error
    return context


def image_names(targets: Sequence[str], environ: Mapping[str, str] | None = None) -> list[Image]:
    """Give the images as the cluster will pull them: IMAGE_PREFIX/<target>:IMAGE_TAG (`dev`).

    Building and pushing them there is the user's business. Raises DevclusterError without prefix.
    """
    images.check_targets(targets)
    settings = os.environ if environ is None else environ
    prefix = settings.get("IMAGE_PREFIX", "").rstrip("/")
    tag = settings.get("IMAGE_TAG", "dev")
    if targets and not prefix:
        raise DevclusterError(
            "CLUSTER=existing pulls its images: set IMAGE_PREFIX to where you pushed them, as in "
            "`docker build --target operator -t $IMAGE_PREFIX/operator:dev . && docker push …`"
        )
    return [Image(target, f"{prefix}/{target}", tag) for target in targets]

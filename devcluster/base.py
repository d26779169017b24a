"""A base image of Debian packages, for where no registry is reached."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from devcluster import paths
from devcluster.errors import DevclusterError

SUITE = "bookworm"
INCLUDE = ("python3", "python3-venv", "ca-certificates")
NAME = f"localhost/drqueue-base:{SUITE}-1"
"""The number rises when what is in it changes."""


def buildah() -> list[str]:
    """Give the words that start buildah on storage of our own, in the cache."""
    storage = paths.images()
    return [
        *("buildah", "--root", str(storage / "storage"), "--runroot", str(storage / "run")),
        *("--storage-driver", driver()),
    ]


def driver() -> str:
    """Give buildah's way to stack layers: overlay, or vfs where overlay lies on overlay."""
    folder = paths.images()
    folder.mkdir(parents=True, exist_ok=True)
    kind = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(folder)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return "vfs" if kind == "overlayfs" else "overlay"


def exists(image: str) -> bool:
    """Tell whether an image is in our storage."""
    command = [*buildah(), "inspect", "--type", "image", image]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def build() -> None:
    """Make the base image; raises DevclusterError with the end of what a tool said."""
    folder = Path(tempfile.mkdtemp(prefix="base.", dir=paths.images()))
    root = folder / "root"
    try:
        packages = f"--include={','.join(INCLUDE)}"
        mirror = debian_mirror(_apt_sources())
        _run(
            ["debootstrap", "--variant=minbase", packages, SUITE, str(root)]
            + ([mirror] if mirror else [])
        )
        for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "var/log/*.log"):
            for file in root.glob(pattern):
                file.unlink()
        root.chmod(0o755)
        container = _run([*buildah(), "from", "scratch"]).strip()
        try:
            _run([*buildah(), "copy", "--quiet", container, str(root), "/"])
            _run([*buildah(), "commit", "--quiet", container, NAME])
        finally:
            _run([*buildah(), "rm", container])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def debian_mirror(sources: Iterable[str]) -> str | None:
    """Give the mirror from which this machine takes Debian itself; None if it names none.

    Reads one-line and deb822 sources. Security and third-party archives are no mirrors.

    >>> debian_mirror(["deb [arch=amd64] http://mirror.example/debian bookworm main"])
    'http://mirror.example/debian'
    """
    for text in sources:
        for line in text.splitlines():
            found = re.match(r"\s*(?:URIs:|deb\s+(?:\[[^]]*\]\s+)?)\s*(\S+)", line)
            if found and re.search(r"/debian/?$", found[1]):
                return found[1]
    return None


def _apt_sources() -> list[str]:
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    return [file.read_text() for file in files if file.is_file()]


def _run(command: list[str]) -> str:
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}
    )
    if run.returncode:
        end = "\n".join((run.stdout + run.stderr).splitlines()[-12:])
        raise DevclusterError(f"`{' '.join(command)}` failed:\n{end}")
    return run.stdout

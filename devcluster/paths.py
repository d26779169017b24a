"""Where things lie: the repository, and the cache outside of it."""

import os
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
GO_MODULES = REPOSITORY / "devcluster" / "go"


def cache(environ: Mapping[str, str] | None = None) -> Path:
    """Give the folder of binaries, images and clusters: DRQUEUE_CACHE, or ~/.cache/drqueue."""
    named = (os.environ if environ is None else environ).get("DRQUEUE_CACHE")
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "drqueue"


def binaries() -> Path:
    """Give the folder of built binaries, one folder a component and version."""
    return cache() / "bin"


def images() -> Path:
    """Give the folder of container images: buildah's storage, base image, archives."""
    return cache() / "images"


def clusters() -> Path:
    """Give the folder that holds one folder a local cluster."""
    return cache() / "clusters"

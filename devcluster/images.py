"""Builds the project's images from its Dockerfile: with Docker, or with buildah and no registry."""

import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster import base, host, paths
from devcluster.errors import DevclusterError
from devcluster.progress import Steps

TARGETS = ("operator", "slave", "slave-blender")
DEFAULT_TARGETS = ("operator", "slave")
LOCAL_PREFIX = "drqueue.local"
CONTEXT = (
    *("Dockerfile", ".dockerignore", "pyproject.toml", "README.md"),
    *("requirements.lock", "requirements-build.lock"),
)
"""What goes into the images besides the folder `operator`."""

CERTIFICATES = Path("/etc/ssl/certs")
_PIP_SETTINGS = frozenset(
    ("cert", "extra-index-url", "index-url", "proxy", "retries", "timeout", "trusted-host")
)


@dataclass(frozen=True)
class Image:
    """A built image: its target in the Dockerfile, repository and content tag.

    It is called `<repository>:dev` too, but only the content tag makes Kubernetes notice a change.
    """

    target: str
    repository: str
    tag: str

    @property
    def name(self) -> str:
        """Repository and content tag."""
        return f"{self.repository}:{self.tag}"

    @property
    def alias(self) -> str:
        """Repository and the tag `dev`."""
        return f"{self.repository}:dev"

    @property
    def archive(self) -> Path:
        """The docker-archive that buildah wrote of it."""
        return paths.images() / f"{self.target}.tar"


def check_targets(targets: Sequence[str]) -> None:
    """Raise DevclusterError for a target that the Dockerfile does not have."""
    unknown = [target for target in targets if target not in TARGETS]
    if unknown:
        raise DevclusterError(f"no image {', '.join(unknown)}; there are: {', '.join(TARGETS)}")


def build_with_docker(targets: Sequence[str], steps: Steps) -> list[Image]:
    """Build with the Docker engine that answers."""
    check_targets(targets)
    made = []
    for target in targets:
        with _id_file() as id_file, steps.step(f"building the image {target}"):
            _run(docker_command(target, id_file))
            made.append(_image(target, id_file))
        _run(["docker", "tag", made[-1].alias, made[-1].name])
    return made


def docker_command(target: str, id_file: Path) -> list[str]:
    """Give the `docker build` of a target."""
    return [
        *("docker", "build", "--target", target, "--tag", f"{LOCAL_PREFIX}/{target}:dev"),
        *("--iidfile", str(id_file), str(paths.REPOSITORY)),
    ]


def build_with_buildah(targets: Sequence[str], steps: Steps) -> list[Image]:
    """Build with buildah on a base of Debian packages, and write each image to its archive."""
    check_targets(targets)
    host.require_root("building images without Docker")
    host.ensure_packages(host.IMAGE_PACKAGES, steps)
    paths.images().mkdir(parents=True, exist_ok=True)
    key = context_key(paths.REPOSITORY)
    return [_ensure_one(target, key, steps) for target in targets]


def _ensure_one(target: str, key: str, steps: Steps) -> Image:
    with _locked(target):
        if found := _noted(target, key):
            return found
        with _locked("base"):
            if not base.exists(base.NAME):
                with steps.step("building the base image"):
                    base.build()
        return _build_one(target, key, steps)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (paths.images() / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def context_key(repository: Path) -> str:
    """Give a digest of all that goes into the images, so that nothing is built for no change.

    Modes count, times do not; what .dockerignore leaves out is left out here.
    """
    files = [repository / name for name in CONTEXT]
    files += sorted(
        file
        for file in (repository / "operator").rglob("*")
        if file.is_file()
        and not any(part == "__pycache__" or part.endswith(".egg-info") for part in file.parts)
    )
    digest = hashlib.sha256(base.NAME.encode())
    for file in files:
        content = file.read_bytes()
        name = file.relative_to(repository)
        digest.update(f"{name}\0{file.stat().st_mode:o}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _noted(target: str, key: str) -> Image | None:
    """Give the image that was built of just these files, if its archive is still there."""
    try:
        noted = json.loads((paths.images() / f"{target}.json").read_text())
    except (OSError, ValueError):
        return None
    image = Image(target, f"{LOCAL_PREFIX}/{target}", noted["tag"])
    return image if noted["key"] == key and image.archive.exists() else None


def buildah_command(
    target: str, id_file: Path, pip_conf: Path, volumes: Sequence[str]
) -> list[str]:
    """Give the `buildah bud` of a target; `volumes` are host paths that the build may read."""
    return [
        *(*base.buildah(), "bud", "--isolation", "chroot", "--layers", "--pull-never"),
        *("--target", target, "--tag", f"{LOCAL_PREFIX}/{target}:dev"),
        *("--build-arg", f"BASE={base.NAME}", "--iidfile", str(id_file)),
        *("--secret", f"id=pip,src={pip_conf}"),
        *(word for path in volumes for word in ("--volume", f"{path}:{path}:ro")),
        *("--file", str(paths.REPOSITORY / "Dockerfile"), str(paths.REPOSITORY)),
    ]


def pip_conf(listed: str) -> str:
    """Give a pip.conf out of what `pip config list` printed: this machine's index, CA and proxy.

    >>> print(pip_conf("global.index-url='https://pip.example/'\\n:env:.user='yes'"))
    [global]
    index-url = https://pip.example/
    """
    settings = {}
    for line in listed.splitlines():
        found = re.fullmatch(r"(?:global|install|:env:)\.([a-z-]+)=(['\"])(.*)\2", line.strip())
        if found and found[1] in _PIP_SETTINGS:
            settings[found[1]] = found[3]
    return "\n".join(["[global]", *(f"{key} = {value}" for key, value in settings.items())])


def readable_in_build(pip_settings: str, certificates: Path = CERTIFICATES) -> list[str]:
    """Give the host paths a build needs: the CA bundle, and the one that pip names."""
    found = [str(certificates)] if certificates.is_dir() else []
    named = re.search(r"^cert = (.+)$", pip_settings, re.MULTILINE)
    if named and not Path(named[1]).is_relative_to(certificates):
        found.append(named[1])
    return found


def _build_one(target: str, key: str, steps: Steps) -> Image:
    settings = pip_conf(_run([sys.executable, "-m", "pip", "config", "list"]))
    note = paths.images() / f"{target}.json"
    with (
        _id_file() as id_file,
        tempfile.NamedTemporaryFile("w", prefix="pip.", dir=paths.images()) as conf,
        steps.step(f"building the image {target}"),
    ):
        conf.write(settings)
        conf.flush()
        volumes = readable_in_build(settings)
        _run(buildah_command(target, id_file, Path(conf.name), volumes))
        image = _image(target, id_file)
        note.unlink(missing_ok=True)
        image.archive.unlink(missing_ok=True)
        destination = f"docker-archive:{image.archive}:{image.alias}"
        _run([*base.buildah(), "push", "--quiet", image.alias, destination])
        note.write_text(json.dumps({"key": key, "tag": image.tag}))
        return image


@contextmanager
def _id_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="drqueue-image.") as folder:
        yield Path(folder) / "id"


def _image(target: str, id_file: Path) -> Image:
    digest = id_file.read_text().strip().removeprefix("sha256:")
    return Image(target, f"{LOCAL_PREFIX}/{target}", digest[:12])


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    try:
        run = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | (environment or {}),
        )
    except FileNotFoundError as error:
        raise DevclusterError(f"no `{command[0]}` on this machine: install it first") from error
    if run.returncode:
        end = "\n".join((run.stdout + run.stderr).splitlines()[-20:])
        raise DevclusterError(f"`{command[0]} … {command[-1]}` failed:\n{end}")
    return run.stdout

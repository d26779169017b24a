"""One face for the three kinds of cluster: start, stop, images, kubeconfig."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from devcluster import build, components, existing, host, images, kind, local
from devcluster.choose import Way, choose
from devcluster.errors import DevclusterError
from devcluster.images import Image
from devcluster.local import state as states
from devcluster.progress import Steps, console


@dataclass(frozen=True)
class Started:
    """A cluster that runs pods, and the images it has."""

    way: Way
    name: str
    kubeconfig: Path
    images: tuple[Image, ...]

    def way_down(self) -> str:
        """Say how what was started is taken off again."""
        if self.way == "existing":
            return existing.STAYS
        return "make cluster-down takes it off this machine."

    def values(self) -> dict[str, object]:
        """Give the chart's `images` values for what was loaded."""
        named = {i.target: {"repository": i.repository, "tag": i.tag} for i in self.images}
        return {
            "pullPolicy": "IfNotPresent",
            **{target: named[target] for target in images.DEFAULT_TARGETS if target in named},
        }


def start(
    name: str, *, targets: Sequence[str] = (), audit: bool = False, way: Way | None = None
) -> Started:
    """Start a cluster that runs pods, with images of the project in it.

    What has to be built of programs and images is built at the same time.
    """
    way = way or choose()
    images.check_targets(targets)
    if audit and way != "local":
        raise DevclusterError(f"--audit needs CLUSTER=local, not {way}")
    with Steps() as steps:
        if way == "existing":
            path = existing.kubeconfig()
            context = existing.require_reachable(path)
            console.print(f"using the existing cluster of context {context!r}")
            return Started(way, name, path, tuple(existing.image_names(targets)))
        if way == "kind":
            path = kind.start(name, steps)
            return Started(way, name, path, tuple(_load(way, name, targets, steps)))
        _prepare_local(targets, steps)
        cluster = local.start(name, "full", audit=audit, steps=steps)
        return Started(way, name, cluster.kubeconfig, tuple(_load(way, name, targets, steps)))


def stop(name: str) -> None:
    """Take a cluster down: a local one of that name, and one of kind's where that is the way."""
    way = choose()
    if way == "existing":
        raise DevclusterError(f"CLUSTER=existing takes none down. {existing.STAYS}")
    if way == "kind":
        kind.stop(name)
    local.stop(name)


def load_images(name: str, targets: Sequence[str]) -> list[Image]:
    """Build images and load them into a running cluster; what it has already costs nothing."""
    with Steps() as steps:
        return _load(_way_of(name), name, targets, steps)


def kubeconfig(name: str) -> Path:
    """Give the administrator's kubeconfig of a cluster that was started."""
    way = _way_of(name)
    if way == "existing":
        return existing.kubeconfig()
    if way == "kind":
        if not kind.kubeconfig_of(name).exists():
            raise DevclusterError(
                f"there is no kind cluster {name!r}: python -m devcluster up --name {name}"
            )
        return kind.kubeconfig_of(name)
    return local.get(name).kubeconfig


def _way_of(name: str) -> Way:
    """Give the way of a cluster that was started: a local one shows by its folder."""
    return "local" if states.load(name) else choose()


def _load(way: Way, name: str, targets: Sequence[str], steps: Steps) -> list[Image]:
    if not targets:
        return []
    if way == "existing":
        return existing.image_names(targets)
    if way == "kind":
        return kind.load_images(name, targets, steps)
    return local.load_images(name, targets, steps=steps)


def _prepare_local(targets: Sequence[str], steps: Steps) -> None:
    """Build programs and images side by side; Debian's packages first, one installer at a time."""
    host.require_root("a local cluster with a node")
    packages = {*host.NODE_PACKAGES, *(host.IMAGE_PACKAGES if targets else ())}
    for component in components.missing(components.FULL):
        packages.update(component.debian)
    host.ensure_packages(packages, steps)
    with ThreadPoolExecutor() as pool:
        programs = pool.submit(build.ensure, components.FULL, steps)
        made = pool.submit(images.build_with_buildah, targets, steps) if targets else None
        programs.result()
        if made:
            made.result()

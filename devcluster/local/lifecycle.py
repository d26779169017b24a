"""Start and stop of a whole local cluster, and what tests do to it."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import build, components, host
from devcluster.errors import DevclusterError
from devcluster.images import DEFAULT_TARGETS, Image, build_with_buildah
from devcluster.local import cleanup, controlplane, kubeconfig, load, network, node, process
from devcluster.local import state as states
from devcluster.local.state import State
from devcluster.progress import Steps


@dataclass(frozen=True)
class Cluster:
    """A running local cluster."""

    name: str
    profile: str
    kubeconfig: Path
    folder: Path
    server: str
    audit_log: Path | None

    def load_image(self, target: str) -> str:
        """Build an image of the project, load it into the node and give its full name."""
        return load_images(self.name, [target])[0].name


def start(
    name: str = "drqueue",
    profile: str = "full",
    *,
    controllers: bool = True,
    audit: bool = False,
    steps: Steps | None = None,
) -> Cluster:
    """Bring a cluster up, or make whole again what is left of it; builds what is missing.

    `control-plane`: etcd, API server and, with `controllers`, controller-manager and scheduler; no
    root needed. `full`: a node too, where pods run. `audit` writes `<folder>/audit.log`.
    Raises DevclusterError with what to do.
    """
    if profile not in states.PROFILES:
        raise DevclusterError(f"profile {profile!r}: use {' or '.join(states.PROFILES)}")
    if steps is None:
        with Steps() as own:
            return start(name, profile, controllers=controllers, audit=audit, steps=own)
    full = profile == "full"
    if full:
        host.require_root("a local cluster with a node")
        host.ensure_packages(host.NODE_PACKAGES, steps)
    build.ensure(components.FULL if full else components.CONTROL_PLANE, steps)
    with states.lock(name):
        state = _recorded(name, profile, controllers=controllers, audit=audit)
        cleanup.strays(state)
        with steps.step(f"starting the control plane of {name}"):
            if full:
                network.ensure_bridge(state)
            controlplane.start(state)
        if full:
            node.start(state, steps)
    return _cluster(state)


def load_images(
    name: str, targets: Sequence[str] = DEFAULT_TARGETS, *, steps: Steps | None = None
) -> list[Image]:
    """Build images of the project and load them into a cluster's node; idempotent and quick."""
    if steps is None:
        with Steps() as own:
            return load_images(name, targets, steps=own)
    made = build_with_buildah(targets, steps)
    with states.lock(name):
        for image in made:
            load.load(states.require(name), image, steps)
    return made


def stop(name: str = "drqueue") -> None:
    """Take a cluster down with all it put on this machine; nothing to do is fine."""
    with states.lock(name):
        cleanup.everything(name)


def get(name: str = "drqueue") -> Cluster:
    """Give a cluster that was started; raises DevclusterError if there is none of that name."""
    return _cluster(states.require(name))


def status(name: str = "drqueue") -> dict[str, bool]:
    """Tell which of its processes run."""
    state = states.require(name)
    return {component: process.alive(one) for component, one in state.processes.items()}


def user_kubeconfig(name: str, user: str, groups: Sequence[str] = ()) -> Path:
    """Give the kubeconfig of a user with a certificate of their own, and no rights yet."""
    return kubeconfig.for_user(states.require(name), user, groups)


def stop_apiserver(name: str) -> None:
    """End a cluster's API server; pods, etcd and the rest run on."""
    with states.lock(name):
        controlplane.stop_apiserver(states.require(name))


def start_apiserver(name: str) -> None:
    """Start a cluster's API server again and wait until it is ready."""
    with states.lock(name):
        controlplane.start_apiserver(states.require(name))


def freeze_apiserver(name: str) -> None:
    """Stop the API server in mid air (SIGSTOP): connections stay open and nobody answers."""
    _signal_apiserver(name, signal.SIGSTOP)


def thaw_apiserver(name: str) -> None:
    """Let a frozen API server go on."""
    _signal_apiserver(name, signal.SIGCONT)


def _signal_apiserver(name: str, number: signal.Signals) -> None:
    running = states.require(name).processes.get("apiserver")
    if running is None or not process.send(running, number):
        raise DevclusterError(
            f"the API server of {name!r} does not run; "
            f"start it: python -m devcluster apiserver start --name {name}"
        )


def _recorded(name: str, profile: str, *, controllers: bool, audit: bool) -> State:
    state = states.load(name)
    if state is None:
        if states.folder_of(name).exists():  # a crash left it half made, or unreadable
            cleanup.everything(name)
        return states.claim(name, profile, controllers=controllers, audit=audit)
    asked = (profile, controllers, audit)
    if asked != (state.profile, state.controllers, state.audit):
        raise DevclusterError(
            f"cluster {name!r} is there with profile {state.profile}, "
            f"controllers {state.controllers}, audit {state.audit}; "
            f"take it down first: python -m devcluster down --name {name}"
        )
    return state


def _cluster(state: State) -> Cluster:
    return Cluster(
        name=state.name,
        profile=state.profile,
        kubeconfig=state.kubeconfig,
        folder=state.folder,
        server=state.server,
        audit_log=state.folder / "audit.log" if state.audit else None,
    )

"""What is known of a local cluster: its folder, addresses, ports and processes."""

import fcntl
import ipaddress
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from devcluster import paths
from devcluster.errors import DevclusterError
from devcluster.local.process import ProcessId

MAX_CLUSTERS = 60
PROFILES = ("control-plane", "full")


@dataclass(frozen=True)
class Addresses:
    """Ports and networks of the cluster number `index`: no two clusters' overlap.

    Ports lie below the range from which the kernel picks ephemeral ones (32768 on).
    """

    index: int

    def port(self, service: str) -> int:
        """Give the TCP port of etcd, etcd-peer, apiserver, controller-manager or scheduler."""
        order = ("apiserver", "etcd", "etcd-peer", "controller-manager", "scheduler")
        return 21000 + 10 * self.index + order.index(service)

    def _in(self, third: int, last: int, bits: int) -> str:
        return f"10.{80 + self.index}.{third}.{last}" + (f"/{bits}" if bits else "")

    @property
    def bridge(self) -> str:
        """The name of the bridge on the host (an interface's name has 15 characters)."""
        return f"drq{self.index}"

    @property
    def network(self) -> str:
        """All the addresses of this cluster."""
        return self._in(0, 0, 16)

    @property
    def host(self) -> str:
        """The host's address towards the node, where the API server listens."""
        return self._in(0, 1, 0)

    @property
    def node(self) -> str:
        """The node's own address."""
        return self._in(0, 2, 0)

    @property
    def pods(self) -> str:
        """Addresses of pods."""
        return self._in(1, 0, 24)

    @property
    def services(self) -> str:
        """Addresses of services."""
        return self._in(128, 0, 20)

    def service(self, last: int) -> str:
        """Give a service's address: 1 is `kubernetes`, 10 is DNS."""
        return self._in(128, last, 0)


@dataclass
class State:
    """A cluster as its folder records it."""

    name: str
    profile: str
    index: int
    controllers: bool = True
    audit: bool = False
    processes: dict[str, ProcessId] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    """What was loaded into containerd: image name to image id."""

    @property
    def folder(self) -> Path:
        """Everything of this cluster lies in here."""
        return folder_of(self.name)

    @property
    def addresses(self) -> Addresses:
        """Its ports and networks."""
        return Addresses(self.index)

    @property
    def full(self) -> bool:
        """Whether there is a node, and not only a control plane."""
        return self.profile == "full"

    @property
    def api_address(self) -> str:
        """Where the API server listens."""
        return self.addresses.host if self.full else "127.0.0.1"

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.api_address}:{self.addresses.port('apiserver')}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def mark(self) -> str:
        """What the cluster's processes carry in their environment."""
        return str(self.folder)

    def log(self, component: str) -> Path:
        """Give the path of a component's log."""
        return self.folder / "logs" / f"{component}.log"

    def save(self) -> None:
        """Write it down, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / "cluster.json.new"
        fresh.write_text(json.dumps(asdict(self), indent=1))
        fresh.replace(self.folder / "cluster.json")


def folder_of(name: str) -> Path:
    """Give a cluster's folder; raises DevclusterError for a name that cannot be one."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,29}", name):
        raise DevclusterError(
            f"cluster name {name!r}: use 1 to 30 lower case letters, digits and dashes, "
            "a letter first"
        )
    return paths.clusters() / name


def load(name: str) -> State | None:
    """Read a cluster's record; None if there is none, or a crash left no readable one."""
    try:
        found: dict[str, Any] = json.loads((folder_of(name) / "cluster.json").read_text())
        found["processes"] = {k: ProcessId(**v) for k, v in found["processes"].items()}
        return State(**found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def require(name: str) -> State:
    """Read a cluster's record; raises DevclusterError, with what to do, if there is none."""
    state = load(name)
    if state is None:
        raise DevclusterError(
            f"there is no local cluster {name!r}; start it: python -m devcluster up --name {name}"
        )
    return state


def names() -> list[str]:
    """Give the names of all local clusters."""
    found = sorted(paths.clusters().glob("*/cluster.json"))
    return [file.parent.name for file in found]


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold one cluster's lock: one start or stop of it at a time."""
    folder_of(name)
    paths.clusters().mkdir(parents=True, exist_ok=True)
    path = paths.clusters() / f".{name}.lock"
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # whoever took the cluster down has removed the file we waited for
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                try:
                    yield
                finally:
                    if not folder_of(name).exists():
                        path.unlink()
                return


def claim(name: str, profile: str, *, controllers: bool, audit: bool) -> State:
    """Record a new cluster under the first index whose ports and networks are free."""
    paths.clusters().mkdir(parents=True, exist_ok=True)
    with (paths.clusters() / ".index.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        taken = {state.index for other in names() if (state := load(other))}
        index = free_index(taken, lambda i: _usable(Addresses(i)))
        made = State(name, profile, index, controllers=controllers, audit=audit)
        made.save()
        return made


def free_index(taken: set[int], usable: Callable[[int], bool]) -> int:
    """Give the lowest index that no cluster has and whose ports and networks are free."""
    for index in range(MAX_CLUSTERS):
        if index not in taken and usable(index):
            return index
    raise DevclusterError(
        f"all {MAX_CLUSTERS} places for local clusters are in use; `python -m devcluster list` "
        "shows them and `python -m devcluster down --name …` frees one"
    )


def overlaps(routes: str, network: str) -> bool:
    """Tell whether a network is part of a route among routes, one a line, network first.

    A default route covers everything and says nothing, so it does not count.

    >>> overlaps("default via 192.0.2.1 dev eth0\\n10.80.1.0/24 dev x", "10.80.0.0/16")
    True
    >>> overlaps("192.0.2.0/24 dev eth0", "10.80.0.0/16")
    False
    """
    ours = ipaddress.ip_network(network)
    for line in routes.splitlines():
        words = line.split()
        try:
            route = ipaddress.ip_network(words[0])
        except (ValueError, IndexError):  # "default", a blank line
            continue
        if route.prefixlen and route.overlaps(ours):
            return True
    return False


def _usable(addresses: Addresses) -> bool:
    for service in ("apiserver", "etcd", "etcd-peer", "controller-manager", "scheduler"):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", addresses.port(service)))
            except OSError:
                return False
    return not overlaps(_routes(), addresses.network)


def _routes() -> str:
    """Give the kernel's IPv4 routes, one a line, network first."""
    lines = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        device, destination, _, _, _, _, _, mask, *_ = line.split()
        swapped = [bytes.fromhex(word)[::-1] for word in (destination, mask)]
        address, netmask = (str(ipaddress.ip_address(word)) for word in swapped)
        lines.append(f"{ipaddress.ip_network(f'{address}/{netmask}')} dev {device}")
    return "\n".join(lines)


def remove(state_folder: Path) -> None:
    """Remove a cluster's folder; nothing may be mounted below it any more."""
    device = state_folder.stat().st_dev
    for found, folders, _ in os.walk(state_folder):
        for name in list(folders):
            inner = Path(found) / name
            if not inner.is_symlink() and inner.stat().st_dev != device:
                raise DevclusterError(f"{inner} is still mounted; unmount it: sudo umount {inner}")
    shutil.rmtree(state_folder)

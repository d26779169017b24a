"""What is built from Go modules, in the order in which it is needed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster import paths

KUBERNETES_VERSION = "v1.35.1"

_KUBERNETES_LDFLAGS = " ".join(
    f"-X k8s.io/component-base/version.{key}={value}"
    for key, value in {
        "gitVersion": KUBERNETES_VERSION,  # without it the server calls itself v0.0.0
        "gitMajor": "1",
        "gitMinor": "35",
        "gitTreeState": "clean",
    }.items()
)


@dataclass(frozen=True)
class Component:
    """Programs that one `go build` makes from a module under devcluster/go.

    `packages` maps a program's name to its Go package. `needs_cgo` also means a C compiler and the
    Debian packages in `debian`.
    """

    name: str
    module: str
    version: str
    packages: dict[str, str]
    ldflags: str = ""
    tags: str = ""
    needs_cgo: bool = False
    debian: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """The folder of the module's go.mod and go.sum."""
        return paths.GO_MODULES / self.module

    @property
    def key(self) -> str:
        """What names the build: the same key, the same programs."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((self.source / name).read_bytes())
        digest.update(repr((sorted(self.packages.items()), self.ldflags, self.tags)).encode())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:8]}"

    @property
    def folder(self) -> Path:
        """Where its programs lie once they are built."""
        return paths.binaries() / self.key

    @property
    def built(self) -> bool:
        """Whether every program is there: the folder appears whole, by a rename."""
        return all((self.folder / program).exists() for program in self.packages)


def _kubernetes(name: str, *programs: str) -> Component:
    return Component(
        name,
        "kubernetes",
        KUBERNETES_VERSION,
        {program: f"k8s.io/kubernetes/cmd/{program}" for program in programs},
        ldflags=_KUBERNETES_LDFLAGS,
    )


_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
_CNI = "github.com/containernetworking/plugins/plugins"

COMPONENTS = {
    component.name: component
    for component in (
        Component("etcd", "etcd", "v3.6.8", {"etcd": "go.etcd.io/etcd/server/v3"}),
        _kubernetes("control-plane", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
        Component("helm", "helm", "v3.19.4", {"helm": "helm.sh/helm/v3/cmd/helm"}),
        _kubernetes("kubelet", "kubelet"),
        Component(
            "containerd",
            "containerd",
            "v2.2.1",
            {
                program: f"{_CONTAINERD}/{program}"
                for program in ("containerd", "containerd-shim-runc-v2", "ctr")
            },
        ),
        Component(
            "runc",
            "runc",
            "v1.3.3",
            {"runc": "github.com/opencontainers/runc"},
            ldflags="-X main.version=1.3.3",
            tags="seccomp",
            needs_cgo=True,
            debian=("gcc", "libc6-dev", "pkg-config", "libseccomp-dev"),
        ),
        _kubernetes("kube-proxy", "kube-proxy"),
        Component(
            "cni",
            "cni",
            "v1.9.0",
            {
                "ptp": f"{_CNI}/main/ptp",
                "loopback": f"{_CNI}/main/loopback",
                "host-local": f"{_CNI}/ipam/host-local",
            },
        ),
        Component(
            "local-path-provisioner",
            "localpath",
            "v0.0.30",
            {"local-path-provisioner": "github.com/rancher/local-path-provisioner"},
        ),
        Component("coredns", "coredns", "v1.13.1", {"coredns": "github.com/coredns/coredns"}),
        Component("kwok", "kwok", "v0.7.0", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
        Component("kind", "kind", "v0.32.0", {"kind": "sigs.k8s.io/kind"}),
    )
}

CONTROL_PLANE = ("etcd", "control-plane")
FULL = (
    *CONTROL_PLANE,
    "helm",
    "kubelet",
    "containerd",
    "runc",
    "kube-proxy",
    "cni",
    "local-path-provisioner",
    "coredns",
)

_HOME = {program: c.name for c in COMPONENTS.values() for program in c.packages}


def program(name: str) -> Path:
    """Give the path of a built program; whether it was built is for `build.ensure`."""
    return COMPONENTS[_HOME[name]].folder / name


def missing(names: Iterable[str]) -> list[Component]:
    """Give the components among `names` that are not built yet, in the order of building."""
    wanted = set(names)
    return [c for name, c in COMPONENTS.items() if name in wanted and not c.built]

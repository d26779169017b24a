"""What the machine has and may: root, Debian packages, commands."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence

from devcluster.errors import DevclusterError
from devcluster.progress import Steps

NODE_PACKAGES = (
    "busybox-static",
    "catatonit",
    "fuse3",
    "gocryptfs",
    "iproute2",
    "mount",
    "nftables",
    "util-linux",
)
"""Debian packages that a local cluster with a kubelet needs."""

IMAGE_PACKAGES = ("buildah", "catatonit", "debootstrap", "debian-archive-keyring")
"""Debian packages that building images without Docker needs."""

TEST_PACKAGES = ("povray",)
"""Debian packages that tests and benchmarks compare the farm's frames and times with."""


def require_root(what: str) -> None:
    """Raise DevclusterError unless this is root on Linux."""
    if os.uname().sysname != "Linux":
        raise DevclusterError(f"{what} needs Linux; with Docker running, use CLUSTER=kind")
    if os.geteuid() != 0:
        raise DevclusterError(f"{what} needs root; run the same command with `sudo -E`")


def missing_packages(wanted: Iterable[str]) -> list[str]:
    """Give those of the Debian packages that are not installed."""
    names = sorted(set(wanted))
    if not names:
        return []
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *names]
    said = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    return missing_from(names, said)


def missing_from(names: Sequence[str], said: str) -> list[str]:
    """Give the names that `dpkg-query` did not call installed.

    >>> missing_from(["mount", "nftables"], "mount installed\\nnftables config-files\\n")
    ['nftables']
    """
    installed = {line.split()[0] for line in said.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def ensure_packages(wanted: Iterable[str], steps: Steps) -> None:
    """Install Debian packages that are missing, where that is possible.

    Raises DevclusterError, naming the command that mends it, where it is not.
    """
    names = list(wanted)
    if not names:
        return
    if not shutil.which("dpkg-query"):
        raise DevclusterError(
            f"this is neither Debian nor Ubuntu; install what there is {', '.join(names)} "
            "by hand, or start Docker and use CLUSTER=kind"
        )
    missing = missing_packages(names)
    if not missing:
        return
    wait = ("-o", "DPkg::Lock::Timeout=300")  # for somebody else's installation to end
    install = ["apt-get", "install", *wait, "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        raise DevclusterError(f"Debian packages are missing: run `sudo {' '.join(install)}`")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with steps.step(f"installing {' '.join(missing)}"):
        for command in (["apt-get", "update"], install):
            run = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
        if run.returncode:
            end = "\n".join((run.stdout + run.stderr).splitlines()[-8:])
            raise DevclusterError(f"`{' '.join(install)}` failed:\n{end}")

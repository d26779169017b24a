"""Two local clusters side by side: taking one down leaves the other whole."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import local
from devcluster.choose import choose
from devcluster.local import node, process
from devcluster.local import state as states

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(choose() != "local", reason="about local clusters; this one is none"),
]


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    names = (f"pair-a{os.getpid()}", f"pair-b{os.getpid()}")
    yield names
    for name in names:
        local.stop(name)


def mounts(name: str) -> list[str]:
    """Mount points in the node's namespace."""
    table = subprocess.run(
        [*node.enter(states.require(name)), "cat", "/proc/self/mountinfo"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted(line.split()[4] for line in table.splitlines())


def test_one_goes_and_the_other_stays_whole(pair: tuple[str, str]) -> None:
    stays, goes = pair
    local.start(stays, "full")
    before = mounts(stays)
    assert "/var/lib/kubelet" in before
    removed = local.start(goes, "full")
    first = states.require(goes)
    local.stop(goes)

    assert mounts(stays) == before
    assert all(local.status(stays).values())
    assert process.marked(str(removed.folder)) == []
    assert not Path(removed.folder).exists()
    assert not Path(f"/sys/class/net/{first.addresses.bridge}").exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/drqueue-{goes}"))

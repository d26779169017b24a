"""Two local clusters side by side: taking one down leaves the other whole."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import local
from devcluster.choose import choose
from devcluster.local import cgroups, node, process
from devcluster.local import state as states

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.alone,
    pytest.mark.skipif(choose() != "local", reason="about local clusters; this one is none"),
]


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    names = (f"pair-a{os.getpid()}", f"pair-b{os.getpid()}")
    yield names
    for name in names:
        local.stop(name)


def mounts(name: str) -> list[str]:
    """Mount points of the cluster's own in the node's namespace: the host's come and go."""
    state = states.require(name)
    own = (state.folder, "/run", "/var/lib", "/var/log")
    table = subprocess.run(
        [*node.enter(state), "cat", "/proc/self/mountinfo"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    points = (line.split()[4] for line in table.splitlines())
    return sorted(point for point in points if any(Path(point).is_relative_to(o) for o in own))


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
    # not by a look through all groups: others' come and go meanwhile
    groups = [root / cgroups.group(goes).lstrip("/") for root in cgroups.hierarchies()]
    assert not [group for group in groups if group.exists()]

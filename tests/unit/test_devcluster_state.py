"""Names, indexes, addresses and records of local clusters."""

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster import paths
from devcluster.errors import DevclusterError
from devcluster.local import state as states
from devcluster.local.process import ProcessId
from devcluster.local.state import Addresses, State

INDEXES = st.integers(0, states.MAX_CLUSTERS - 1)
SERVICES = ("apiserver", "etcd", "etcd-peer", "controller-manager", "scheduler")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRQUEUE_CACHE", str(tmp_path))


@given(one=INDEXES, other=INDEXES)
def test_no_two_clusters_share_a_port_or_an_address(one: int, other: int) -> None:
    if one == other:
        return
    a, b = Addresses(one), Addresses(other)
    assert not {a.port(s) for s in SERVICES} & {b.port(s) for s in SERVICES}
    assert not ipaddress.ip_network(a.network).overlaps(ipaddress.ip_network(b.network))
    assert a.bridge != b.bridge


@given(index=INDEXES)
def test_the_parts_of_a_network_lie_in_it_side_by_side(index: int) -> None:
    addresses = Addresses(index)
    whole = ipaddress.ip_network(addresses.network)
    pods, services = (ipaddress.ip_network(n) for n in (addresses.pods, addresses.services))
    assert pods.subnet_of(whole)  # type: ignore[arg-type]
    assert services.subnet_of(whole)  # type: ignore[arg-type]
    assert not pods.overlaps(services)
    for address in (addresses.host, addresses.node):
        assert ipaddress.ip_address(address) in whole
        assert ipaddress.ip_address(address) not in pods
    assert ipaddress.ip_address(addresses.service(10)) in services
    assert len(f"{addresses.bridge}n") <= 15  # the kernel's bound on interface names
    assert all(1024 < addresses.port(service) < 32768 for service in SERVICES)


def test_the_first_free_index_is_taken() -> None:
    assert states.free_index({0, 1, 3}, lambda _: True) == 2
    assert states.free_index({0}, lambda index: index > 4) == 5
    with pytest.raises(DevclusterError, match="devcluster down"):
        states.free_index(set(), lambda _: False)


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a/b", "..", "a" * 31, "a b", "a\n"])
def test_names_that_cannot_be_a_folder_are_refused(name: str) -> None:
    with pytest.raises(DevclusterError, match="lower case letters"):
        states.folder_of(name)


def test_what_is_saved_is_read_back() -> None:
    made = State("mine", "full", 4, audit=True)
    made.processes["etcd"] = ProcessId(7, 99, "boot")
    made.images["operator"] = "abc"
    made.save()
    assert states.load("mine") == made
    assert states.names() == ["mine"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "mine"}', '{"processes": 3}'])
def test_a_record_that_a_crash_spoilt_counts_as_none(text: str) -> None:
    folder = states.folder_of("mine")
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text(text)
    assert states.load("mine") is None
    with pytest.raises(DevclusterError, match="up --name mine"):
        states.require("mine")


def test_the_lock_of_a_cluster_goes_with_it() -> None:
    with states.lock("mine"):
        assert [file.name for file in paths.clusters().iterdir()] == [".mine.lock"]
    assert list(paths.clusters().iterdir()) == []
    with states.lock("mine"):
        State("mine", "full", 0).save()
    assert (paths.clusters() / ".mine.lock").exists()


def test_routes_in_the_way_are_seen() -> None:
    network = Addresses(3).network  # 10.83.0.0/16
    assert states.overlaps("10.83.7.0/24 dev eth0", network)
    assert states.overlaps("10.0.0.0/8 via 192.0.2.1", network)
    assert not states.overlaps("0.0.0.0/0 dev eth0\n10.84.0.0/16 dev drq4\ndefault", network)


def test_a_folder_is_removed_whole(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "link").symlink_to("/")  # another device, but not mounted in here
    (folder / "a" / "b" / "file").write_text(json.dumps({}))
    states.remove(folder)
    assert not folder.exists()

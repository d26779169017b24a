"""What a cluster's parts are configured with, and what is removed."""

import json
import ssl
import tarfile
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from devcluster.local import addons, certs, cgroups, controlplane, network, nodeconfig, pause
from devcluster.local.state import State

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setenv("DRQUEUE_CACHE", str(tmp_path))
    return State("mine", "full", 5, audit=True)


def test_containerd_reads_its_configuration(state: State) -> None:
    text = nodeconfig.containerd(
        state, runc=Path('/odd "path"/runc'), cni=Path("/cni"), snapshotter="overlayfs"
    )
    runtime = tomllib.loads(text)["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["restrict_oom_score_adj"] is True
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["BinaryName"] == '/odd "path"/runc'
    assert runtime["cni"]["conf_dir"] == str(state.folder / "cni")


def test_the_node_keeps_to_its_own_group_network_and_images(state: State) -> None:
    kubelet = json.loads(nodeconfig.kubelet(state))
    assert kubelet["cgroupRoot"] == "/drqueue-mine"
    assert kubelet["imageGCHighThresholdPercent"] == 100  # they cannot be pulled again
    assert kubelet["clusterDNS"] == ["10.85.128.10"]
    (ptp,) = json.loads(nodeconfig.cni(state))["plugins"]
    assert ptp["ipam"]["ranges"] == [[{"subnet": "10.85.1.0/24"}]]
    assert "cache" not in nodeconfig.corefile(state)
    assert json.loads(nodeconfig.kube_proxy(state))["conntrack"]["maxPerCore"] == 0


def test_one_default_storage_class_and_dns_at_the_kubelets_address(state: State) -> None:
    made = addons.objects(state)
    defaults = [
        one["metadata"]["name"]
        for one in made
        if one["kind"] == "StorageClass"
        and one["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    ]
    assert defaults == ["encrypted"]
    (dns,) = [one for one in made if one["kind"] == "Service"]
    assert dns["spec"]["clusterIP"] == json.loads(nodeconfig.kubelet(state))["clusterDNS"][0]
    folders = json.loads(nodeconfig.local_path(state))["storageClassConfigs"]
    assert set(folders) == {"encrypted", "tiny"}


def test_only_a_node_makes_the_api_server_leave_loopback(state: State) -> None:
    assert "--bind-address=10.85.0.1" in controlplane.apiserver(state)
    assert any(flag.startswith("--audit-log-path=") for flag in controlplane.apiserver(state))
    plain = State("mine", "control-plane", 5)
    flags = controlplane.apiserver(plain)
    assert "--bind-address=127.0.0.1" in flags
    assert "--endpoint-reconciler-type=none" in flags
    assert not any(flag.startswith("--audit") for flag in flags)


def test_certificates_are_made_once_and_anew_near_their_end(tmp_path: Path) -> None:
    authority = certs.Authority(tmp_path, NOW)
    pair = authority.issue("ann", "ann", ["artists"], hosts=["ann.example", "127.0.0.1"])
    first = pair.certificate.read_bytes()
    assert pair.key.stat().st_mode & 0o777 == 0o600
    context = ssl.create_default_context(cafile=str(authority.pair.certificate))
    context.load_cert_chain(pair.certificate, pair.key)
    found = x509.load_pem_x509_certificate(first)
    assert found.subject.rfc4514_string() == "O=artists,CN=ann"
    assert certs.Authority(tmp_path, NOW).issue("ann", "ann").certificate.read_bytes() == first
    late = NOW + certs.VALID - timedelta(days=1)
    assert certs.Authority(tmp_path, late).issue("ann", "ann").certificate.read_bytes() != first


def test_only_a_bridge_that_bears_our_mark_is_ours() -> None:
    links = json.dumps([{"ifname": "drq1"}, {"ifname": "drq2", "ifalias": "drqueue:mine"}])
    assert network.bridge_of(links, "mine") == "drq2"
    assert network.bridge_of(links, "min") is None
    assert network.bridge_of("", "mine") is None


def test_control_groups_are_made_in_every_hierarchy_and_removed(tmp_path: Path) -> None:
    for hierarchy in ("cpuset", "memory"):
        (tmp_path / hierarchy).mkdir()
        (tmp_path / hierarchy / "cgroup.procs").touch()
    (tmp_path / "cpu").symlink_to("memory")  # as version 1 has it: one hierarchy, two names
    (tmp_path / "unrelated").mkdir()
    cgroups.make("mine", tmp_path)
    inner = tmp_path / "memory" / "drqueue-mine" / "kubepods" / "pod1"
    inner.mkdir(parents=True)
    (tmp_path / "memory" / "drqueue-other").mkdir()
    assert (tmp_path / "cpuset" / "drqueue-mine").is_dir()
    assert not (tmp_path / "unrelated" / "drqueue-mine").exists()
    cgroups.remove("mine", tmp_path)
    assert {p.name for p in tmp_path.glob("*/drqueue-*")} == {"drqueue-other"}


def test_the_pause_image_is_an_archive_with_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CATATONIT", "BUSYBOX"):
        (tmp_path / name).write_text(name)
        monkeypatch.setattr(pause, name, tmp_path / name)
    pause.write(tmp_path / "pause.tar", "example/pause:1")
    with tarfile.open(tmp_path / "pause.tar") as archive:
        (manifest,) = json.loads(_content(archive, "manifest.json"))
        config = json.loads(_content(archive, manifest["Config"]))
        layer = archive.extractfile("layer.tar")
        assert layer is not None
        with tarfile.open(fileobj=layer) as files:
            assert files.getmember("bin/sh").linkname == "busybox"
            assert _content(files, "catatonit") == b"CATATONIT"
    assert manifest["RepoTags"] == ["example/pause:1"]
    assert config["config"]["Entrypoint"][0] == "/catatonit"


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()

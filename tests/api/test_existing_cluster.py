"""CLUSTER=existing: the cluster behind the kubeconfig in force, which is the user's and stays."""

from pathlib import Path

import pytest
import yaml

from devcluster import clusters, existing
from devcluster.errors import DevclusterError
from tests.control_plane import Cluster


@pytest.fixture(autouse=True)
def chosen(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    monkeypatch.setenv("CLUSTER", "existing")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("IMAGE_PREFIX", "registry.example/farm")


def test_it_is_used_as_it_is_with_the_images_as_it_will_pull_them(cluster: Cluster) -> None:
    started = clusters.start("none", targets=("operator", "slave"))
    assert (started.way, started.kubeconfig) == ("existing", cluster.kubeconfig)
    assert started.values()["slave"] == {"repository": "registry.example/farm/slave", "tag": "dev"}
    assert started.way_down() == existing.STAYS


def test_it_is_not_taken_down(cluster: Cluster) -> None:
    with pytest.raises(DevclusterError, match="yours and stays: `helm uninstall drqueue"):
        clusters.stop("none")
    existing.require_reachable(cluster.kubeconfig)


def test_one_that_does_not_answer_is_said_at_once(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = yaml.safe_load(cluster.kubeconfig.read_text())
    known["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    deaf = tmp_path / "kubeconfig"
    deaf.write_text(yaml.safe_dump(known))
    monkeypatch.setenv("KUBECONFIG", str(deaf))
    with pytest.raises(DevclusterError, match=r"does not answer.*use-context"):
        clusters.start("none")

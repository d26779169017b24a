"""A real control plane for tests marked `api`, and for anyone's who need no kubelet.

`cluster` starts etcd, an API server and a controller-manager (so that namespaces and owned objects
really go), applies the CRDs of this tree, and takes it all down after the last test. With
DRQUEUE_TEST_KUBECONFIG the tests use the cluster behind that kubeconfig instead; they apply the
CRDs there, and make and delete namespaces called `test-…`.

`api_client` is a synchronous kubernetes client; asynchronous tests load `cluster.kubeconfig`
themselves. `namespace` is a fresh namespace a test, deleted behind it without waiting.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client, config

from devcluster import local
from tests.admission import Admission
from tests.api.books import PaidFarm, paid_farm
from tests.api.reconciling import Farm
from tests.control_plane import Cluster, apply_crds


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("api")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start (or reuse) a control plane, with the CRDs of this tree."""
    given = os.environ.get("DRQUEUE_TEST_KUBECONFIG")
    if given:
        apply_crds(Path(given))
        yield Cluster(Path(given))
        return
    name = f"test-{uuid.uuid4().hex[:6]}"
    try:
        kubeconfig = local.start(name, "control-plane").kubeconfig
        apply_crds(kubeconfig)
        yield Cluster(kubeconfig)
    finally:
        local.stop(name)


@pytest.fixture(scope="session")
def api_client(cluster: Cluster) -> Iterator[client.ApiClient]:
    """Give a synchronous client with every right on the cluster."""
    with config.new_client_from_config(str(cluster.kubeconfig)) as made:
        yield made


@pytest.fixture
def namespace(api_client: client.ApiClient) -> Iterator[str]:
    """Make a fresh namespace, and delete it behind the test."""
    core = client.CoreV1Api(api_client)
    name = f"test-{uuid.uuid4().hex[:10]}"
    core.create_namespace({"metadata": {"name": name}})
    yield name
    try:
        core.delete_namespace(name)
    except client.ApiException as error:  # the test did
        if error.status != 404:
            raise


@pytest.fixture
def farm(
    cluster: Cluster, api_client: client.ApiClient, namespace: str, tmp_path: Path
) -> Iterator[Farm]:
    """Give an operator with a class, and see that all is gone behind the test."""
    made = Farm(cluster, api_client, namespace, tmp_path)
    try:
        with made.kubelet:
            made.operator.wait_leading()
            made.make("RenderNodeClass", spec__drainGrace="5s")
            yield made
            made.clean_up()
    finally:
        made.operator.kill()
        made.master.clean_up()
        made.remove_class()


@pytest.fixture
def admission(api_client: client.ApiClient, namespace: str) -> Admission:
    """Create and edit in a fresh namespace."""
    return Admission(api_client, namespace)


@pytest.fixture(scope="module")
def dry_run(api_client: client.ApiClient) -> Admission:
    """Ask for verdicts with `dry_run="All"`, storing nothing."""
    return Admission(api_client, "default")


@pytest.fixture
def paid(
    cluster: Cluster, api_client: client.ApiClient, namespace: str, tmp_path: Path
) -> Iterator[PaidFarm]:
    """Give an operator with a priced class, and books that are in order behind the test."""
    with paid_farm(PaidFarm(cluster, api_client, namespace, tmp_path)) as made:
        made.operator.wait_leading()
        yield made

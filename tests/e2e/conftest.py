"""A real cluster with the chart installed, once a run; a tenant's namespace for each test.

`CLUSTER_NAME` and `CLUSTER` choose the cluster, as with `make cluster`; it is left running, so that
a second run of the tests starts at once (`make cluster-down` removes it).
"""

import contextlib
import fcntl
import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as k8s
from kubernetes import config as k8s_config

from devcluster import clusters, local
from helm.chart import CHART, Helm
from tests.e2e.aftermath import comes_to_rest
from tests.e2e.farm import SYSTEM_NAMESPACE, Farm, Object
from tests.e2e.waiting import wait

ROOT = Path(__file__).parents[2]
NODE_CLASS = "e2e"
LEASE_SECONDS = 15
"""Short, so that a frozen slave's lease is given away within a test."""


@dataclass
class Installed:
    """The chart on a cluster."""

    cluster: clusters.Started
    api: k8s.ApiClient
    values: Mapping[str, Any]
    scratch: Path
    image: str
    """The operator's image, which tests run pods of their own from."""

    @property
    def kubeconfig(self) -> Path:
        return self.cluster.kubeconfig

    def install(self, values: Mapping[str, Any] | None = None, chart: Path = CHART) -> None:
        """Install or upgrade, and wait until the operator is Ready."""
        Helm(kubeconfig=self.kubeconfig, chart=chart).install({**self.values, **(values or {})})

    upgrade = install

    def uninstall(self) -> None:
        """Uninstall, pre-delete hook included."""
        Helm(kubeconfig=self.kubeconfig).uninstall()

    def previous_chart(self) -> Path:
        """The chart as of the commit before the newest; this tree's where there is none."""
        where = self.scratch / "previous"
        listed = subprocess.run(
            ["git", "archive", "HEAD~1", "helm/drqueue-operator"],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        if listed.returncode != 0:
            return CHART
        where.mkdir(exist_ok=True)
        subprocess.run(["tar", "-x", "-C", str(where)], input=listed.stdout, check=True)
        return where / "helm" / "drqueue-operator"

    def operator_pod(self) -> Object:
        """The operator's pod that holds the lease."""

        def holder() -> Object | None:
            lease = k8s.CoordinationV1Api(self.api).list_namespaced_lease(SYSTEM_NAMESPACE)
            holders = {item.spec.holder_identity for item in lease.items}
            pods = k8s.CoreV1Api(self.api).list_namespaced_pod(
                SYSTEM_NAMESPACE, label_selector="app.kubernetes.io/name=drqueue-operator"
            )
            for pod in pods.items:
                if pod.metadata.name in holders and pod.status.phase == "Running":
                    return dict(self.api.sanitize_for_serialization(pod))
            return None

        return wait("an operator that leads", holder, timeout=120)

    def replace_operator(self) -> None:
        """Have another pod of the operator's: one killed again soon starts later and later."""
        old = self.operator_pod()["metadata"]["name"]
        core = k8s.CoreV1Api(self.api)
        core.delete_namespaced_pod(old, SYSTEM_NAMESPACE)
        wait("another operator", lambda: self.operator_pod()["metadata"]["name"] != old)

    @contextlib.contextmanager
    def api_server_stopped(self, seconds: float) -> Iterator[None]:
        """The API server gone for so long, from the start of the block."""
        local.stop_apiserver(self.cluster.name)
        until = time.monotonic() + seconds
        try:
            yield
        finally:
            while time.monotonic() < until:  # the fault itself lasts, nothing is waited for
                time.sleep(0.2)
            local.start_apiserver(self.cluster.name)

    def metrics(self) -> str:
        """The operator's metrics, by way of the API server's proxy."""
        pod = self.operator_pod()["metadata"]["name"]
        return str(
            k8s.CoreV1Api(self.api).connect_get_namespaced_pod_proxy_with_path(
                f"{pod}:8080", SYSTEM_NAMESPACE, "metrics"
            )
        )

    def mutations(self) -> float:
        """How many mutating requests the operator has sent, leases and events left out."""
        total = 0.0
        for line in self.metrics().splitlines():
            match = re.match(r"drqueue_api_requests_total\{(.*)\} (\S+)", line)
            mutating = match and re.search(r'verb="(create|apply|patch|update|delete)', match[1])
            if match and mutating and not re.search(r'kind="(Lease|Event)"', match[1]):
                total += float(match[2])
        return total

    def wait_quiet(self, seconds: float, timeout: float = 120) -> None:
        """Wait for a stretch of so many seconds without a mutating request."""
        count, since = -1.0, time.monotonic()

        def quiet() -> bool:
            nonlocal count, since
            if (now := self.mutations()) != count:
                count, since = now, time.monotonic()
            return time.monotonic() - since >= seconds

        wait(f"{seconds} s without a write", quiet, timeout=timeout, seen=lambda: count)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A full cluster, the images in it, the chart installed with a short lease."""
    name = os.environ.get("CLUSTER_NAME", "drqueue")
    shared = tmp_path_factory.getbasetemp().parent  # by all of xdist's workers
    with (shared / "installing.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _install(name, tmp_path_factory.mktemp("chart"))


def _install(name: str, scratch: Path) -> Installed:
    cluster = clusters.start(name, targets=("operator", "slave"))
    api = k8s_config.new_client_from_config(str(cluster.kubeconfig))
    values = {
        "images": cluster.values(),
        "leaseSeconds": LEASE_SECONDS,
    }
    image = next(i.name for i in cluster.images if i.target == "operator")
    farm = Installed(cluster, api, values, scratch, image)
    farm.install()
    _node_class(api, NODE_CLASS, {})
    return farm


def _node_class(api: k8s.ApiClient, name: str, spec: Object) -> None:
    body = {
        "apiVersion": "drqueue.org/v1alpha1",
        "kind": "RenderNodeClass",
        "metadata": {"name": name},
        "spec": {
            "provider": {"kubernetes": {"resources": {"cores": "100m", "memory": "256Mi"}}},
            "renderers": ["povray", "general"],
            "drainGrace": "60s",
            **spec,
        },
    }
    custom = k8s.CustomObjectsApi(api)
    where = ("drqueue.org", "v1alpha1", "rendernodeclasses")
    try:
        custom.create_cluster_custom_object(*where, body)
    except k8s.ApiException as error:  # of another of xdist's workers, or of a run before
        if error.status != 409:
            raise


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def farm(installed: Installed, request: pytest.FixtureRequest) -> Iterator[Farm]:
    """A fresh tenant's namespace, under Pod Security restricted; removed after the test.

    What passed must come to rest as well: nothing left behind, the operator quiet.
    """
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    core = k8s.CoreV1Api(installed.api)
    core.create_namespace(
        {
            "metadata": {
                "name": name,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            }
        }
    )
    tenant = Farm(installed.api, name, installed.kubeconfig, NODE_CLASS, installed.image)
    yield tenant
    if request.node.stash.get(PASSED, False):
        comes_to_rest(tenant)
    for _, made in tenant.made:
        tenant.delete_class(made)
    with contextlib.suppress(k8s.ApiException):
        core.delete_namespace(name)
    wait(
        f"namespace {name} gone",
        lambda: not core.list_namespace(field_selector=f"metadata.name={name}").items,
        timeout=180,
        seen=lambda: json.loads(json.dumps(tenant.snapshot(), default=str)),
    )


@pytest.fixture(scope="session")
def blender_class(installed: Installed) -> str:
    """A node class whose image has Blender."""
    image = clusters.load_images(installed.cluster.name, ["slave-blender"])[0].name
    spec = {
        "provider": {
            "kubernetes": {
                "image": image,
                "resources": {"cores": "100m", "memory": "1Gi"},
            }
        },
        "renderers": ["blender", "general"],
    }
    _node_class(installed.api, "e2e-blender", spec)
    return "e2e-blender"


@pytest.fixture(scope="session")
def tiny_storage(installed: Installed) -> str:
    """A storage class whose volumes have a few MiB."""
    return "tiny"

"""Evidence of a slave's time: Kubernetes writes it, and no right of a tenant's lets them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from kubernetes import client
from kubernetes.dynamic.exceptions import ForbiddenError

from tests.api.installed import Server, binding, chart_on, eventually

MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Tenant:
    """A tenant's namespace, in which the user `wildcard` has every right."""

    server: Server
    namespace: str


@pytest.fixture(scope="module")
def server(cluster, api_client: client.ApiClient) -> Iterator[Server]:  # type: ignore[no-untyped-def]
    with chart_on(cluster.kubeconfig, api_client) as made:
        yield made


@pytest.fixture
def tenant(server: Server, namespace: str) -> Tenant:
    rbac = client.RbacAuthorizationV1Api(server.api)
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    role = {"metadata": {"name": "everything"}, "rules": [rule]}
    rbac.create_namespaced_role(namespace, role)
    rbac.create_namespaced_role_binding(namespace, binding("wildcard", "Role", "everything"))
    return Tenant(server, namespace)


def slaves_pod(tenant: Tenant) -> str:
    """A slave's pod, as the operator makes it."""
    core = client.CoreV1Api(tenant.server.api)
    eventually(
        lambda: core.list_namespaced_service_account(tenant.namespace).items,
        "the namespace's service account, without which it takes no pods",
    )
    name = f"slave-{uuid.uuid4().hex[:6]}"
    meta = {
        "name": name,
        "finalizers": ["drqueue.org/end-recorded"],
        "labels": {"drqueue.org/node": name, "app.kubernetes.io/managed-by": "drqueue", "a": "b"},
    }
    size = {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}
    container = {"name": "slave", "image": "none", "resources": size}
    # a kubelet may write of pods on its own machine only
    body = {"metadata": meta, "spec": {"containers": [container], "nodeName": "machine-1"}}
    with tenant.server.speaking_as(tenant.server.operator) as operator:
        operator.resources.get(api_version="v1", kind="Pod").create(
            body={"apiVersion": "v1", "kind": "Pod", **body}, namespace=tenant.namespace
        )
    return name


@pytest.fixture
def pod(tenant: Tenant) -> Iterator[str]:
    name = slaves_pod(tenant)
    yield name
    with tenant.server.speaking_as(tenant.server.operator) as operator:
        pods = operator.resources.get(api_version="v1", kind="Pod")
        body = {"metadata": {"finalizers": None}}
        pods.patch(name=name, namespace=tenant.namespace, body=body, content_type=MERGE)
        pods.delete(name=name, namespace=tenant.namespace, grace_period_seconds=0)


ENDED_EARLY = {"status": {"phase": "Failed"}}


def test_a_tenant_forges_no_evidence(tenant: Tenant, pod: str) -> None:
    """What a node's time is reckoned from, and what ties the pod to its node."""
    with tenant.server.speaking_as("wildcard") as speaker:
        pods = speaker.resources.get(api_version="v1", kind="Pod")
        where = {"name": pod, "namespace": tenant.namespace, "content_type": MERGE}
        with pytest.raises(ForbiddenError, match="are what is paid by"):
            pods.status.patch(body=ENDED_EARLY, **where)
        for labels in ({"drqueue.org/node": "other"}, {"app.kubernetes.io/managed-by": None}):
            with pytest.raises(ForbiddenError, match="its labels on a slave's pod"):
                pods.patch(body={"metadata": {"labels": labels}}, **where)
        pods.patch(body={"metadata": {"labels": {"a": "c", "d": "e"}}}, **where)


def test_a_tenant_gets_the_machine_that_is_paid_for(tenant: Tenant, pod: str) -> None:
    body = {"spec": {"containers": [{"name": "slave", "image": "other"}]}}
    larger = {"requests": {"cpu": "8"}, "limits": {"cpu": "8"}}
    size = {"spec": {"containers": [{"name": "slave", "resources": larger}]}}
    merge = "application/strategic-merge-patch+json"
    with tenant.server.speaking_as("wildcard") as speaker:
        for rest, change in (("", body), ("/resize", size)):
            path = f"/api/v1/namespaces/{tenant.namespace}/pods/{pod}{rest}"
            with pytest.raises(ForbiddenError, match="is what was paid for"):
                speaker.request("patch", path, body=change, content_type=merge)


@pytest.mark.parametrize(
    ("user", "group"),
    [
        ("system:node:machine-1", "system:nodes"),
        ("system:kube-scheduler", ""),
        ("system:serviceaccount:kube-system:node-controller", ""),
    ],
)
def test_kubernetes_itself_writes_evidence(tenant: Tenant, pod: str, user: str, group: str) -> None:
    """Roles are not what this is about, so the user gets all of them."""
    rbac = client.RbacAuthorizationV1Api(tenant.server.api)
    name = f"everything-{uuid.uuid4().hex[:6]}"
    role = binding(user, "Role", "everything")
    rbac.create_namespaced_role_binding(tenant.namespace, {**role, "metadata": {"name": name}})

    def written() -> bool:
        with tenant.server.speaking_as(user, group) as speaker:
            pods = speaker.resources.get(api_version="v1", kind="Pod")
            try:
                pods.status.patch(
                    body=ENDED_EARLY, name=pod, namespace=tenant.namespace, content_type=MERGE
                )
            except ForbiddenError as error:
                assert "are what is paid by" not in str(error)
                return False  # the binding is not known to the authorizer yet
        return True

    eventually(written, "the status written")

"""Two releases in one cluster, each with its tenant and its books: neither minds the other."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from drqueue.api import GROUP, VERSION
from kubernetes import client
from kubernetes.dynamic.exceptions import ForbiddenError

from tests.api.installed import Server, chart_on, eventually
from tests.manifests import PLURALS, manifest

Releases = dict[str, Server]
"""By the namespace of the one tenant that each watches."""


@pytest.fixture(scope="module")
def releases(cluster, api_client: client.ApiClient) -> Iterator[Releases]:  # type: ignore[no-untyped-def]
    core = client.CoreV1Api(api_client)
    tenants = [f"test-two-{uuid.uuid4().hex[:6]}" for _ in range(2)]
    for name in tenants:
        core.create_namespace({"metadata": {"name": name}})
        eventually(
            lambda name=name: core.list_namespaced_service_account(name).items,  # type: ignore[misc]
            "the namespace's service account, without which it takes no pods",
        )
    with (
        chart_on(cluster.kubeconfig, api_client, (tenants[0],)) as first,
        chart_on(cluster.kubeconfig, api_client, (tenants[1],)) as second,
    ):
        yield {tenants[0]: first, tenants[1]: second}
    for name in tenants:
        core.delete_namespace(name)


def path(kind: str, namespace: str, *rest: str) -> str:
    return "/".join(("/apis", GROUP, VERSION, "namespaces", namespace, PLURALS[kind], *rest))


def test_each_operator_writes_what_is_its_own(releases: Releases) -> None:
    for tenant, server in releases.items():
        where = path("RenderNode", tenant)
        with server.speaking_as(server.operator) as operator:
            found: Any = operator.request("post", where, body=manifest("RenderNode"))
            status = {"phase": "Launching"}
            body = {**found.to_dict(), "status": status}
            operator.request("put", f"{where}/{found.metadata.name}/status", body=body)
            operator.request("delete", f"{where}/{found.metadata.name}")


def test_each_keeps_its_own_books(releases: Releases, namespace: str) -> None:
    for tenant, server in releases.items():
        with server.speaking_as("root", "system:masters") as root:
            account = manifest("RenderAccount")
            root.request("post", path("RenderAccount", server.books), body=account, dry_run="All")
            with pytest.raises(ForbiddenError, match=f"in namespace {server.books} only"):
                root.request("post", path("RenderAccount", tenant), body=account, dry_run="All")
            # nobody's business
            root.request("post", path("RenderAccount", namespace), body=account, dry_run="All")


def test_a_class_is_shared_so_that_roles_alone_guard_its_status(releases: Releases) -> None:
    for server in releases.values():
        with server.speaking_as(server.operator) as operator, pytest.raises(Exception, match="404"):
            operator.request(
                "put",
                f"/apis/{GROUP}/{VERSION}/rendernodeclasses/none/status",
                body=manifest("RenderNodeClass", name="none"),
            )

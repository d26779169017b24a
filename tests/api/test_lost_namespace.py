"""A release that watches two namespaces, and loses its rights in one: the other goes on."""

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from drqueue.api.names import invoice_name
from kubernetes import client

from helm.chart import Helm
from tests.api.installed import Object, Server, chart_on, eventually
from tests.api.test_hooks import Farm, token_config
from tests.api.test_operator_rights import Operator
from tests.api.test_reinstall import in_books, pay_in, priced_class
from tests.manifests import manifest

__all__ = ["priced_class"]

RBAC = "rbac.authorization.k8s.io/v1"


class Tenants:
    """A release's two namespaces, and its operator as often as it is started."""

    def __init__(self, server: Server, names: tuple[str, str], folder: Path) -> None:
        self.server = server
        self.names = names
        self.kept, self.lost = (Farm(server, name) for name in names)
        self.lent = f"{server.namespace}-lent"
        self.folder = folder
        self.kubeconfig = token_config(server, server.operator, folder)

    @contextmanager
    def operator(self) -> Iterator[Operator]:
        """Run the operator; on an error its log is shown."""
        made = Operator(self.server, self.kubeconfig, self.folder, self.names)
        try:
            yield made
        except BaseException:
            sys.stderr.write(made.log.read_text()[-6000:])
            raise
        finally:
            made.end()

    def binding(self) -> Object:
        """The chart's RoleBinding in the namespace that is to be lost."""
        chart = Helm(namespace=self.server.namespace)
        for obj in chart.template({"watchNamespaces": list(self.names)}):
            if obj["kind"] == "RoleBinding" and obj["metadata"]["namespace"] == self.names[1]:
                return obj
        raise LookupError(self.names[1])

    def lend(self) -> None:
        """Give the operator its tenants' rights everywhere, as a cluster admin would."""
        bound = {name: self.binding()[name] for name in ("roleRef", "subjects")}
        meta = {"name": self.lent}
        self.server.apply(
            {"apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": meta, **bound}
        )

    def give_back(self) -> None:
        """Take them away where they were lent."""
        with suppress(client.ApiException):
            client.RbacAuthorizationV1Api(self.server.api).delete_cluster_role_binding(self.lent)

    def refused(self, operator: Operator) -> bool:
        """Tell whether the operator says that it may not read the one that is to be lost."""
        return f'drqueue_tenant_refused{{tenant="{self.names[1]}"}} 1.0' in operator.metrics()


@pytest.fixture
def tenants(cluster: Any, api_client: client.ApiClient, tmp_path: Path) -> Iterator[Tenants]:
    core = client.CoreV1Api(api_client)
    names = (f"test-kept-{uuid.uuid4().hex[:6]}", f"test-lost-{uuid.uuid4().hex[:6]}")
    for name in names:
        core.create_namespace({"metadata": {"name": name}})
    try:
        with chart_on(cluster.kubeconfig, api_client, names) as server:
            made = Tenants(server, names, tmp_path)
            yield made
            made.give_back()
    finally:
        for name in names:
            with suppress(client.ApiException):
                core.delete_namespace(name)


def status(farm: Farm, name: str = "teapots") -> Object:
    found: Object = farm.get("RenderSession", name).get("status") or {}
    return found


def order(farm: Farm, node_class: str) -> Object:
    spec = {"nodeClassName": node_class, "nodes": 1, "renderTime": "1000s"}
    return farm.make("RenderSession", "teapots", spec, finalizers=[])


def end(farm: Farm) -> None:
    farm.kind("RenderSession").delete(name="teapots", namespace=farm.namespace)
    eventually(lambda: not farm.names("RenderSession"), "the session gone")


def test_who_is_watched_beside_a_namespace_without_rights_is_served(tenants: Tenants) -> None:
    binding = tenants.binding()
    rbac = client.RbacAuthorizationV1Api(tenants.server.api)
    rbac.delete_namespaced_role_binding(binding["metadata"]["name"], tenants.names[1])
    for farm in (tenants.kept, tenants.lost):
        order(farm, "none")
    with tenants.operator() as operator:
        eventually(lambda: status(tenants.kept), "a status where it has rights")
        assert tenants.refused(operator)
        assert not status(tenants.lost)
        tenants.server.apply(binding)
        eventually(lambda: operator.process.poll() is not None, "the process ends")
        assert operator.process.returncode == 0
        assert f"Namespace {tenants.names[1]} can be read" in operator.log.read_text()
    with tenants.operator() as operator:
        eventually(lambda: status(tenants.lost), "a status where it has rights again")
        assert not tenants.refused(operator)
        end(tenants.lost)
        end(tenants.kept)


def test_a_namespace_deleted_with_a_paid_session_holds_up_nobody(
    tenants: Tenants, priced_class: str
) -> None:
    server, lost = tenants.server, tenants.names[1]
    pay_in(server, lost)
    with tenants.operator():
        session = order(tenants.lost, priced_class)
        eventually(
            lambda: (status(tenants.lost).get("funding") or {}).get("state") == "Funded",
            "the session funded",
        )
    times = {"readyAt": "2026-01-01T12:00:00Z", "endedAt": "2026-01-01T12:05:00Z"}
    tenants.lost.node("first", session, {"phase": "Ended", **times})
    core, rbac = client.CoreV1Api(server.api), client.RbacAuthorizationV1Api(server.api)
    core.delete_namespace(lost)
    eventually(
        lambda: not rbac.list_namespaced_role_binding(lost).items, "the operator's rights gone"
    )
    order(tenants.kept, "none")
    more = manifest("RenderPayment", {"spec.accountName": lost, "spec.amount": "5.00"}, "more")
    more["metadata"]["namespace"] = server.books

    def account() -> Object:
        found = in_books(server, "renderaccounts", lost) or {}
        return found.get("status") or {}

    with tenants.operator() as operator:
        eventually(lambda: status(tenants.kept), "a status in the other namespace")
        assert tenants.refused(operator)
        server.apply(more)
        eventually(lambda: account()["balance"] == "14.00", "a payment booked all the same")
        assert account()["reserved"] == "1.00"
        ready = next(c for c in account()["conditions"] if c["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("True", "SessionUnreadable")
        assert f"{lost}/teapots" in ready["message"]

        tenants.lend()
        eventually(lambda: operator.process.poll() is not None, "the process ends")
    with tenants.operator():
        eventually(
            lambda: core.list_namespace(field_selector=f"metadata.name={lost}").items == [],
            "the namespace gone",
        )
        invoice = in_books(server, "renderinvoices", invoice_name(session["metadata"]["uid"]))
        assert invoice is not None
        assert (invoice["spec"]["usedSeconds"], invoice["spec"]["total"]) == (300, "0.30")
        eventually(lambda: account()["balance"] == "14.70", "the rest given back")
        eventually(
            lambda: any(c["reason"] == "InOrder" for c in account()["conditions"]),
            "the account in order",
        )
        end(tenants.kept)

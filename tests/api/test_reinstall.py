"""A paid session through an uninstall: the books stay, and the next operator invoices from them."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from drqueue.api import GROUP, VERSION
from drqueue.api.names import FINALIZER, invoice_name
from kubernetes import client

from tests.api.installed import Object, Server, chart_on, eventually
from tests.api.test_hooks import Farm, finish, hook_arguments, start, token_config
from tests.api.test_operator_rights import Operator
from tests.manifests import manifest, settled_seconds


@pytest.fixture(scope="module")
def server(cluster, api_client: client.ApiClient) -> Iterator[Server]:  # type: ignore[no-untyped-def]
    with chart_on(cluster.kubeconfig, api_client) as made:
        yield made


@pytest.fixture
def priced_class(api_client: client.ApiClient) -> Iterator[str]:
    kinds, name = client.CustomObjectsApi(api_client), f"paid-{uuid.uuid4().hex[:6]}"
    price = {"currency": "EUR", "machinePerHour": "3.60"}  # a thousandth of it a second
    body = manifest("RenderNodeClass", {"spec.price": price}, name)
    kinds.create_cluster_custom_object(GROUP, VERSION, "rendernodeclasses", body)
    yield name
    kinds.delete_cluster_custom_object(GROUP, VERSION, "rendernodeclasses", name)


def in_books(server: Server, kind: str, name: str) -> Object | None:
    try:
        found: Object = client.CustomObjectsApi(server.api).get_namespaced_custom_object(
            GROUP, VERSION, server.books, kind, name
        )
    except client.ApiException as error:
        if error.status == 404:
            return None
        raise
    return found


def pay_in(server: Server, tenant: str) -> None:
    """An account for the tenant, with 10 EUR."""
    for obj in (
        manifest("RenderAccount", {"spec.namespaces": [tenant]}, tenant),
        manifest("RenderPayment", {"spec.accountName": tenant, "spec.amount": "10.00"}, tenant),
    ):
        obj["metadata"]["namespace"] = server.books
        server.apply(obj)


def test_the_books_outlive_the_release(
    server: Server, namespace: str, priced_class: str, tmp_path: Path
) -> None:
    farm = Farm(server, namespace)
    pay_in(server, namespace)
    kubeconfig = token_config(server, server.operator, tmp_path)
    operator = Operator(server, kubeconfig, tmp_path)
    try:
        spec = {"nodeClassName": priced_class, "nodes": 1, "renderTime": "1000s"}
        session = farm.make("RenderSession", "teapots", spec, finalizers=[])

        def funded() -> bool:
            status = farm.get("RenderSession", "teapots").get("status") or {}
            return (status.get("funding") or {}).get("state") == "Funded"

        eventually(funded, "the session funded")
    finally:
        operator.end()
    # nodes that were used for longer than what was bought, as an operator would have left them
    for name, until in (("first", "12:05:00"), ("second", "12:15:00")):
        times = {"readyAt": "2026-01-01T12:00:00Z", "endedAt": f"2026-01-01T{until}Z"}
        farm.node(name, session, {"phase": "Ended", **times})
    before = in_books(server, "renderaccounts", namespace)
    assert before is not None
    assert before["status"]["reserved"] == "1.00"

    hook = token_config(server, server.uninstall, tmp_path)
    arguments = hook_arguments(server, "drqueue-operator-uninstall")
    finish(start(hook, "drqueue.control.uninstall", *arguments))
    left = farm.get("RenderSession", "teapots")
    assert settled_seconds(left["status"]) == 1000, "never more than was bought"
    assert not left["metadata"].get("finalizers")
    assert in_books(server, "renderaccounts", namespace) == before

    again = Operator(server, kubeconfig, tmp_path)
    uid = session["metadata"]["uid"]
    try:
        eventually(
            lambda: (
                FINALIZER
                in (farm.get("RenderSession", "teapots")["metadata"].get("finalizers") or ())
            ),
            "the session taken up",
        )
        farm.kind("RenderSession").delete(name="teapots", namespace=namespace)
        eventually(lambda: "teapots" not in farm.names("RenderSession"), "the session gone")
        invoice = in_books(server, "renderinvoices", invoice_name(uid))
        assert invoice is not None, "the session went before its invoice was there"
        assert invoice["spec"]["usedSeconds"] == 1000
        assert invoice["spec"]["total"] == "1.00"

        def settled() -> bool:
            account = in_books(server, "renderaccounts", namespace) or {}
            status = account["status"]
            return (status["balance"], status["reserved"]) == ("9.00", "0.00")

        eventually(settled, "9 EUR left, and nothing reserved")
    finally:
        again.end()

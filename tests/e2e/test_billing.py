"""Render time paid in advance, on real nodes: bought, used up, topped up, invoiced."""

from datetime import datetime
from decimal import Decimal

import pytest
from drqueue.api.names import invoice_name
from drqueue.billing.check import check_books
from kubernetes import client as k8s

from tests.e2e.commands import FILES, GATED, QUICK
from tests.e2e.farm import SYSTEM_NAMESPACE, Farm, Object, counted_once

pytestmark = pytest.mark.e2e

BOOKS = f"{SYSTEM_NAMESPACE}-billing"
PRICE = {"currency": "EUR", "machinePerHour": "30", "servicePerHour": "6"}
"""36 an hour: a cent a node-second."""


class Customer:
    """A tenant with an account and a priced class of its own."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.name = farm.namespace
        self.node_class = farm.own_class(price=PRICE, drainGrace="5s")
        self._books = k8s.CustomObjectsApi(farm.api)
        spec = {"owner": "Studio", "currency": "EUR", "namespaces": [farm.namespace]}
        self._make("RenderAccount", "renderaccounts", self.name, spec)

    def _make(self, kind: str, plural: str, name: str, spec: Object) -> None:
        body = {
            "apiVersion": "drqueue.org/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        self._books.create_namespaced_custom_object("drqueue.org", "v1alpha1", BOOKS, plural, body)

    def pay(self, amount: str, name: str = "first") -> None:
        spec = {"accountName": self.name, "amount": amount, "currency": "EUR", "reference": name}
        self._make("RenderPayment", "renderpayments", f"{self.name}-{name}", spec)

    def listed(self, plural: str) -> list[Object]:
        found = self._books.list_namespaced_custom_object("drqueue.org", "v1alpha1", BOOKS, plural)
        return [dict(item) for item in found["items"]]

    def account(self) -> Object:
        mine = (a for a in self.listed("renderaccounts") if a["metadata"]["name"] == self.name)
        return next(mine)

    def balance(self) -> Decimal:
        return Decimal((self.account().get("status") or {}).get("balance", "0"))

    def invoice(self, session: Object) -> Object:
        """The session's invoice, once it is in the books and they are at rest."""
        name = invoice_name(session["metadata"]["uid"])

        def there() -> Object | None:
            made = [i for i in self.listed("renderinvoices") if i["metadata"]["name"] == name]
            busy = (self.account()["status"]).get("invoicing")
            return made[0] if made and not busy else None

        found = self.farm.wait("the invoice", there)
        sessions = self.farm.objects("RenderSession")
        lists = (self.listed(plural) for plural in ("renderpayments", "renderinvoices"))
        payments, invoices = lists
        assert check_books(self.account(), payments, invoices, sessions) == []
        return found


def _seconds(node: Object) -> int:
    status = node["status"]
    ended, ready = (datetime.fromisoformat(status[k]) for k in ("endedAt", "readyAt"))
    return int((ended - ready).total_seconds())


def test_a_session_waits_for_money_renders_and_is_invoiced(farm: Farm) -> None:
    customer = Customer(farm)
    session = farm.session(nodeClassName=customer.node_class, nodes=1, renderTime="10m")
    farm.job(command=GATED, frames="1-2", output={"files": FILES})
    missing = farm.wait_condition("RenderSession", "show", type="Funded", reason="AwaitingPayment")
    assert "6.00" in missing["message"]
    assert not farm.pods("slave"), "nothing starts before it is paid"

    customer.pay("10.00")
    farm.wait_rendering(1)
    assert customer.balance() == Decimal("4.00")
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-2")
    farm.delete("RenderSession", "show")
    spec = customer.invoice(session)["spec"]
    assert Decimal(spec["total"]) == Decimal(spec["usedSeconds"]) / 100
    assert 0 < spec["usedSeconds"] < 600
    assert customer.balance() == Decimal("10.00") - Decimal(spec["total"])
    said = farm.drqueue("account", "statement", customer.name).stdout
    assert spec["total"] in said


def test_time_used_up_is_bought_again(farm: Farm) -> None:
    customer = Customer(farm)
    customer.pay("5.00")
    session = farm.session(nodeClassName=customer.node_class, nodes=1, renderTime="15s")
    farm.job(command=GATED, frames="1-2", output={"files": FILES})
    farm.wait_condition("RenderSession", "show", reason="Exhausted", timeout=240)
    farm.wait(
        "the job says why",
        lambda: "render time" in (farm.get("RenderJob", "job") or {})["status"].get("message", ""),
    )
    farm.wait("no node", lambda: not farm.pods("slave"))
    used = farm.get("RenderSession", "show") or {}
    assert used["status"]["renderTime"]["used"] == "15s", "what drains is on the house"

    farm.patch("RenderSession", "show", {"spec": {"renderTime": "5m"}})
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-2")
    farm.delete("RenderSession", "show")
    spec = customer.invoice(session)["spec"]
    # Kubernetes tells whole seconds: the second node may have lived within one
    assert 15 <= spec["usedSeconds"] < 300


def test_a_namespace_deleted_while_it_renders_is_invoiced(farm: Farm) -> None:
    customer = Customer(farm)
    customer.pay("20.00")
    session = farm.session(nodeClassName=customer.node_class, renderTime="5m")
    farm.job(command=GATED, frames="1-4")
    farm.wait_rendering(2)
    farm.core.delete_namespace(farm.namespace)
    spec = customer.invoice(session)["spec"]
    assert spec["usedSeconds"] > 0
    assert customer.balance() == Decimal("20.00") - Decimal(spec["total"])


def test_a_parked_node_renders_the_next_job(farm: Farm) -> None:
    node_class = farm.own_class(idle={"policy": "Park", "parkTime": "5m"})
    farm.session(nodeClassName=node_class, nodes=1)
    farm.job(command=GATED, frames="1-2")
    farm.wait_rendering(1)  # a node that is not known to be Ready yet is not worth keeping
    farm.open_gate()
    farm.wait_job()
    parked = farm.wait(
        "a parked node",
        lambda: [n for n in farm.objects("RenderNode") if n["status"].get("phase") == "Parked"],
    )
    farm.job("next", command=QUICK, frames="1-2")
    farm.wait_job("next")
    assert [n["metadata"]["uid"] for n in farm.objects("RenderNode")] == [
        parked[0]["metadata"]["uid"]
    ]
    farm.patch("RenderSession", "show", {"spec": {"suspend": True}})

"""A farm whose sessions are paid for: its books, in a namespace of their own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from drqueue.api.values import parse_time
from drqueue.billing.check import check_books
from kubernetes import client

from tests.api.operator_process import OperatorProcess
from tests.api.reconciling import GROUP, VERSION, Farm, Object
from tests.control_plane import Cluster
from tests.manifests import PLURALS, manifest

ACCOUNT = "studio-a"
PRICE = {"currency": "EUR", "machinePerHour": "30", "servicePerHour": "6.00"}
"""A cent a second."""
RUNS: dict[str, Any] = {"spec__renderer": "general", "spec__parameters": {"Command": "true"}}
"""A job that never ends by itself: no slave renders it."""


class PaidFarm(Farm):
    """One namespace with an operator of its own, and a billing namespace."""

    def __init__(
        self, cluster: Cluster, api: client.ApiClient, namespace: str, folder: Path
    ) -> None:
        self.billing = f"{namespace}-books"
        self._books = client.CustomObjectsApi(api)
        client.CoreV1Api(api).create_namespace({"metadata": {"name": self.billing}})
        super().__init__(cluster, api, namespace, folder)

    def start_operator(self, **settings: str) -> OperatorProcess:
        where = {"BILLING_NAMESPACE": self.billing, "NAMESPACE": self.billing}
        return super().start_operator(**{**where, **settings})

    # the books -----------------------------------------------------------------------------

    def enter(self, kind: str, name: str, **spec: Any) -> Object:
        """Create an account or a payment."""
        body = manifest(kind, {f"spec.{field}": value for field, value in spec.items()}, name)
        where = (GROUP, VERSION, self.billing, PLURALS[kind])
        return dict(self._books.create_namespaced_custom_object(*where, body))

    def open_account(self, name: str = ACCOUNT, **spec: Any) -> Object:
        return self.enter("RenderAccount", name, **{"namespaces": [self.namespace], **spec})

    def pay(self, amount: str, name: str = "", **spec: Any) -> str:
        """Make a payment; gives its name."""
        name = name or f"payment-{time.monotonic_ns()}"
        self.enter("RenderPayment", name, **{"accountName": ACCOUNT, "amount": amount, **spec})
        return name

    def call_off(self, payment: str) -> None:
        """Delete a payment."""
        where = (GROUP, VERSION, self.billing, PLURALS["RenderPayment"])
        self._books.delete_namespaced_custom_object(*where, payment)

    def entry(self, kind: str, name: str) -> Object:
        """An object of the billing namespace."""
        where = (GROUP, VERSION, self.billing, PLURALS[kind])
        return dict(self._books.get_namespaced_custom_object(*where, name))

    def entries(self, kind: str) -> list[Object]:
        """All of a kind in the billing namespace."""
        where = (GROUP, VERSION, self.billing, PLURALS[kind])
        return list(self._books.list_namespaced_custom_object(*where)["items"])

    def sums(self, name: str = ACCOUNT) -> dict[str, Decimal]:
        """balance, paid, invoiced and reserved; nothing before the first round."""
        status = self.entry("RenderAccount", name).get("status") or {}
        names = ("balance", "paid", "invoiced", "reserved")
        return {name: Decimal(status[name]) for name in names if name in status}

    def check(self, name: str = ACCOUNT) -> list[str]:
        """What is wrong with the account's books at one moment."""
        for _ in range(50):
            before = self.entry("RenderAccount", name)
            found = check_books(
                before,
                self.entries("RenderPayment"),
                self.entries("RenderInvoice"),
                self.all("RenderSession"),
            )
            after = self.entry("RenderAccount", name)
            if before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]:
                return found
        raise AssertionError("the account never rests")

    # waiting -----------------------------------------------------------------------------------

    def wait_sums(self, **wanted: str) -> None:
        """Wait for the account to have these sums."""
        exact = {name: Decimal(amount) for name, amount in wanted.items()}
        self.wait(f"the account has {wanted}", lambda: exact.items() <= self.sums().items())

    def wait_booked(self, payment: str, phase: str = "Booked") -> None:
        """Wait until a payment is booked, or in another phase."""

        def holds() -> bool:
            status = self.entry("RenderPayment", payment).get("status") or {}
            return bool(status.get("phase") == phase)

        self.wait(f"{payment} is {phase}", holds)

    def wait_funded(self, name: str, reason: str) -> Object:
        """Wait for the reason of a session's condition Funded."""
        return self.wait_reason("RenderSession", name, "Funded", reason)

    def wait_lived(self, seconds: int, objects: list[Object] | None = None) -> None:
        """Wait until all nodes have been Ready for so long, or those objects there."""
        found = self.all("RenderNode") if objects is None else objects
        moments = [
            obj["status"]["readyAt"] if objects is None else obj["metadata"]["creationTimestamp"]
            for obj in found
        ]
        until = max(parse_time(moment) for moment in moments) + timedelta(seconds=seconds)
        self.wait(f"{seconds} s have gone by", lambda: datetime.now(UTC) >= until)

    def wait_gone(self, session: str) -> None:
        """Wait until a session is gone."""
        self.wait(f"{session} is gone", lambda: self.get("RenderSession", session) is None)

    def invoice(self, session: Object) -> Object:
        """The spec of a session's invoice."""
        return dict(self.entry("RenderInvoice", f"invoice-{session['metadata']['uid']}")["spec"])

    def describe(self) -> str:
        books = [self.entries(kind) for kind in ("RenderAccount", "RenderPayment", "RenderInvoice")]
        return f"{super().describe()}\nbooks: {books}"


@contextmanager
def paid_farm(made: PaidFarm) -> Iterator[PaidFarm]:
    """A farm with a priced class, gone behind the test, with the books in order."""
    try:
        with made.kubelet:
            made.make("RenderNodeClass", spec__drainGrace="2s", spec__price=PRICE)
            yield made
            made.clean_up()
        for account in made.entries("RenderAccount"):
            assert made.check(account["metadata"]["name"]) == []
    finally:
        made.operator.kill()
        made.master.clean_up()
        made.remove_class()
        made.core.delete_namespace(made.billing)

"""What billing writes, every field of it, is what the CRDs know: the API server drops the rest."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from drqueue.api.account import RenderAccount
from drqueue.api.base import Resource
from drqueue.api.invoice import RenderInvoice
from drqueue.api.nodeclass import RenderNodeClass
from drqueue.api.schema import structural_schema
from drqueue.api.session import RenderSession
from drqueue.billing.books import (
    Account,
    Booking,
    Funding,
    Invoicing,
    Reservation,
    Waiting,
)
from drqueue.billing.invoices import invoice
from drqueue.billing.prices import Discount, Terms, read_terms, write_terms
from drqueue.billing.records import read_account, read_funding, write_account, write_funding

from tests.manifests import manifest

UID = "0b7e8a6a-3f0e-4b55-9a55-1d6f6a7f0c11"
TERMS = Terms(
    currency="EUR",
    machine_per_hour=Decimal("0.8"),
    service_per_hour=Decimal("0.2"),
    discounts=(Discount(10, Decimal("5")), Discount(100, Decimal("7.5"))),
    rounding="HalfEven",
    minimum=Decimal("1"),
    unused="Keep",
    parked_time="Free",
)
RESERVATION = Reservation(
    session_uid=UID,
    namespace="studio-a",
    session_name="teapots",
    class_name="cpu-small",
    generation=3,
    nodes=2,
    seconds=28_800,
    amount=Decimal("8.00"),
    terms=TERMS,
)
INVOICING = Invoicing(RESERVATION, f"invoice-{UID}", 14_400, Decimal("4.00"))
ACCOUNT = Account(
    name="studio-a",
    uid="a",
    currency="EUR",
    namespaces=frozenset({"studio-a"}),
    paid=Decimal("250"),
    invoiced=Decimal("4.00"),
    reservations={UID: RESERVATION},
    booking=(Booking("p", "payment-1"), Booking("q", "payment-2", Decimal("-3.50"))),
    invoicing=(INVOICING,),
    waiting=(Waiting("s", "studio-a", "others", Decimal("12.5")),),
)


def unknown(part: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    """Give the paths of what a schema does not know."""
    if isinstance(value, dict):
        for name, child in value.items():
            if name in part.get("properties", {}):
                yield from unknown(part["properties"][name], child, f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(value, list):
        for child in value:
            yield from unknown(part["items"], child, f"{path}[]")
    else:
        kinds = {"string": str, "integer": int, "boolean": bool}
        if not isinstance(value, kinds.get(part["type"], ())):
            yield f"{path} is {value!r}"


def known(kind: type[Resource], made: dict[str, Any]) -> None:
    schema = structural_schema(kind)["properties"]
    for part in ("spec", "status"):
        assert list(unknown(schema[part], made.get(part, {}), part)) == []
    kind.model_validate(made)


def test_the_ledger_of_an_account() -> None:
    made = manifest("RenderAccount", {"status": write_account(ACCOUNT), "metadata.uid": "a"})
    known(RenderAccount, made)
    assert read_account(made) == ACCOUNT


def test_what_a_session_has_bound_itself_to() -> None:
    fundings = (
        Funding("Free", generation=1),
        Funding("Awaiting", "studio-a", "EUR", missing=Decimal("8")),
        Funding("Funded", "studio-a", "EUR", Decimal("8.00"), 2, 28_800, 3, Decimal("1.5"), "Free"),
    )
    for funding in fundings:
        written = write_funding(funding)
        known(RenderSession, manifest("RenderSession", {"status.funding": written}))
        assert read_funding(written) == funding


def test_an_invoice() -> None:
    known(RenderInvoice, invoice(ACCOUNT, "books", INVOICING, None))


def test_terms_are_a_price_too() -> None:
    made = manifest("RenderNodeClass", {"spec.price": write_terms(TERMS)})
    known(RenderNodeClass, made)
    assert read_terms(made["spec"]["price"]) == TERMS

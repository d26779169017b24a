"""Money in the models: exact, as text outside, in currencies that ISO 4217 knows."""

from decimal import Decimal

import pytest
from drqueue.api.account import RenderAccount
from drqueue.api.invoice import RenderInvoice
from drqueue.api.money import decimals_of
from drqueue.api.names import invoice_name
from drqueue.api.nodeclass import RenderNodeClass
from drqueue.api.payment import RenderPayment
from drqueue.api.session import RenderSession
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.manifests import manifest


@pytest.mark.parametrize(
    ("code", "decimals"), [("EUR", 2), ("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)]
)
def test_a_currency_has_its_decimals(code: str, decimals: int) -> None:
    assert decimals_of(code) == decimals


@pytest.mark.parametrize("code", ["ZZZ", "eur", "EU", "", "Euro", "978", "XAU", "XXX"])
def test_what_is_no_currency_is_said_to_be_none(code: str) -> None:
    with pytest.raises(ValueError, match=f"'{code}' is no currency of ISO 4217: write .* EUR"):
        decimals_of(code)


amounts = st.decimals("0", "999999999999", places=6, allow_nan=False, allow_infinity=False)


@given(amounts, st.booleans(), st.integers(0, 6))
def test_amounts_are_exact_and_come_out_as_they_went_in(
    amount: Decimal, out: bool, places: int
) -> None:
    text = f"{'-' if out else ''}{amount:.{places}f}"
    written = manifest("RenderPayment", {"spec.amount": text})
    if not Decimal(text):
        with pytest.raises(ValidationError, match="zero is no payment"):
            RenderPayment.model_validate(written)
        return
    payment = RenderPayment.model_validate(written)
    assert payment.spec.amount == Decimal(text)
    assert payment.spec.dump()["amount"] == text


@pytest.mark.parametrize("amount", [12.5, 12, True, None, Decimal("NaN"), Decimal("1e-7")])
def test_a_float_is_no_money(amount: object) -> None:
    with pytest.raises(ValidationError, match=r"spec\.amount"):
        RenderPayment.model_validate(manifest("RenderPayment", {"spec.amount": amount}))


def test_a_class_without_a_price_has_none_and_all_else_by_default() -> None:
    spec = RenderNodeClass.model_validate(manifest("RenderNodeClass")).spec
    assert spec.price is None
    assert "price" not in spec.dump()
    assert spec.limits.dump() == {"weights": []}
    assert spec.idle.dump() == {
        "policy": "Shutdown",
        "allowed": [],
        "parkTime": "10m",
        "billingPeriod": "1h",
        "shutdownBefore": "5m",
    }


def test_a_price_has_its_parts_by_default() -> None:
    price = {"currency": "EUR", "machinePerHour": "0.80"}
    read = RenderNodeClass.model_validate(manifest("RenderNodeClass", {"spec.price": price}))
    assert read.spec.price is not None
    assert read.spec.price.dump() == {
        **price,
        "servicePerHour": "0",
        "discounts": [],
        "rounding": "HalfUp",
        "minimum": "0",
        "unused": "Refund",
        "parkedTime": "Billed",
    }


def test_an_invoice_is_named_by_its_session() -> None:
    written = manifest("RenderInvoice")
    uid = written["spec"]["sessionUid"]
    assert written["metadata"]["name"] == invoice_name(uid) == f"invoice-{uid}"
    RenderInvoice.model_validate(written)
    with pytest.raises(ValidationError, match=r"metadata\.name: an invoice is named invoice-"):
        RenderInvoice.model_validate(manifest("RenderInvoice", {"metadata.name": "invoice-1"}))


def test_statuses_about_money_are_read_leniently_and_exactly() -> None:
    account = RenderAccount.model_validate(
        manifest("RenderAccount", {"status.balance": "12.50", "status.invented": {"a": 1}})
    )
    assert account.status is not None
    assert account.status.balance == Decimal("12.50")
    assert account.status.reservations == []
    session = RenderSession.model_validate(
        manifest(
            "RenderSession",
            {
                "status.phase": "AwaitingPayment",
                "status.funding": {"state": "Awaiting", "missing": "0.10", "currency": "EUR"},
                "status.settledDays": [{"day": "2026-11-25", "seconds": 60}],
            },
        )
    )
    assert session.status is not None
    assert session.status.funding is not None
    assert session.status.funding.missing == Decimal("0.10")
    assert session.status.settled_days[0].seconds == 60
    assert not session.status.settled

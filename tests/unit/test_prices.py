"""Prices, charges and invoice lines: tables worked out by hand, and what holds for all of them."""

from decimal import Decimal
from typing import Any

import pytest
from drqueue.api.money import SUM_PATTERN
from drqueue.billing.books import Account, Invoicing, Reservation
from drqueue.billing.invoices import invoice, lines
from drqueue.billing.money import is_whole, read_money, to_coins, write_money
from drqueue.billing.prices import (
    Discount,
    Quote,
    Terms,
    charge,
    for_time,
    price,
    read_terms,
    write_terms,
)
from hypothesis import given
from hypothesis import strategies as st

HOUR = 3600


def terms(**given: Any) -> Terms:
    text = {"currency": "EUR", "machinePerHour": "1"} | given
    return read_terms(text)


BRACKETS = [{"fromHours": 10, "percent": "10"}, {"fromHours": 100, "percent": "25"}]


@pytest.mark.parametrize(
    ("given_terms", "hours", "total"),
    [
        ({}, 8, "8.00"),
        ({"machinePerHour": "0.80", "servicePerHour": "0.45"}, 8, "10.00"),
        # 2 nodes × 4 h 30 min
        ({"machinePerHour": "1.37"}, 9, "12.33"),
        # a third of a cent: half up, half even, up, down at exactly half a cent
        ({"machinePerHour": "0.005"}, 1, "0.01"),
        ({"machinePerHour": "0.005", "rounding": "HalfEven"}, 1, "0.00"),
        ({"machinePerHour": "0.015", "rounding": "HalfEven"}, 1, "0.02"),
        ({"machinePerHour": "0.001", "rounding": "Up"}, 1, "0.01"),
        ({"machinePerHour": "0.009", "rounding": "Down"}, 1, "0.00"),
        # the minimum
        ({"machinePerHour": "0.10", "minimum": "2.50"}, 4, "2.50"),
        ({"machinePerHour": "1", "minimum": "2.50"}, 4, "4.00"),
        # brackets: below, at and above a threshold
        ({"discounts": BRACKETS}, 5, "5.00"),
        ({"discounts": BRACKETS}, 10, "9.00"),
        ({"discounts": BRACKETS}, 20, "18.00"),
        ({"discounts": BRACKETS}, 100, "75.00"),
        ({"discounts": BRACKETS}, 200, "150.00"),
        # 9.5 h would be 9.50, but 10 h cost 9.00: so do 9.5 h
        ({"discounts": BRACKETS}, Decimal("9.5"), "9.00"),
        # 90 h less 10 % would be 81.00, but 100 h cost 75.00
        ({"discounts": BRACKETS}, 90, "75.00"),
        # 83 h less 10 % is 74.70: less than the next threshold
        ({"discounts": BRACKETS}, 83, "74.70"),
        # a bracket of 100 %: free from there on, and so below it
        ({"discounts": [{"fromHours": 5, "percent": "100"}]}, 2, "0.00"),
        # no decimals, and three of them
        ({"currency": "JPY", "machinePerHour": "110.5"}, 3, "332"),
        ({"currency": "KWD", "machinePerHour": "0.0125"}, 1, "0.013"),
    ],
)
def test_a_table_of_prices(given_terms: dict[str, Any], hours: Decimal, total: str) -> None:
    priced = terms(**given_terms)
    quote = price(priced, int(hours * HOUR))
    assert write_money(quote.total, priced.currency) == total
    assert parts(quote) == quote.total


def parts(quote: Quote) -> Decimal:
    return quote.machine + quote.service + quote.discount + quote.cut + quote.minimum_added


def test_the_parts_of_a_price() -> None:
    priced = terms(machinePerHour="0.80", servicePerHour="0.20", discounts=BRACKETS, minimum="80")
    quote = price(priced, 90 * HOUR)
    assert (quote.machine, quote.service) == (Decimal("72.00"), Decimal("18.00"))
    assert (quote.discount, quote.cut) == (Decimal("-9.00"), Decimal("-6.00"))
    assert quote.minimum_added == Decimal("5.00")
    assert quote.total == Decimal("80.00")
    assert quote.bracket == Discount(10, Decimal(10))
    assert quote.next_bracket == Discount(100, Decimal(25))


@pytest.mark.parametrize(
    ("given_terms", "used_hours", "total"),
    [
        ({}, 0, "0.00"),  # never used: nothing, whatever the minimum
        ({"minimum": "3"}, 0, "0.00"),
        ({"unused": "Keep"}, 0, "0.00"),
        ({}, 5, "5.00"),
        ({}, 10, "10.00"),
        ({}, 11, "10.00"),  # never more than the price
        ({"minimum": "3"}, Decimal("0.01"), "3.00"),
        ({"minimum": "30"}, 1, "30.00"),  # the price itself is the minimum
        ({"unused": "Keep"}, Decimal("0.01"), "10.00"),
        ({"discounts": BRACKETS}, 5, "4.50"),  # the bracket of what was bought: 9.00 for 10 h
        ({"machinePerHour": "0.333333", "rounding": "Down"}, 1, "0.33"),
    ],
)
def test_a_table_of_charges_for_ten_hours_bought(
    given_terms: dict[str, Any], used_hours: Decimal, total: str
) -> None:
    priced = terms(**given_terms)
    bought = 10 * HOUR
    paid = price(priced, bought).total
    assert write_money(charge(priced, paid, bought, int(used_hours * HOUR)), "EUR") == total


amounts = st.decimals(0, 10**6, places=4)
all_terms = st.builds(
    Terms,
    currency=st.sampled_from(["EUR", "JPY", "KWD"]),
    machine_per_hour=amounts,
    service_per_hour=amounts,
    discounts=st.lists(
        st.builds(Discount, st.integers(1, 3000), st.decimals(0, 100, places=2)),
        max_size=5,
        unique_by=lambda d: d.from_hours,
    ).map(lambda found: tuple(sorted(found, key=lambda d: d.from_hours))),
    rounding=st.sampled_from(["HalfUp", "HalfEven", "Up", "Down"]),
    minimum=st.decimals(0, 500, places=3),
    unused=st.sampled_from(["Refund", "Keep"]),
    parked_time=st.sampled_from(["Billed", "Free"]),
)
seconds = st.integers(0, 4000 * HOUR)


@given(all_terms, seconds, seconds)
def test_more_time_never_costs_less(priced: Terms, some: int, more: int) -> None:
    less, rest = sorted((some, more))
    assert price(priced, less).total <= price(priced, rest).total


@given(all_terms, st.integers(0, 4), st.integers(-2, 2))
def test_around_each_threshold_too(priced: Terms, which: int, beside: int) -> None:
    if priced.discounts:
        at = priced.discounts[which % len(priced.discounts)].from_hours * HOUR + beside
        assert price(priced, at).total <= price(priced, at + 1).total


@given(all_terms, seconds)
def test_parts_add_up_in_whole_coins(priced: Terms, bought: int) -> None:
    quote = price(priced, bought)
    assert parts(quote) == quote.total >= 0
    assert is_whole(quote.total, priced.currency)
    assert quote.discount <= 0 <= quote.minimum_added
    assert quote.cut <= 0


@given(all_terms, st.integers(1, 4000 * HOUR), seconds, seconds)
def test_a_charge_is_within_the_price_and_grows_with_use(
    priced: Terms, bought: int, some: int, more: int
) -> None:
    paid = price(priced, bought).total
    less, rest = sorted((some, more))
    first, second = charge(priced, paid, bought, less), charge(priced, paid, bought, rest)
    assert 0 <= first <= second <= paid
    assert charge(priced, paid, bought, bought) == paid


@given(all_terms, st.lists(st.integers(0, 86400), min_size=1, max_size=20), st.data())
def test_lines_add_up_to_the_total(priced: Terms, days: list[int], data: st.DataObject) -> None:
    used = sum(days)
    bought = used + data.draw(st.integers(1, 10**6))
    by_day = {f"2026-11-{n + 1:02}": day for n, day in enumerate(days) if day}
    paid = price(priced, bought).total
    entry = entry_of(priced, bought, paid, used)
    made = lines(entry, by_day)
    assert sum(Decimal(line["amount"]) for line in made) == entry.total
    assert all(Decimal(line["amount"]) >= 0 for line in made)
    assert {line["day"]: line["seconds"] for line in made if "day" in line} == by_day
    alone = lines(entry, {})
    assert sum(Decimal(line["amount"]) for line in alone) == entry.total


def entry_of(priced: Terms, bought: int, paid: Decimal, used: int) -> Invoicing:
    held = Reservation("uid", "tenant", "s", "cpu", 1, 2, bought, paid, priced)
    return Invoicing(held, "invoice-uid", used, charge(priced, paid, bought, used))


def test_an_invoice_by_hand() -> None:
    """2 nodes × 5 h at 1.00: 3 h 20 min on one day, 1 h on the next; the minimum is 5.00."""
    priced = terms(minimum="5")
    entry = entry_of(priced, 10 * HOUR, Decimal(10), 15600)
    made = lines(entry, {"2026-11-25": 12000, "2026-11-26": 3600})
    assert made == [
        {"day": "2026-11-25", "text": "3h20m of node time", "seconds": 12000, "amount": "3.33"},
        {"day": "2026-11-26", "text": "1h of node time", "seconds": 3600, "amount": "1.00"},
        {"text": "up to the minimum charge", "seconds": 0, "amount": "0.67"},
    ]
    account = Account("studio", "uid", "EUR", frozenset())
    spec = invoice(account, "books", entry, None)["spec"]
    assert spec["total"] == "5.00"
    assert [line["amount"] for line in spec["lines"]] == ["4.33", "0.67"]


@given(all_terms)
def test_terms_survive_being_written(priced: Terms) -> None:
    again = read_terms(write_terms(priced))
    assert again == priced
    assert again.id == priced.id


def test_equal_terms_have_one_id() -> None:
    assert terms(machinePerHour="1.0").id == terms(machinePerHour="1.00").id
    assert terms(machinePerHour="1.0").id != terms(machinePerHour="1.01").id
    assert terms(parkedTime="Free").id != terms().id


def test_terms_from_before_parked_time_was_kept_with_them() -> None:
    assert terms(parkedTime="Billed") == terms()
    assert terms(parkedTime="Billed").id == terms().id
    assert "parkedTime" not in write_terms(terms(parkedTime="Billed"))


@given(st.decimals(0, 10**20, places=6), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_money_survives_being_written(amount: Decimal, currency: str) -> None:
    import re

    text = write_money(amount, currency)
    assert re.fullmatch(SUM_PATTERN.removeprefix("^").removesuffix("$"), text)
    assert read_money(text) == amount


def test_a_tie_is_exact_in_any_number_of_digits() -> None:
    from fractions import Fraction

    just_below = Fraction(1, 200) - Fraction(1, 10**90)
    assert to_coins(just_below, "EUR", "HalfUp") == Decimal("0.00")
    assert to_coins(Fraction(1, 200), "EUR", "HalfUp") == Decimal("0.01")
    assert for_time(terms(rounding="Up"), Decimal(10), 3 * HOUR, HOUR) == Decimal("3.34")

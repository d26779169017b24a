"""What node time costs: before it is bought, and for what of it was used. Pure and exact."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any

from drqueue.api.price import ParkedTime, Unused
from drqueue.billing.money import ZERO, Rounding, read_money, to_coins

HOUR = 3600


@dataclass(frozen=True)
class Discount:
    """A bracket: so much off the whole sum, from so many node-hours on."""

    from_hours: int
    percent: Decimal


@dataclass(frozen=True)
class Terms:
    """A class's price as it was when a session was funded; it holds for that session."""

    currency: str
    machine_per_hour: Decimal
    service_per_hour: Decimal = ZERO
    discounts: tuple[Discount, ...] = ()
    """By from_hours, ascending."""
    rounding: Rounding = "HalfUp"
    minimum: Decimal = ZERO
    unused: Unused = "Refund"
    parked_time: ParkedTime = "Billed"

    @property
    def per_hour(self) -> Fraction:
        """Machine and service, undiscounted."""
        return Fraction(self.machine_per_hour) + Fraction(self.service_per_hour)

    @cached_property
    def id(self) -> str:
        """The same for equal terms, and another for others."""
        text = json.dumps(write_terms(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Quote:
    """A price and the parts that it is made of; they add up to it, in whole coins."""

    terms: Terms
    node_seconds: int
    machine: Decimal
    service: Decimal
    bracket: Discount | None
    """The bracket that the hours reach."""
    discount: Decimal
    """Zero or negative."""
    next_bracket: Discount | None
    """The bracket whose threshold would cost less: its price there is the most that is asked."""
    cut: Decimal
    """Zero or negative: down to the price at the next bracket."""
    minimum_added: Decimal
    """What is added to reach the minimum."""
    total: Decimal

    @property
    def hours(self) -> Fraction:
        """Node-hours."""
        return Fraction(self.node_seconds, HOUR)


def price(terms: Terms, node_seconds: int) -> Quote:
    """Price node-seconds (nodes × seconds of each). More time never costs less.

    A bracket applies to the whole sum; the sum is at most what the threshold of any larger
    bracket costs, for otherwise lowering a session a little could cost more than it had.
    """
    hours = Fraction(max(node_seconds, 0), HOUR)
    machine = hours * Fraction(terms.machine_per_hour)
    full = hours * terms.per_hour
    reached = [d for d in terms.discounts if d.from_hours <= hours]
    bracket = reached[-1] if reached else None
    discounted = full * _share_left(bracket)
    later = [
        (d.from_hours * terms.per_hour * _share_left(d), d)
        for d in terms.discounts
        if d.from_hours > hours
    ]
    cheapest = min(later, key=lambda pair: pair[0], default=None)
    net, cutter = discounted, None
    if cheapest is not None and cheapest[0] < discounted:
        net, cutter = cheapest

    def coins(amount: Fraction) -> Decimal:
        return to_coins(amount, terms.currency, terms.rounding)

    asked = coins(net)
    least = coins(Fraction(terms.minimum)) if node_seconds > 0 else ZERO
    return Quote(
        terms=terms,
        node_seconds=node_seconds,
        machine=coins(machine),
        service=coins(full) - coins(machine),
        bracket=bracket,
        discount=coins(discounted) - coins(full),
        next_bracket=cutter,
        cut=asked - coins(discounted),
        minimum_added=max(least - asked, ZERO),
        total=max(asked, least),
    )


def charge(terms: Terms, paid: Decimal, granted: int, used: int) -> Decimal:
    """What is charged at the end for `used` of `granted` seconds whose price was `paid`.

    The share of the price that was used, or all of it where the unused is kept; once any second
    was used at least the minimum; never more than the price.
    """
    if used <= 0 or granted <= 0:
        return ZERO
    if terms.unused == "Keep" or used >= granted:
        return paid
    least = to_coins(Fraction(terms.minimum), terms.currency, terms.rounding)
    return min(max(for_time(terms, paid, granted, used), least), paid)


def for_time(terms: Terms, paid: Decimal, granted: int, used: int) -> Decimal:
    """The used share of a price alone, without minimum or unused time that is kept."""
    if used <= 0 or granted <= 0:
        return ZERO
    share = Fraction(paid) * min(used, granted) / granted
    return to_coins(share, terms.currency, terms.rounding)


def _share_left(discount: Discount | None) -> Fraction:
    return 1 - Fraction(discount.percent) / 100 if discount else Fraction(1)


def read_terms(data: Mapping[str, Any]) -> Terms:
    """Read a class's spec.price, or the terms that an account stores."""
    found = (
        Discount(int(d["fromHours"]), read_money(d["percent"])) for d in data.get("discounts") or ()
    )
    return Terms(
        currency=data["currency"],
        machine_per_hour=read_money(data["machinePerHour"]),
        service_per_hour=read_money(data.get("servicePerHour", "0")),
        discounts=tuple(sorted(found, key=lambda d: d.from_hours)),
        rounding=data.get("rounding", "HalfUp"),
        minimum=read_money(data.get("minimum", "0")),
        unused=data.get("unused", "Refund"),
        parked_time=data.get("parkedTime") or "Billed",
    )


def write_terms(terms: Terms) -> dict[str, Any]:
    """Write terms as an account stores them, without their id; equal terms give equal text."""
    return {
        "currency": terms.currency,
        "machinePerHour": _plain(terms.machine_per_hour),
        "servicePerHour": _plain(terms.service_per_hour),
        "discounts": [
            {"fromHours": d.from_hours, "percent": _plain(d.percent)} for d in terms.discounts
        ],
        "rounding": terms.rounding,
        "minimum": _plain(terms.minimum),
        "unused": terms.unused,
        # terms from before it was kept with them have the same id as ever
        **({"parkedTime": terms.parked_time} if terms.parked_time != "Billed" else {}),
    }


def _plain(amount: Decimal) -> str:
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") or "0" if "." in text else text

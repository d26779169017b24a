"""An account's statement: the lines behind its balance, and whether they add up to it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from drqueue.api import API_VERSION
from drqueue.api.values import parse_time
from drqueue.billing.check import check_books
from drqueue.billing.money import ZERO, read_money, write_money
from drqueue.cli.books import Books
from drqueue.cli.kinds import Object
from drqueue.cli.output import dig


@dataclass(frozen=True)
class Line:
    """One thing that made the balance what it is."""

    time: str
    """RFC 3339 in UTC; empty for what holds now rather than happened."""
    kind: str
    """payment, invoice or reservation."""
    name: str
    text: str
    amount: Decimal
    """Added to the balance; negative: taken from it."""
    balance: Decimal
    """With this line and all before it."""


@dataclass(frozen=True)
class Statement:
    """The lines in their order, what is not counted, and what is wrong with the sums."""

    account: Object
    currency: str
    lines: list[Line]
    open_payments: list[Object]
    """Not booked: they are not part of the balance."""
    faults: list[str]

    @property
    def balance(self) -> Decimal:
        """What the lines add up to."""
        return self.lines[-1].balance if self.lines else ZERO


def statement(books: Books) -> Statement:
    """Put an account's payments, invoices and reservations in order, and check the sums."""
    noted = {entry["uid"] for entry in dig(books.account, "status", "booking") or ()}
    booked = [p for p in books.payments if _is_booked(p, noted)]
    happened = sorted([*map(_payment, booked), *_deleted(books), *_invoices(books)], key=_when)
    lines, balance = [], ZERO
    # what happened first, then what is held now: both as the account commits them
    for time, kind, name, text, amount in [*happened, *_reservations(books.account)]:
        balance += amount
        lines.append(Line(time, kind, name, text, amount, balance))
    faults = check_books(books.account, books.payments, books.invoices, [])
    return Statement(
        account=books.account,
        currency=books.account["spec"]["currency"],
        lines=lines,
        open_payments=[p for p in books.payments if not _is_booked(p, noted)],
        faults=faults,
    )


def as_object(made: Statement) -> dict[str, Any]:
    """Write a statement for programs."""
    meta, status = made.account["metadata"], made.account.get("status") or {}

    def money(amount: Decimal) -> str:
        return write_money(amount, made.currency)

    return {
        "apiVersion": API_VERSION,
        "kind": "Statement",
        "account": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "owner": made.account["spec"].get("owner"),
        "currency": made.currency,
        "lines": [
            {
                **({"time": line.time} if line.time else {}),
                "kind": line.kind,
                "name": line.name,
                "text": line.text,
                "amount": money(line.amount),
                "balance": money(line.balance),
            }
            for line in made.lines
        ],
        "openPayments": [
            {
                "name": payment["metadata"]["name"],
                "phase": phase(payment),
                "reference": payment["spec"].get("reference"),
                "amount": payment["spec"]["amount"],
                "currency": payment["spec"]["currency"],
            }
            for payment in made.open_payments
        ],
        "balance": money(made.balance),
        "status": {
            name: status[name]
            for name in ("balance", "paid", "invoiced", "reserved")
            if name in status
        },
        "faults": made.faults,
    }


def phase(payment: Object) -> str:
    """A payment's phase; one that nobody has seen yet waits."""
    return str(dig(payment, "status", "phase") or "Waiting")


_Part = tuple[str, str, str, str, Decimal]


def _when(part: _Part) -> tuple[bool, datetime, str]:
    time, _, name, *_ = part
    return not time, parse_time(time or "9999-12-31T23:59:59Z"), name


def _is_booked(payment: Object, noted: set[str]) -> bool:
    return phase(payment) == "Booked" or payment["metadata"]["uid"] in noted


def _payment(payment: Object) -> _Part:
    meta, spec = payment["metadata"], payment["spec"]
    moment = dig(payment, "status", "bookedAt") or meta.get("creationTimestamp") or ""
    return moment, "payment", meta["name"], spec.get("reference") or "", read_money(spec["amount"])


def _deleted(books: Books) -> Iterator[_Part]:
    """Payouts that were deleted when the account had counted them."""
    there = {payment["metadata"]["uid"] for payment in books.payments}
    for entry in dig(books.account, "status", "booking") or ():
        if entry.get("payout") and entry["uid"] not in there:
            text = "deleted, being given back"
            yield "", "payment", entry["name"], text, read_money(entry["payout"])


def _invoices(books: Books) -> Iterator[_Part]:
    there = set()
    for invoice in books.invoices:
        meta, spec = invoice["metadata"], invoice["spec"]
        there.add(spec["sessionUid"])
        text = f"session {spec['namespace']}/{spec['sessionName']}"
        moment = meta.get("creationTimestamp") or ""
        yield moment, "invoice", meta["name"], text, -read_money(spec["total"])
    for entry in dig(books.account, "status", "invoicing") or ():
        if entry["sessionUid"] not in there:
            text = f"session {entry['namespace']}/{entry['sessionName']}, being written"
            yield "", "invoice", entry["name"], text, -read_money(entry["total"])


def _reservations(account: Object) -> list[_Part]:
    entries = dig(account, "status", "reservations") or ()
    parts = [
        (
            "",
            "reservation",
            str(entry["sessionName"]),
            f"session {entry['namespace']}/{entry['sessionName']}, class {entry['className']}",
            -read_money(entry["amount"]),
        )
        for entry in entries
    ]
    return sorted(parts, key=lambda part: part[3])

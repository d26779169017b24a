"""The invariants of the books, as a function over the objects. Pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from drqueue.billing.books import Account, Session
from drqueue.billing.money import ZERO, read_money
from drqueue.billing.prices import price
from drqueue.billing.records import is_for, read_account, read_payment, read_session

Object = Mapping[str, Any]


def check_books(
    account: Object,
    payments: Iterable[Object],
    invoices: Iterable[Object],
    sessions: Iterable[Object],
) -> list[str]:
    """What is wrong with an account's books; empty when all invariants hold.

    The objects as Kubernetes gives them; those of other accounts, and of former ones of its name,
    are passed over. They must be of one moment: read the account before and after the others, and
    again where its resourceVersion is another by then. A session that is not among `sessions` is
    not checked.
    """
    books, status = read_account(account), account.get("status") or {}
    mine = [i for i in invoices if i["spec"]["accountName"] == books.name and is_for(i, books.uid)]
    found = [read_session(obj) for obj in sessions]
    return [
        *_sums(books, status),
        *_payments(books, payments),
        *_invoices(books, mine),
        *(wrong for session in found for wrong in _session(books, session, mine)),
    ]


def _sums(account: Account, status: Mapping[str, Any]) -> Iterable[str]:
    if account.balance < 0:
        yield f"the balance is below zero: {account.balance}"
    for name, summed in (("balance", account.balance), ("reserved", account.reserved)):
        told = read_money(status.get(name, "0"))
        if told != summed:
            yield f"status.{name} is {told}, its parts add up to {summed}"
    for entry in account.reservations.values():
        least = price(entry.terms, entry.seconds).total
        if entry.amount < least:
            yield f"{entry.session_name}: {entry.amount} reserved, its time costs {least}"


def _payments(account: Account, payments: Iterable[Object]) -> Iterable[str]:
    noted = {entry.uid for entry in account.booking}
    there = {payment.uid: payment for payment in map(read_payment, payments)}
    # payouts that were deleted when they had been counted: about to be given back
    booked = sum((e.payout for e in account.booking if e.uid not in there), ZERO)
    for payment in there.values():
        if payment.account != account.name or not payment.is_for_books_of(account):
            continue
        in_books = payment.phase == "Booked" or payment.uid in noted
        if in_books:
            booked += payment.amount
        early = not payment.is_payout and payment.phase not in ("Booking", "Booked")
        if payment.uid in noted and early:
            yield f"payment {payment.name} is in the books, and says {payment.phase}"
        if in_books and payment.currency != account.currency:
            yield f"payment {payment.name} is booked in {payment.currency}"
    if booked != account.paid:
        yield f"status.paid is {account.paid}, the booked payments add up to {booked}"


def _invoices(account: Account, invoices: list[Object]) -> Iterable[str]:
    there: dict[str, Decimal] = {}
    for obj in invoices:
        spec = obj["spec"]
        total, uid = read_money(spec["total"]), spec["sessionUid"]
        if uid in there:
            yield f"session {uid} has more than one invoice"
        there[uid] = total
        lines = sum((read_money(line["amount"]) for line in spec.get("lines") or ()), ZERO)
        if lines != total:
            yield f"{obj['metadata']['name']}: its lines add up to {lines}, its total is {total}"
        if total > read_money(spec["priced"]["amount"]):
            yield f"{obj['metadata']['name']}: {total} is more than the session's price"
        if spec["usedSeconds"] > spec["priced"]["seconds"]:
            yield f"{obj['metadata']['name']}: more seconds than were bought"
        if spec["currency"] != account.currency:
            yield f"{obj['metadata']['name']} is in {spec['currency']}"
        if uid in account.reservations:
            yield f"session {uid} has an invoice and a reservation"
    for entry in account.invoicing:
        uid = entry.reserved.session_uid
        if there.setdefault(uid, entry.total) != entry.total:
            yield f"{entry.name}: its total is {there[uid]}, the account says {entry.total}"
        if uid in account.reservations:
            yield f"session {uid} is invoiced and has a reservation"
    billed = sum(there.values(), ZERO)
    if billed != account.invoiced:
        yield f"status.invoiced is {account.invoiced}, the invoices add up to {billed}"


def _session(account: Account, session: Session, invoices: list[Object]) -> Iterable[str]:
    if not session.funded_by(account.name) or session.funding is None:
        return
    granted = session.funding.seconds
    if session.used > granted:
        yield f"session {session.name}: {session.used} s billed, {granted} s granted"
    entry = account.reservations.get(session.uid)
    if entry is not None and granted > entry.seconds:
        yield f"session {session.name}: {granted} s granted, {entry.seconds} s reserved"
    if entry is None and not _has_invoice(account, session, invoices):
        yield f"session {session.name} is funded, and has neither reservation nor invoice"


def _has_invoice(account: Account, session: Session, invoices: list[Object]) -> bool:
    coming = any(e.reserved.session_uid == session.uid for e in account.invoicing)
    return coming or any(i["spec"]["sessionUid"] == session.uid for i in invoices)

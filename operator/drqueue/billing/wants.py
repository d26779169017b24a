"""What a session asks of its account, and why it may not have it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from drqueue.api.account import MAX_RESERVATIONS
from drqueue.billing.books import Account, Payment, Reservation, Session
from drqueue.billing.money import ZERO, is_whole
from drqueue.billing.prices import Terms, price

Reason = Literal[
    "AwaitingPayment",
    "BehindOthers",
    "NotYourAccount",
    "ClassNotPriced",
    "CurrencyMismatch",
    "AccountFull",
    "Suspended",
]


@dataclass(frozen=True)
class Wait:
    """Why a session has not got what it asks for."""

    session: Session
    reason: Reason
    missing: Decimal | None = None
    """What has to be paid in until it is covered; None where money is not what it waits for."""
    message: str = ""


def wanted(account: Account, session: Session, terms: Terms | None) -> Reservation | Wait | None:
    """The reservation that a session asks for: None where it has it, a Wait where it cannot be.

    `terms` are the class's now; a session with a reservation keeps those stored with it.
    """
    entry = account.reservations.get(session.uid)
    if not _asks(account, session, entry):
        return None
    wait = _obstacle(account, session, entry, terms)
    if wait is not None:
        return wait
    terms = entry.terms if entry is not None else terms
    if terms is None:
        return None
    amount = price(terms, session.seconds).total
    return Reservation(
        session_uid=session.uid,
        namespace=session.namespace,
        session_name=session.name,
        class_name=session.class_name,
        generation=session.generation,
        nodes=session.nodes,
        seconds=session.seconds,
        amount=max(amount, entry.amount) if entry is not None else amount,
        terms=terms,
    )


def _asks(account: Account, session: Session, entry: Reservation | None) -> bool:
    if session.deleting or session.lost_to(account.name):
        return False
    if entry is None:
        return session.asks(account.name) and session.held
    if session.generation < entry.generation or session.seconds < entry.seconds:
        return False  # an old view of it; or less, which it has to bind itself to first
    return session.seconds > entry.seconds or session.nodes != entry.nodes


def _obstacle(
    account: Account, session: Session, entry: Reservation | None, terms: Terms | None
) -> Wait | None:
    if session.namespace not in account.namespaces:
        message = f"RenderAccount {account.name!r} does not list namespace {session.namespace!r}"
        return Wait(session, "NotYourAccount", message=message)
    if session.suspended:
        return Wait(session, "Suspended", message="spec.suspend is true: nothing is reserved")
    return None if entry is not None else _obstacle_to_a_first(account, session, terms)


def _obstacle_to_a_first(account: Account, session: Session, terms: Terms | None) -> Wait | None:
    if terms is None:
        message = f"RenderNodeClass {session.class_name!r} has no price"
        return Wait(session, "ClassNotPriced", message=message)
    if terms.currency != account.currency:
        message = (
            f"RenderNodeClass {session.class_name!r} is priced in {terms.currency}, "
            f"RenderAccount {account.name!r} holds {account.currency}"
        )
        return Wait(session, "CurrencyMismatch", message=message)
    if account.full:
        message = f"RenderAccount {account.name!r} holds {MAX_RESERVATIONS} reservations already"
        return Wait(session, "AccountFull", message=message)
    return None


def payment_fault(payment: Payment, account: Account) -> str:
    """Why a payment can never be booked on that account; empty where it can."""
    if payment.account != account.name:
        return f"it names another account, {payment.account!r}"
    if not payment.is_for_books_of(account):
        return f"it was booked on a former account {payment.account!r}"
    if payment.currency != account.currency:
        return (
            f"spec.currency {payment.currency!r}: RenderAccount {account.name!r} holds "
            f"{account.currency}; make a payment in that currency"
        )
    if not is_whole(abs(payment.amount), payment.currency):
        return f"spec.amount {payment.amount}: {payment.currency} has no coin so small"
    return ""


def total_missing(waits: Iterable[Wait]) -> Decimal:
    """What would have to be paid in to serve all that wait."""
    return max((w.missing for w in waits if w.missing is not None), default=ZERO)

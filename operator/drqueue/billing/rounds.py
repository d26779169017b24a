"""The order in which an account, a payment and an ending session are read and written.

Generators without I/O: each yields what to do and is sent the answer, so that the reconcilers and
the test that crashes between any two steps drive the same code. An error that a step raises (a
conflict, a lost reply) simply ends the round: it starts again from a fresh read.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from drqueue.billing.books import Account, Payment, Session
from drqueue.billing.invoices import invoice
from drqueue.billing.ledger import Books, LedgerPlan, Ref, plan
from drqueue.billing.prices import Terms
from drqueue.billing.records import (
    Json,
    read_account,
    read_payment,
    read_session,
    terms_of,
    write_account,
)
from drqueue.billing.wants import payment_fault


class Unreadable:
    """The answer of a live read that is refused: whether the session is there is not known."""


UNREADABLE: Final = Unreadable()


@dataclass(frozen=True)
class GetLive:
    """Read from the API server, not from a cache. Answer: the object, or None for a 404; in an
    account's round also UNREADABLE, for a session.
    """

    kind: str
    namespace: str | None
    """None: of a class."""
    name: str


@dataclass(frozen=True)
class Create:
    """Create it; fine where it is there already. Answer: nothing."""

    obj: Json


@dataclass(frozen=True)
class WriteStatus:
    """Write the status under the resourceVersion of `obj`; a conflict is raised. Answer: nothing.

    `status` is the ledger's part: conditions and observedGeneration are the reconciler's.
    """

    obj: Mapping[str, Any]
    status: Json
    plan: LedgerPlan


Step = GetLive | Create | WriteStatus
Steps = Generator[Step, Any, LedgerPlan]


def account_round(
    obj: Mapping[str, Any],
    payments: Iterable[Mapping[str, Any]],
    sessions: Iterable[Mapping[str, Any]],
    classes: Mapping[str, Terms | None],
    invoiced: Iterable[str],
) -> Steps:
    """Carry an account one status write further.

    `obj` is the RenderAccount; payments, sessions, prices of classes and the UIDs of sessions with
    an invoice come from a cache. `obj` has to be read before this begins and is not read again: its
    resourceVersion vouches that no one booked or invoiced between the live reads and the write.
    """
    account = read_account(obj)
    namespace = obj["metadata"]["namespace"]
    books = Books(
        account=account,
        payments={p.uid: p for p in map(read_payment, payments)},
        sessions={s.uid: s for s in map(read_session, sessions)},
        classes=classes,
        invoices=frozenset(invoiced),
    )
    planned = plan(books)
    for entry in planned.create:
        held = entry.reserved
        session = books.sessions.get(held.session_uid)
        if session is None or not session.settled:
            # a cache without it, or of before its end, has no lines for the invoice
            ref = Ref("RenderSession", held.namespace, held.session_name, held.session_uid)
            found = yield GetLive(ref.kind, held.namespace, ref.name)
            if isinstance(found, Unreadable):
                books = _with(books, ref, found)
                continue
            session = _session(found, held.session_uid)
        yield Create(invoice(account, namespace, entry, session))
        books = replace(books, invoices=books.invoices | {held.session_uid})
    planned = plan(books)
    while planned.read_live:
        for ref in planned.read_live:
            found = yield GetLive(ref.kind, _namespace(ref, namespace), ref.name)
            books = _with(books, ref, found)
        planned = plan(books)
    yield WriteStatus(obj, write_account(planned.account), planned)
    return planned


def _namespace(ref: Ref, own: str) -> str | None:
    return None if ref.kind == "RenderNodeClass" else ref.namespace or own


def _session(found: Mapping[str, Any] | None, uid: str) -> Session | None:
    same = found is not None and found["metadata"]["uid"] == uid
    return read_session(found, live=True) if found is not None and same else None


def _with(books: Books, ref: Ref, found: Mapping[str, Any] | Unreadable | None) -> Books:
    if isinstance(found, Unreadable):
        return replace(books, unreadable={**books.unreadable, ref.uid: ref})
    if ref.kind == "RenderNodeClass":
        return replace(books, classes={**books.classes, ref.name: terms_of(found)})
    if found is None or found["metadata"]["uid"] != ref.uid:
        return replace(books, gone=books.gone | {ref.uid})
    if ref.kind == "RenderPayment":
        payment = read_payment(found, live=True)
        return replace(books, payments={**books.payments, ref.uid: payment})
    session = read_session(found, live=True)
    return replace(books, sessions={**books.sessions, ref.uid: session})


@dataclass(frozen=True)
class PaymentStep:
    """What a payment's status should say."""

    phase: str
    reason: str
    message: str = ""


BOOKING = PaymentStep("Booking", "Booking", "the account takes it into its books")


def next_phase(payment: Payment, account: Account | None) -> PaymentStep:
    """The next phase of a payment. `account` may come from a cache; None: there is none, for sure
    where the payment says Booking.

    Booking and Booked cannot be deleted, and are never taken back. What comes in says Booking
    before the account counts it; what goes out waits until the account has, and goes to Booked.
    The status is written under the payment's resourceVersion, and a payment that is being deleted
    gets to neither, so that none is booked that will not be there.
    """
    if payment.phase == "Booked":
        return PaymentStep("Booked", "Booked")
    if payment.phase == "Booking":
        if account is None or not payment.is_for_books_of(account):
            return _left_behind(payment)
        return PaymentStep("Booked", "Booked") if _counted(payment, account) else BOOKING
    return _before_booking(payment, account)


def _counted(payment: Payment, account: Account) -> bool:
    return any(entry.uid == payment.uid for entry in account.booking)


def _left_behind(payment: Payment) -> PaymentStep:
    """Its account went before it took it into its books, or after: both went with it."""
    message = f"spec.accountName {payment.account!r}: the account that it was for is gone"
    if payment.account_uid is not None:
        message += ": delete this payment, and make another for an account that is there"
    return PaymentStep("Booking", "AccountNotFound", message)


def _before_booking(payment: Payment, account: Account | None) -> PaymentStep:
    if payment.deleting:
        return PaymentStep("Waiting", "Deleting", "it is being deleted")
    if account is None or account.deleting:
        message = f"spec.accountName {payment.account!r}: there is no such RenderAccount (yet)"
        return PaymentStep("Waiting", "AccountNotFound", message)
    fault = payment_fault(payment, account)
    if fault:
        return PaymentStep("Refused", "Refused", fault)
    return _before_payout(payment, account) if payment.is_payout else BOOKING


def _before_payout(payment: Payment, account: Account) -> PaymentStep:
    if _counted(payment, account):
        return PaymentStep("Booked", "Booked")
    if account.balance + payment.amount < 0:
        message = (
            f"the account's balance, {account.balance}, does not cover it yet: "
            "delete it to call it off"
        )
        return PaymentStep("Waiting", "NotCovered", message)
    return replace(BOOKING, phase="Waiting")


@dataclass(frozen=True)
class Leave:
    """Whether a session whose sums are final may lose its finalizer."""

    may: bool
    message: str = ""
    lost: bool = False
    """The books know nothing of it: somebody removed them."""


def leave(
    session: Session, namespace: str, invoice_name: Callable[[str], str]
) -> Generator[GetLive, Mapping[str, Any] | None, Leave]:
    """Decide whether a settled session may go: not before its invoice is in the books.

    The account is read first, then the invoice: the account forgets an invoice only once it is
    there, so that one that is in neither was in neither at the time of the first read.
    """
    funding = session.funding
    if funding is None or funding.state != "Funded":
        return Leave(True, "it was never funded: there is nothing to invoice")
    found = yield GetLive("RenderAccount", namespace, funding.account)
    made = yield GetLive("RenderInvoice", namespace, invoice_name(session.uid))
    if made is not None:
        return Leave(True, f"invoiced by {made['metadata']['name']}")
    if found is not None:
        account = read_account(found)
        coming = any(e.reserved.session_uid == session.uid for e in account.invoicing)
        if coming or session.uid in account.reservations:
            return Leave(False, f"its invoice is on its way from RenderAccount {account.name}")
    return Leave(True, "its account's books are gone: there is no invoice of it", lost=True)

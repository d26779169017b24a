"""The account's next status, from what exists: payments in, reservations, invoices. Pure.

One status write may do many things at once. It holds only if the account is still what the plan
was made from (its resourceVersion), and where a decision could be wrong by an old read of another
object, the plan asks for a live read first (`LedgerPlan.read_live`). docs/decisions/the-ledger.md
has the sequences of writes, and what a crash, an old read or a second operator does to each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from drqueue.api.names import invoice_name
from drqueue.billing.books import (
    Account,
    Booking,
    Invoicing,
    Payment,
    Reservation,
    Session,
    Waiting,
    with_reservation,
    without_reservation,
)
from drqueue.billing.money import ZERO
from drqueue.billing.prices import Terms, charge, price
from drqueue.billing.wants import Reason, Wait, payment_fault, wanted

MAX_BOOKING = 100
"""Payments that are booked at the same time; the next ones follow when these say Booked."""
BATCH = 64
"""New reservations in one write: each takes a live read first."""
SHOWN = 20


@dataclass(frozen=True)
class Ref:
    """An object to read live, by name; what is found counts only if it has that UID."""

    kind: Literal["RenderPayment", "RenderSession", "RenderNodeClass"]
    namespace: str | None
    """None: the account's own, or a class's."""
    name: str
    uid: str
    """Of a class, empty: it is the one that has the name now."""


@dataclass(frozen=True)
class Books:
    """What the plan is made from. The account was read before any live view."""

    account: Account
    payments: Mapping[str, Payment] = field(default_factory=dict)
    """By UID: those that name the account."""
    sessions: Mapping[str, Session] = field(default_factory=dict)
    """By UID: those that it has reservations for, or that ask it for one."""
    classes: Mapping[str, Terms | None] = field(default_factory=dict)
    """The price of each class; None or absent: it has none. From a cache, until it is read."""
    invoices: frozenset[str] = frozenset()
    """UIDs of sessions whose RenderInvoice is there (from a cache: invoices never go)."""
    gone: frozenset[str] = frozenset()
    """UIDs that a live read did not find."""
    unreadable: Mapping[str, Ref] = field(default_factory=dict)
    """By UID: sessions that a live read was refused. Nothing is decided about them."""


@dataclass(frozen=True)
class LedgerPlan:
    """What follows. While `read_live` is not empty nothing may be written: read, and plan again."""

    account: Account
    read_live: tuple[Ref, ...] = ()
    create: tuple[Invoicing, ...] = ()
    """Invoices that the account has committed to, and that are not there yet as far as is known."""
    waits: Mapping[str, Wait] = field(default_factory=dict)
    """By the session's UID, for sessions of which something is still missing."""
    funded: tuple[str, ...] = ()
    """UIDs of sessions whose reservation this write makes or raises."""
    released: tuple[Reservation, ...] = ()
    """Reservations given back whole: their session is gone, or bound elsewhere."""
    unreadable: tuple[Ref, ...] = ()
    """Sessions about which nothing was decided, for they cannot be read."""


def plan(books: Books) -> LedgerPlan:
    """Decide from what exists. Doing what it says and planning again ends in doing nothing."""
    return _Planner(books).run()


class _Planner:
    def __init__(self, books: Books) -> None:
        self.books, self.account = books, books.account
        self.reads: dict[Ref, None] = {}
        self.released: list[Reservation] = []
        self.funded: list[str] = []
        self.waits: dict[str, Wait] = {}

    def run(self) -> LedgerPlan:
        before = self.account
        create = [e for e in before.invoicing if not self._invoiced(e)]
        self._forget()
        for entry in before.reservations.values():
            self._keep_up(entry)
        if not before.deleting:
            self._book()
            self._reserve()
        shown = [
            Waiting(w.session.uid, w.session.namespace, w.session.name, w.missing)
            for w in self.waits.values()
            if w.missing is not None
        ]
        return LedgerPlan(
            account=replace(self.account, waiting=tuple(shown[:SHOWN])),
            read_live=tuple(self.reads),
            create=tuple(create),
            waits=self.waits,
            funded=tuple(self.funded),
            released=tuple(self.released),
            unreadable=tuple(self.books.unreadable.values()),
        )

    # payments --------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Forget payments that say Booked themselves, and invoices that are there.

        A payout that was deleted before it said so is given back.
        """
        kept, back = [], ZERO
        for entry in self.account.booking:
            payment = self.books.payments.get(entry.uid)
            if payment is None and self._is_gone(Ref("RenderPayment", None, entry.name, entry.uid)):
                back -= entry.payout
            elif payment is None or payment.phase != "Booked":
                kept.append(entry)
        self.account = replace(
            self.account,
            paid=self.account.paid + back,
            booking=tuple(kept),
            invoicing=tuple(e for e in self.account.invoicing if not self._invoiced(e)),
        )

    def _invoiced(self, entry: Invoicing) -> bool:
        return entry.reserved.session_uid in self.books.invoices

    def _book(self) -> None:
        """Book what comes in and says Booking, and what goes out as far as the balance covers it.

        A payout can be deleted until it says Booked, so one that is not covered holds up nobody.
        """
        there = {entry.uid for entry in self.account.booking}
        due = [
            p
            for p in self.books.payments.values()
            if (p.phase != "Booked" and not p.deleting if p.is_payout else p.phase == "Booking")
            and p.uid not in there
            and p.uid not in self.books.gone
            and not payment_fault(p, self.books.account)
        ]
        # what comes in may cover what goes out
        for payment in sorted(due, key=lambda p: (p.is_payout, p.name, p.uid)):
            uncovered = payment.is_payout and self.account.balance + payment.amount < 0
            if uncovered or len(self.account.booking) >= MAX_BOOKING:
                continue
            if not payment.live:
                self._read(Ref("RenderPayment", None, payment.name, payment.uid))
            payout = payment.amount if payment.is_payout else ZERO
            self.account = replace(
                self.account,
                paid=self.account.paid + payment.amount,
                booking=(*self.account.booking, Booking(payment.uid, payment.name, payout)),
            )

    # reservations that are there ---------------------------------------------------------------

    def _keep_up(self, entry: Reservation) -> None:
        """Invoice it, give it back, or lower it to what its session has bound itself to."""
        name, uid = self.account.name, entry.session_uid
        session = self.books.sessions.get(uid)
        if session is None or uid in self.books.gone:
            if self._is_gone(Ref("RenderSession", entry.namespace, entry.session_name, uid)):
                self._release(entry)
        elif session.lost_to(name):
            self._release(entry)
        elif session.settled:
            self._invoice(entry, session)
        elif not session.deleting:
            self._lower(entry, session)

    def _release(self, entry: Reservation) -> None:
        self.account = without_reservation(self.account, entry.session_uid)
        self.released.append(entry)

    def _invoice(self, entry: Reservation, session: Session) -> None:
        """The reservation out, the invoice in: of what the session had bound itself to."""
        funding = session.funding
        granted = min(funding.seconds, entry.seconds) if funding else 0
        amount = min(price(entry.terms, granted).total, entry.amount)
        used = min(session.used, granted)
        total = charge(entry.terms, amount, granted, used)
        nodes = funding.nodes if funding else entry.nodes
        invoicing = Invoicing(
            reserved=replace(entry, nodes=nodes, seconds=granted, amount=amount),
            name=invoice_name(entry.session_uid),
            used=used,
            total=total,
        )
        self.account = replace(
            without_reservation(self.account, entry.session_uid),
            invoiced=self.account.invoiced + total,
            invoicing=(*self.account.invoicing, invoicing),
        )

    def _lower(self, entry: Reservation, session: Session) -> None:
        """Lower, or only date anew, what is older than what the session has bound itself to."""
        funding = session.funding
        if funding is None or funding.generation <= entry.generation:
            return
        held = funding.seconds if session.funded_by(self.account.name) else 0
        seconds = max(held, min(session.seconds, entry.seconds))
        # Dated no later than the session's binding while it is above the wish of that generation:
        # otherwise the session could not bind itself to less.
        within = seconds <= session.seconds
        lowered = replace(
            entry,
            generation=session.generation if within else funding.generation,
            nodes=min(entry.nodes, session.nodes) if seconds < entry.seconds else entry.nodes,
            seconds=seconds,
            amount=min(price(entry.terms, seconds).total, entry.amount),
        )
        self.account = with_reservation(self.account, lowered)

    # new ones, and more --------------------------------------------------------------------------

    def _reserve(self) -> None:
        """Serve those that ask, the oldest first; nobody passes one that waits for money."""
        ahead, made = ZERO, 0
        waiting = False
        unknown = self.books.gone | self.books.unreadable.keys()
        asking = [s for s in self.books.sessions.values() if s.uid not in unknown]
        for session in sorted(asking, key=lambda s: (s.created_at, s.uid)):
            want = wanted(self.account, session, self.books.classes.get(session.class_name))
            if want is None:
                continue
            if isinstance(want, Wait):
                self.waits[session.uid] = want
                continue
            new = session.uid not in self.account.reservations
            asked = want.amount - (ZERO if new else self.account.reservations[session.uid].amount)
            late = new and made >= BATCH
            if waiting or late or asked > self.account.balance:
                waiting = True
                ahead += asked
                self._have_wait(session, ahead)
                continue
            if new:
                made += 1
                if not session.live:
                    self._read(Ref("RenderSession", session.namespace, session.name, session.uid))
                    # its terms are for good
                    self._read(Ref("RenderNodeClass", None, session.class_name, ""))
            self.account = with_reservation(self.account, want)
            self.funded.append(session.uid)

    def _have_wait(self, session: Session, ahead: Decimal) -> None:
        missing = max(ahead - self.account.balance, ZERO)
        first = not any(w.missing is not None for w in self.waits.values())
        reason: Reason = "AwaitingPayment" if first else "BehindOthers"
        self.waits[session.uid] = Wait(session, reason, missing)

    # live reads -----------------------------------------------------------------------------

    def _read(self, ref: Ref) -> None:
        self.reads[ref] = None

    def _is_gone(self, ref: Ref) -> bool:
        """Whether a live read did not find it; asks for one where there was none yet."""
        if ref.uid in self.books.gone:
            return True
        if ref.uid not in self.books.unreadable:
            self._read(ref)
        return False

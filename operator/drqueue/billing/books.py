"""What the ledger sees of accounts, payments and sessions (`records` reads and writes them).

A view is `live` when it was read from the API server after the account that is decided on; the
others come from a cache, and may be older than that account, or of objects that are gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Literal

from drqueue.api.account import MAX_RESERVATIONS
from drqueue.api.price import ParkedTime
from drqueue.billing.money import ZERO
from drqueue.billing.prices import Terms

FundingState = Literal["Free", "Awaiting", "Funded"]
PaymentPhase = Literal["Waiting", "Booking", "Booked", "Refused"]


@dataclass(frozen=True)
class Reservation:
    """Money held for one session: it covers `seconds` at these terms."""

    session_uid: str
    namespace: str
    session_name: str
    class_name: str
    generation: int
    """Of the session when it asked for this much."""
    nodes: int
    seconds: int
    """Node-seconds."""
    amount: Decimal
    terms: Terms


@dataclass(frozen=True)
class Invoicing:
    """A reservation that became an invoice; kept until the RenderInvoice is there."""

    reserved: Reservation
    """With nodes, seconds and amount as the session had bound itself to them."""
    name: str
    """Of the RenderInvoice."""
    used: int
    """Node-seconds."""
    total: Decimal


@dataclass(frozen=True)
class Booking:
    """A payment that is in `paid`, until it says Booked itself."""

    uid: str
    name: str
    payout: Decimal = ZERO
    """The amount of one that goes out: negative. It is given back if the payment is deleted first.

    Zero for what comes in: that cannot be deleted any more.
    """


@dataclass(frozen=True)
class Waiting:
    """A session that waits for money; the first of them is served first."""

    session_uid: str
    namespace: str
    session_name: str
    missing: Decimal
    """What has to be paid in until it is covered, those before it included."""


@dataclass(frozen=True)
class Account:
    """A RenderAccount: the one place where money is committed."""

    name: str
    uid: str
    """That of its books: a restored account has another UID, and goes on with them."""
    currency: str
    namespaces: frozenset[str]
    deleting: bool = False
    """Nothing more is booked or reserved on it."""
    paid: Decimal = ZERO
    invoiced: Decimal = ZERO
    reservations: Mapping[str, Reservation] = field(default_factory=dict)
    """By the session's UID."""
    booking: tuple[Booking, ...] = ()
    invoicing: tuple[Invoicing, ...] = ()
    waiting: tuple[Waiting, ...] = ()

    @cached_property
    def reserved(self) -> Decimal:
        """Sum of the reservations."""
        return sum((r.amount for r in self.reservations.values()), ZERO)

    @property
    def balance(self) -> Decimal:
        """What is free to be reserved or paid back: never below zero."""
        return self.paid - self.invoiced - self.reserved

    @property
    def full(self) -> bool:
        """No session more can be funded; an invoice on its way keeps its reservation's place."""
        return len(self.reservations) + len(self.invoicing) >= MAX_RESERVATIONS


@dataclass(frozen=True)
class Payment:
    """A RenderPayment."""

    uid: str
    name: str
    account: str
    amount: Decimal
    currency: str
    phase: PaymentPhase = "Waiting"
    deleting: bool = False
    live: bool = False
    account_uid: str | None = None
    """Of the account whose books it is for, from Booking on; None: of whichever has the name."""

    @property
    def is_payout(self) -> bool:
        """Whether it takes money out."""
        return self.amount < 0

    def is_for_books_of(self, account: Account) -> bool:
        """Whether it is not for those of a former account of that name."""
        return self.account_uid in (None, account.uid)


@dataclass(frozen=True)
class Funding:
    """status.funding of a session: what it has bound itself to."""

    state: FundingState
    account: str = ""
    currency: str = ""
    price: Decimal = ZERO
    nodes: int = 0
    seconds: int = 0
    generation: int = 0
    """No reservation older than this generation of the session may raise `seconds`."""
    missing: Decimal | None = None
    parked_time: ParkedTime | None = None
    """Of the terms it was funded at; None: it was funded before that was kept."""


@dataclass(frozen=True)
class Session:
    """A RenderSession."""

    uid: str
    namespace: str
    name: str
    created_at: str
    generation: int
    class_name: str
    nodes: int
    seconds: int
    """Node-seconds wished: nodes × renderTime."""
    suspended: bool = False
    deleting: bool = False
    held: bool = False
    """Our finalizer is on it: it cannot go without an invoice."""
    settled: bool = False
    """It is being deleted, all its nodes are gone, and its sums are final."""
    funding: Funding | None = None
    days: Mapping[str, int] = field(default_factory=dict)
    """Settled node-seconds by UTC day."""
    live: bool = False

    @property
    def used(self) -> int:
        """Settled node-seconds."""
        return sum(self.days.values())

    def funded_by(self, account: str) -> bool:
        """Whether it has bound itself to a reservation of that account."""
        funding = self.funding
        return funding is not None and funding.state == "Funded" and funding.account == account

    def asks(self, account: str) -> bool:
        """Whether it waits for its first reservation from that account."""
        funding = self.funding
        return funding is not None and funding.state == "Awaiting" and funding.account == account

    def lost_to(self, account: str) -> bool:
        """Whether it can never bind itself to a reservation of that account any more.

        Free and Funded are for good, and so is deletion: a session being deleted binds to nothing.
        """
        if self.funded_by(account):
            return False
        return self.deleting or (
            self.funding is not None and self.funding.state in ("Free", "Funded")
        )


def with_reservation(account: Account, entry: Reservation) -> Account:
    """The account with that reservation, in place of what the session had."""
    return replace(account, reservations={**account.reservations, entry.session_uid: entry})


def without_reservation(account: Account, session_uid: str) -> Account:
    """The account without that session's reservation."""
    kept = {uid: r for uid, r in account.reservations.items() if uid != session_uid}
    return replace(account, reservations=kept)

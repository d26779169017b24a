"""A session's money: which account it asks, what it has bound itself to, and what is missing.

Nothing is moved here. The session says in status.funding what it asks for; its account reserves
it (control/account.py); the session binds itself to the reservation that it sees (billing.grants).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from drqueue.billing.books import Account, Funding, Reservation, Session
from drqueue.billing.grants import grant
from drqueue.billing.money import ZERO, currency_fault, write_money
from drqueue.billing.prices import price
from drqueue.billing.records import read_account, read_session, terms_of, write_funding
from drqueue.billing.wants import Wait, wanted
from drqueue.control.conditions import Finding
from drqueue.control.context import Context
from drqueue.control.errors import NotFound
from drqueue.control.kinds import Key, Object
from drqueue.control.settings import Settings
from drqueue.control.store import Store

LOW = ((5, "FivePercentLeft"), (20, "TwentyPercentLeft"))
"""Percents of the granted time at which people are warned; the smallest first."""


@dataclass(frozen=True)
class Terms:
    """What a session may use in this round: by what it had bound itself to before."""

    nodes: int
    seconds: int
    """Node-seconds."""
    started: bool
    """It is free, or was funded once. Until then nothing is made for it."""
    parked_time: str | None = None
    """Whether its nodes are billed while they are parked; None: as their class says."""


@dataclass(frozen=True)
class Outcome:
    """What the session's status should say of its money."""

    funding: Mapping[str, Any] | None
    """status.funding; None: nothing is known yet."""
    finding: Finding
    """The condition Funded."""
    someone_must_act: bool = False


async def class_of(ctx: Context, obj: Object) -> Object | None:
    """The session's class, as last heard.

    Where the session would be Free by that, the API server is asked: Free is for good, and the
    class may have got its price a moment before the session was made.
    """
    key = Key("RenderNodeClass", None, obj["spec"]["nodeClassName"])
    known, funding = ctx.store.get(key), read_session(obj).funding
    decided = funding is not None and funding.state != "Awaiting"
    if decided or not ctx.settings.billing_namespace or known is None:
        return known
    if not _is_free(ctx.settings, funding, known):
        return known
    try:
        return await ctx.client.get(key)
    except NotFound:
        return None


def session_terms(settings: Settings, obj: Object, node_class: Object | None) -> Terms:
    """What the session may use now."""
    session = read_session(obj)
    funding = session.funding
    if funding is not None and funding.state == "Funded":
        nodes = min(session.nodes, funding.nodes)
        return Terms(nodes, funding.seconds, started=True, parked_time=funding.parked_time)
    if _is_free(settings, funding, node_class):
        return Terms(session.nodes, session.seconds, started=True)
    return Terms(0, 0, started=False)


def _is_free(settings: Settings, funding: Funding | None, node_class: Object | None) -> bool:
    """Whether nobody pays for it: for good, once it is written down."""
    if funding is not None and funding.state != "Awaiting":
        return funding.state == "Free"
    if not settings.billing_namespace:
        return True
    return node_class is not None and not node_class["spec"].get("price")


def is_to_be_lowered(obj: Object) -> bool:
    """Whether the session wants less than it has bound itself to, and can still bind to that."""
    session = read_session(obj)
    funding = session.funding
    return (
        funding is not None
        and funding.state == "Funded"
        and session.seconds < funding.seconds
        and funding.generation < session.generation
    )


def outcome(ctx: Context, obj: Object, node_class: Object | None, used: int) -> Outcome:
    """Decide; `used` are the node-seconds of ended and running nodes, of the sums that are
    written together with this, and of nodes whose readiness is not written down yet."""
    session = read_session(obj)
    funding = session.funding
    if _is_free(ctx.settings, funding, node_class):
        free = Funding("Free")
        message = "Nobody pays for it: billing is off, or its class had no price when it began."
        return Outcome(write_funding(free), Finding("Funded", "True", "Free", message))
    if funding is not None and funding.state == "Funded":
        return _of_funded(ctx, session, funding, node_class, used)
    if node_class is None:
        finding = Finding("Funded", "False", "NodeClassNotFound", "its class's price is not known")
        return Outcome((obj.get("status") or {}).get("funding"), finding)
    return _of_new(ctx, obj, session, node_class)


def _of_funded(
    ctx: Context, session: Session, funding: Funding, node_class: Object | None, used: int
) -> Outcome:
    found = ctx.store.account(funding.account)
    account = _readable(found) if ctx.settings.billing_namespace else None
    reservation = account.reservations.get(session.uid) if account else None
    new = grant(session, funding.account, reservation, used) or funding
    written = write_funding(new)
    if session.seconds <= new.seconds and session.nodes <= new.nodes:
        message = (
            f"{write_money(new.price, new.currency)} {new.currency} reserved in "
            f"RenderAccount {new.account!r}"
        )
        return Outcome(written, Finding("Funded", "True", "Funded", message))
    if account is None:
        message = (
            f"RenderAccount {funding.account!r} cannot be read (now): what was funded goes on, and "
            "no more is reserved"
        )
        return Outcome(written, Finding("Funded", "False", "AccountNotFound", message), True)
    return _waiting(account, session, new, node_class)


def _of_new(ctx: Context, obj: Object, session: Session, node_class: Object) -> Outcome:
    funding = session.funding
    if funding is not None and funding.account:
        account = _readable(ctx.store.account(funding.account))
        reservation = account.reservations.get(session.uid) if account else None
        if account is not None and reservation is not None:
            return _bound(account, session, reservation)
    wrong = currency_fault(node_class["spec"]["price"]["currency"])
    if wrong:
        message = f"RenderNodeClass {session.class_name!r}: spec.price.currency {wrong}"
        return _without_account(session, Finding("Funded", "False", "CurrencyMismatch", message))
    chosen = choose(ctx.store, obj)
    if isinstance(chosen, Finding):
        return _without_account(session, chosen)
    account = read_account(chosen)
    reservation = account.reservations.get(session.uid)
    if reservation is not None:
        return _bound(account, session, reservation)
    generation = funding.generation if funding is not None else 0
    asking = Funding("Awaiting", account.name, account.currency, generation=generation)
    asks = replace(session, funding=asking)
    return _waiting(account, asks, asking, node_class)


def _bound(account: Account, session: Session, reservation: Reservation) -> Outcome:
    """Its first reservation: from now on it is Funded, by that account."""
    funding = grant(session, account.name, reservation, 0)
    written = write_funding(funding) if funding is not None else None
    message = f"{write_money(reservation.amount, account.currency)} {account.currency} reserved"
    return Outcome(written, Finding("Funded", "True", "Funded", message))


def choose(store: Store, obj: Object) -> Object | Finding:
    """The account that pays for a session that none has paid for yet, or why there is none."""
    namespace, name = obj["metadata"]["namespace"], obj["spec"].get("accountName")
    if name:
        account = store.account(name)
        if account is None or "deletionTimestamp" in account["metadata"]:
            message = (
                f"spec.accountName {name!r}: there is no such RenderAccount (yet): ask those who "
                "keep the books, or create a session that names another"
            )
            return Finding("Funded", "False", "AccountNotFound", message)
        if namespace not in (account["spec"].get("namespaces") or ()):
            message = (
                f"spec.accountName {name!r}: namespace {namespace!r} may not spend from it: ask "
                "those who keep the books, or create a session that names another"
            )
            return Finding("Funded", "False", "NotYourAccount", message)
        return _usable(account)
    accounts = [
        a for a in store.accounts_for(namespace) if "deletionTimestamp" not in a["metadata"]
    ]
    if not accounts:
        message = f"no RenderAccount lists namespace {namespace!r}: ask those who keep the books"
        return Finding("Funded", "False", "AccountNotFound", message)
    if len(accounts) > 1:
        names = ", ".join(a["metadata"]["name"] for a in accounts[:5])
        message = (
            f"{len(accounts)} RenderAccounts list namespace {namespace!r} ({names}): create the "
            "session with spec.accountName set to one of them"
        )
        return Finding("Funded", "False", "AccountAmbiguous", message)
    return _usable(accounts[0])


def _usable(account: Object) -> Object | Finding:
    wrong = currency_fault(account["spec"]["currency"])
    if wrong:
        message = f"RenderAccount {account['metadata']['name']!r}: spec.currency {wrong}"
        return Finding("Funded", "False", "CurrencyMismatch", message)
    return account


def _readable(found: Object | None) -> Account | None:
    if found is None or currency_fault(found["spec"]["currency"]):
        return None
    return read_account(found)


def _without_account(session: Session, finding: Finding) -> Outcome:
    generation = session.funding.generation if session.funding is not None else 0
    return Outcome(
        write_funding(Funding("Awaiting", generation=generation)), finding, someone_must_act=True
    )


def _waiting(
    account: Account, session: Session, funding: Funding, node_class: Object | None
) -> Outcome:
    """What the session asks for and has not got: why, and how much is missing."""
    want = wanted(account, session, terms_of(node_class))
    if isinstance(want, Wait):
        finding = Finding("Funded", "False", want.reason, want.message)
        return Outcome(write_funding(funding), finding, want.reason != "Suspended")
    queue = {w.session_uid: w.missing for w in account.waiting}
    asked = _asked(account, session, want, node_class)
    first = not queue or next(iter(queue)) == session.uid
    if session.uid in queue:
        missing = queue[session.uid]
    elif queue:  # its account has not looked yet, or has more that wait than it shows
        missing = max(queue.values()) + asked
    else:
        missing = max(asked - account.balance, ZERO)
    if missing > 0:
        reason = "AwaitingPayment" if first else "BehindOthers"
        sums = f"{write_money(missing, account.currency)} {account.currency} missing"
        before = "" if first else ", those of older sessions before it included"
        message = f"RenderAccount {account.name!r}: {sums}{before}"
        written = write_funding(replace(funding, missing=missing))
        return Outcome(written, Finding("Funded", "False", reason, message), True)
    message = f"RenderAccount {account.name!r} covers it, and is about to reserve it"
    return Outcome(write_funding(funding), Finding("Funded", "False", "Reserving", message))


def _asked(
    account: Account, session: Session, want: Reservation | None, node_class: Object | None
) -> Decimal:
    """The difference that the session asks for."""
    entry = account.reservations.get(session.uid)
    if want is not None:
        return want.amount - (entry.amount if entry is not None else ZERO)
    terms = entry.terms if entry is not None else terms_of(node_class)
    if terms is None:
        return ZERO
    amount = price(terms, session.seconds).total
    return max(amount - (entry.amount if entry is not None else ZERO), ZERO)


def low_time(started: bool, granted: int, remaining: int) -> Finding:
    """The condition RenderTimeLow: 20 % left, or 5 %."""
    if not started or granted <= 0:
        return Finding("RenderTimeLow", "False", "NotStarted")
    for percent, reason in LOW:
        if remaining * 100 <= granted * percent:
            message = f"{percent} % of the render time or less is left"
            if remaining <= 0:
                return Finding("RenderTimeLow", "True", "NoneLeft", "all render time is used")
            return Finding("RenderTimeLow", "True", reason, message)
    return Finding("RenderTimeLow", "False", "Enough")


def seconds_until_low(granted: int, remaining: int, pace: int) -> float | None:
    """Seconds until the next warning is due, at that pace (nodes that use time now)."""
    due = [remaining - granted * percent / 100 for percent, _ in LOW]
    later = [left for left in due if left > 0]
    return min(later) / pace if later and pace > 0 else None

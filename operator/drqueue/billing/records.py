"""The views of the ledger as JSON: read from Kubernetes objects, and written into statuses."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from drqueue.api.names import FINALIZER
from drqueue.api.values import parse_duration
from drqueue.billing.books import (
    Account,
    Booking,
    Funding,
    Invoicing,
    Payment,
    Reservation,
    Session,
    Waiting,
)
from drqueue.billing.money import currency_fault, read_money, write_money
from drqueue.billing.prices import Terms, read_terms, write_terms

Json = dict[str, Any]

# reading ---------------------------------------------------------------------------------


def books_uid(account: Mapping[str, Any]) -> str:
    """By what UID payments and invoices know a RenderAccount's books."""
    return str((account.get("status") or {}).get("booksUid") or account["metadata"]["uid"])


def is_for(obj: Mapping[str, Any], books: str) -> bool:
    """Whether a payment or invoice that names an account is for those books, not for a former
    account's of that name; of one from before UIDs were kept the name says it."""
    status = obj.get("status") or {}
    return (obj["spec"].get("accountUid") or status.get("accountUid")) in (None, books)


def read_account(obj: Mapping[str, Any]) -> Account:
    """Read a RenderAccount."""
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    terms = {entry["id"]: read_terms(entry) for entry in status.get("terms") or ()}
    reservations = (_read_reservation(e, terms) for e in status.get("reservations") or ())
    return Account(
        name=meta["name"],
        uid=books_uid(obj),
        currency=spec["currency"],
        namespaces=frozenset(spec.get("namespaces") or ()),
        deleting="deletionTimestamp" in meta,
        paid=read_money(status.get("paid", "0")),
        invoiced=read_money(status.get("invoiced", "0")),
        reservations={r.session_uid: r for r in reservations},
        booking=tuple(
            Booking(e["uid"], e["name"], read_money(e.get("payout") or "0"))
            for e in status.get("booking") or ()
        ),
        invoicing=tuple(
            Invoicing(
                _read_reservation(e, terms),
                e["name"],
                int(e["usedSeconds"]),
                read_money(e["total"]),
            )
            for e in status.get("invoicing") or ()
        ),
        waiting=tuple(
            Waiting(e["sessionUid"], e["namespace"], e["sessionName"], read_money(e["missing"]))
            for e in status.get("waiting") or ()
        ),
    )


def _read_reservation(entry: Mapping[str, Any], terms: Mapping[str, Terms]) -> Reservation:
    return Reservation(
        session_uid=entry["sessionUid"],
        namespace=entry["namespace"],
        session_name=entry["sessionName"],
        class_name=entry["className"],
        generation=int(entry["generation"]),
        nodes=int(entry["nodes"]),
        seconds=int(entry["seconds"]),
        amount=read_money(entry["amount"]),
        terms=terms[entry["terms"]],
    )


def read_payment(obj: Mapping[str, Any], *, live: bool = False) -> Payment:
    """Read a RenderPayment."""
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    return Payment(
        uid=meta["uid"],
        name=meta["name"],
        account=spec["accountName"],
        amount=read_money(spec["amount"]),
        currency=spec["currency"],
        phase=status.get("phase") or "Waiting",
        account_uid=status.get("accountUid"),
        deleting="deletionTimestamp" in meta,
        live=live,
    )


_OF_ONE_SESSION = ("funding", "settledDays", "settling", "settled", "unpaid", "renderTime")


def own_status(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """A session's status without what a session of another UID was funded for, and used.

    One that is restored from a backup gets another UID. What was reserved for the former went back
    to its account, or is invoiced.
    """
    status: Mapping[str, Any] = obj.get("status") or {}
    uid = (status.get("funding") or {}).get("sessionUid")
    if uid is None or uid == obj["metadata"]["uid"]:
        return status
    return {name: part for name, part in status.items() if name not in _OF_ONE_SESSION}


def read_session(obj: Mapping[str, Any], *, live: bool = False) -> Session:
    """Read a RenderSession."""
    meta, spec, status = obj["metadata"], obj["spec"], own_status(obj)
    render_time = int(parse_duration(spec["renderTime"]).total_seconds())
    return Session(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        created_at=meta.get("creationTimestamp", ""),
        generation=int(meta.get("generation", 0)),
        class_name=spec["nodeClassName"],
        nodes=spec["nodes"],
        seconds=spec["nodes"] * render_time,
        suspended=bool(spec.get("suspend")),
        deleting="deletionTimestamp" in meta,
        held=FINALIZER in (meta.get("finalizers") or ()),
        settled="deletionTimestamp" in meta and bool(status.get("settled")),
        funding=read_funding(status.get("funding")),
        days={entry["day"]: int(entry["seconds"]) for entry in status.get("settledDays") or ()},
        live=live,
    )


def read_funding(entry: Mapping[str, Any] | None) -> Funding | None:
    """Read a session's status.funding; None where it has none yet."""
    if not entry or not entry.get("state"):
        return None
    missing = entry.get("missing")
    return Funding(
        state=entry["state"],
        account=entry.get("accountName") or "",
        currency=entry.get("currency") or "",
        price=read_money(entry.get("price") or "0"),
        nodes=int(entry.get("nodes") or 0),
        seconds=int(entry.get("seconds") or 0),
        generation=int(entry.get("generation") or 0),
        missing=None if missing is None else read_money(missing),
        parked_time=entry.get("parkedTime"),
    )


def terms_of(node_class: Mapping[str, Any] | None) -> Terms | None:
    """A class's price; None where it has none, or one in a currency that is not known."""
    price = node_class["spec"].get("price") if node_class else None
    return read_terms(price) if price and not currency_fault(price["currency"]) else None


# writing ---------------------------------------------------------------------------------


def write_account(account: Account) -> Json:
    """Write the ledger's part of a RenderAccount's status; conditions are added to it."""

    def money(amount: Decimal) -> str:
        return write_money(amount, account.currency)

    held = [*account.reservations.values(), *(entry.reserved for entry in account.invoicing)]
    terms = {r.terms.id: r.terms for r in held}
    return {
        "booksUid": account.uid,
        "balance": money(account.balance),
        "paid": money(account.paid),
        "invoiced": money(account.invoiced),
        "reserved": money(account.reserved),
        "reservations": [_reservation(r) for r in account.reservations.values()],
        "terms": [{"id": id, **write_terms(terms[id])} for id in sorted(terms)],
        "booking": [
            {
                "uid": entry.uid,
                "name": entry.name,
                **({"payout": money(entry.payout)} if entry.payout else {}),
            }
            for entry in account.booking
        ],
        "invoicing": [
            {
                **_reservation(entry.reserved),
                "name": entry.name,
                "usedSeconds": entry.used,
                "total": money(entry.total),
            }
            for entry in account.invoicing
        ],
        "waiting": [
            {
                "sessionUid": entry.session_uid,
                "namespace": entry.namespace,
                "sessionName": entry.session_name,
                "missing": money(entry.missing),
            }
            for entry in account.waiting
        ],
    }


def _reservation(entry: Reservation) -> Json:
    return {
        "sessionUid": entry.session_uid,
        "namespace": entry.namespace,
        "sessionName": entry.session_name,
        "className": entry.class_name,
        "generation": entry.generation,
        "nodes": entry.nodes,
        "seconds": entry.seconds,
        "amount": write_money(entry.amount, entry.terms.currency),
        "terms": entry.terms.id,
    }


def write_funding(funding: Funding) -> Json:
    """Write a session's status.funding."""
    written: Json = {"state": funding.state, "generation": funding.generation}
    if funding.state == "Free":
        return written
    written["accountName"] = funding.account
    if funding.currency:
        written["currency"] = funding.currency
    if funding.state == "Funded":
        written["price"] = write_money(funding.price, funding.currency)
        written["nodes"], written["seconds"] = funding.nodes, funding.seconds
        if funding.parked_time is not None:
            written["parkedTime"] = funding.parked_time
    if funding.missing is not None and funding.currency:
        written["missing"] = write_money(funding.missing, funding.currency)
    return written

"""The RenderInvoice of a session: a line a day, which add up to its total exactly. Pure."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from drqueue.api import API_VERSION
from drqueue.api.values import format_duration
from drqueue.billing.books import Account, Invoicing, Session
from drqueue.billing.money import ZERO, write_money
from drqueue.billing.prices import for_time

Json = dict[str, Any]


def invoice(account: Account, namespace: str, entry: Invoicing, session: Session | None) -> Json:
    """The RenderInvoice for an entry of `account.invoicing`, in the books' namespace.

    `session` is the settled session of that UID, which its finalizer keeps until the invoice is
    there; without it (or with other sums) all time stands in one line.
    """
    held = entry.reserved
    currency = held.terms.currency
    days: Mapping[str, int] = {}
    if session is not None and session.uid == held.session_uid and session.used == entry.used:
        days = session.days
    return {
        "apiVersion": API_VERSION,
        "kind": "RenderInvoice",
        "metadata": {"name": entry.name, "namespace": namespace},
        "spec": {
            "accountName": account.name,
            "accountUid": account.uid,
            "namespace": held.namespace,
            "sessionName": held.session_name,
            "sessionUid": held.session_uid,
            "className": held.class_name,
            "currency": currency,
            "priced": {
                "nodes": held.nodes,
                "seconds": held.seconds,
                "amount": write_money(held.amount, currency),
            },
            "lines": lines(entry, days),
            "usedSeconds": entry.used,
            "total": write_money(entry.total, currency),
        },
    }


def lines(entry: Invoicing, days: Mapping[str, int]) -> list[Json]:
    """One line a day, and one for what is charged beside the time.

    Each day is the rounded sum up to its end less the rounded sum up to its start, so that a cent
    is neither lost nor made between the days.
    """
    held = entry.reserved
    currency = held.terms.currency
    made: list[Json] = []
    so_far, seconds_so_far = ZERO, 0

    def add(text: str, seconds: int, upto: Decimal, day: str | None) -> None:
        nonlocal so_far
        line: Json = {"text": text, "seconds": seconds}
        if day is not None:
            line["day"] = day
        line["amount"] = write_money(upto - so_far, currency)
        so_far = upto
        made.append(line)

    for day, seconds in sorted(days.items()):
        seconds_so_far += seconds
        upto = for_time(held.terms, held.amount, held.seconds, seconds_so_far)
        add(f"{_time(seconds)} of node time", seconds, upto, day)
    if not days and entry.used > 0:
        upto = for_time(held.terms, held.amount, held.seconds, entry.used)
        add(f"{_time(entry.used)} of node time", entry.used, upto, None)
    if entry.total != so_far:
        if held.terms.unused == "Keep":
            rest = held.seconds - entry.used
            add(f"{_time(rest)} bought and not used", rest, entry.total, None)
        else:
            add("up to the minimum charge", 0, entry.total, None)
    return made


def _time(seconds: int) -> str:
    return format_duration(timedelta(seconds=seconds))

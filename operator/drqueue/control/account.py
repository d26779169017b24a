"""The reconciler of RenderAccounts: carries out `billing.rounds`, the ledger's order of steps."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from drqueue.api.account import MAX_RESERVATIONS
from drqueue.billing.ledger import LedgerPlan, Ref
from drqueue.billing.money import currency_fault, write_money
from drqueue.billing.prices import Terms
from drqueue.billing.records import terms_of
from drqueue.billing.rounds import (
    UNREADABLE,
    Create,
    GetLive,
    Step,
    Unreadable,
    WriteStatus,
    account_round,
)
from drqueue.control import conditions
from drqueue.control.conditions import Finding, truth
from drqueue.control.context import Context, Result
from drqueue.control.errors import REFUSED_AGAIN, AlreadyExists, Forbidden, NotFound
from drqueue.control.kinds import Key, Object, Objects
from drqueue.control.store import Store

Json = dict[str, Any]
SHOWN = 3
"""Names in one message."""


class AccountReconciler:
    """Keeps the books of a RenderAccount: each round is one write under its resourceVersion."""

    async def __call__(self, ctx: Context, key: Key) -> Result:
        """Reconcile the account of that key."""
        obj = ctx.store.get(key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return Result()  # none is let go while money is in it; nothing comes in any more
        wrong = currency_fault(obj["spec"]["currency"])
        if wrong:
            status = dict(obj.get("status") or {})
            finding = Finding("Ready", "False", "CurrencyUnknown", f"spec.currency {wrong}")
            await ctx.client.update_status(obj, _with_conditions(obj, status, finding, ctx.clock()))
            return Result()
        sessions = sessions_of(ctx.store, obj)
        steps = account_round(
            obj,
            _open_payments(ctx.store, obj),
            sessions,
            class_terms(ctx.store, sessions),
            (),  # which invoices are there is asked by making them: an account has few to come
        )
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                planned: LedgerPlan = end.value
                return Result(REFUSED_AGAIN.total_seconds() if planned.unreadable else None)
            answer = await self._do(ctx, step)

    async def _do(self, ctx: Context, step: Step) -> Object | Unreadable | None:
        if isinstance(step, GetLive):
            return await _get_if_we_may(ctx, step)
        if isinstance(step, Create):
            await _invoice(ctx, step.obj)
            return None
        await self._write(ctx, step)
        return None

    async def _write(self, ctx: Context, step: WriteStatus) -> None:
        obj = dict(step.obj)
        status = _with_conditions(obj, step.status, _ready(obj, step.plan), ctx.clock())
        await ctx.client.update_status(obj, status)
        ready = conditions.changed_reason(obj, status, "Ready")
        if ready is not None and ready["reason"] != "InOrder":
            ctx.events.event(obj, "Warning", ready["reason"], ready["message"])


async def get_live(ctx: Context, step: GetLive) -> Object | None:
    """Read an object from the API server; None where there is none."""
    try:
        return await ctx.client.get(Key(step.kind, step.namespace, step.name))
    except NotFound:
        return None


async def _get_if_we_may(ctx: Context, step: GetLive) -> Object | Unreadable | None:
    """The rights in a tenant's namespace may be gone, and its account is to go on all the same."""
    try:
        return await get_live(ctx, step)
    except Forbidden:
        if step.kind != "RenderSession":
            raise
        return UNREADABLE


async def _invoice(ctx: Context, invoice: Json) -> None:
    try:
        await ctx.client.create(invoice)
    except AlreadyExists:
        return  # by a round that did not come to its end
    spec = invoice["spec"]
    account = ctx.store.account(spec["accountName"])
    if account is not None:
        message = (
            f"{invoice['metadata']['name']}: {spec['total']} {spec['currency']} for session "
            f"{spec['namespace']}/{spec['sessionName']}"
        )
        ctx.events.event(account, "Normal", "Invoiced", message)


def sessions_of(store: Store, account: Mapping[str, Any]) -> Objects:
    """The sessions that ask the account, spend from it, or have a reservation or invoice in it."""
    found = {
        session["metadata"]["uid"]: session
        for session in store.by_account("RenderSession", account["metadata"]["name"])
    }
    status = account.get("status") or {}
    for name in ("reservations", "invoicing"):
        for entry in status.get(name) or ():
            if entry["sessionUid"] in found:
                continue
            key = Key("RenderSession", entry["namespace"], entry["sessionName"])
            session = store.get(key)
            if session is not None and session["metadata"]["uid"] == entry["sessionUid"]:
                found[entry["sessionUid"]] = session
    return list(found.values())


def class_terms(store: Store, sessions: Iterable[Mapping[str, Any]]) -> dict[str, Terms | None]:
    """The prices of those sessions' classes, now."""
    names = {session["spec"]["nodeClassName"] for session in sessions}
    return {name: terms_of(store.get(Key("RenderNodeClass", None, name))) for name in names}


def _open_payments(store: Store, account: Mapping[str, Any]) -> Objects:
    """Payments that are not booked, or whose booking is not forgotten yet."""
    noted = {entry["uid"] for entry in (account.get("status") or {}).get("booking") or ()}
    return [
        payment
        for payment in store.by_account("RenderPayment", account["metadata"]["name"])
        if (payment.get("status") or {}).get("phase") != "Booked"
        or payment["metadata"]["uid"] in noted
    ]


def _ready(obj: Mapping[str, Any], planned: LedgerPlan) -> Finding:
    account, currency = planned.account, obj["spec"]["currency"]
    if account.full:
        message = f"it holds {MAX_RESERVATIONS} reservations, and no more: use another account"
        return Finding("Ready", "False", "AccountFull", message)
    if planned.unreadable:
        return Finding("Ready", "True", "SessionUnreadable", _cannot_read(planned.unreadable))
    waiting = [wait for wait in planned.waits.values() if wait.missing is not None]
    if waiting:
        missing = max(wait.missing for wait in waiting if wait.missing is not None)
        message = f"{len(waiting)} sessions wait for {write_money(missing, currency)} {currency}"
        return Finding("Ready", "True", "InOrder", message)
    return Finding("Ready", "True", "InOrder")


def _cannot_read(sessions: Sequence[Ref]) -> str:
    names = ", ".join(f"{ref.namespace}/{ref.name}" for ref in sessions[:SHOWN])
    more = f" and {len(sessions) - SHOWN} more" if len(sessions) > SHOWN else ""
    return (
        f"the operator may not read {names}{more}: what is reserved or to be invoiced for them "
        "stays as it is until its rights are back"
    )


def _with_conditions(obj: Object, status: Json, ready: Finding, now: datetime) -> Json:
    generation = obj["metadata"].get("generation", 0)
    stalled = ready.status == "False"
    findings = [
        ready,
        Finding("Reconciling", "False", ready.reason),
        Finding("Stalled", truth(stalled), ready.reason),
    ]
    old = (obj.get("status") or {}).get("conditions") or ()
    merged = conditions.merge(old, findings, generation, now)
    return {**status, "observedGeneration": generation, "conditions": merged}

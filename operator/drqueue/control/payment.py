"""The reconciler of RenderPayments: their part of the booking, which `billing.rounds` decides."""

from typing import Any

from drqueue.api.values import format_time
from drqueue.billing.money import currency_fault
from drqueue.billing.records import books_uid, is_for, read_account, read_payment
from drqueue.billing.rounds import GetLive, PaymentStep, next_phase
from drqueue.control import conditions
from drqueue.control.account import get_live
from drqueue.control.conditions import Finding, truth
from drqueue.control.context import Context, Result
from drqueue.control.kinds import Key, Object


class PaymentReconciler:
    """Keeps one RenderPayment's status: Waiting, Booking, Booked, or Refused."""

    async def __call__(self, ctx: Context, key: Key) -> Result:
        """Reconcile the payment of that key."""
        obj = ctx.store.get(key)
        if obj is None:
            return Result()
        account = await _account(ctx, obj)
        step = _step(obj, account)
        status = _status(obj, step, account, ctx)
        await ctx.client.update_status(obj, status)
        told = conditions.changed_reason(obj, status, "Booked")
        if told is not None:
            wrong = step.phase == "Refused" or step.reason in ("AccountNotFound", "NotCovered")
            spec = obj["spec"]
            message = step.message or f"{spec['amount']} {spec['currency']}: in the books"
            ctx.events.event(obj, "Warning" if wrong else "Normal", step.reason, message)
        return Result()


async def _account(ctx: Context, obj: Object) -> Object | None:
    """The account that the payment is for. Where one that says Booking would be left without, the
    API server is asked: it can be deleted then, and must be in no books that are there."""
    found = ctx.store.account(obj["spec"]["accountName"])
    status = obj.get("status") or {}
    if status.get("phase") == "Booking" and (found is None or not is_for(obj, books_uid(found))):
        namespace, name = obj["metadata"]["namespace"], obj["spec"]["accountName"]
        found = await get_live(ctx, GetLive("RenderAccount", namespace, name))
    if found is not None and "deletionTimestamp" in found["metadata"]:
        return None
    return found


def _step(obj: Object, found: Object | None) -> PaymentStep:
    wrong = currency_fault(found["spec"]["currency"]) if found else ""
    if found is not None and wrong:
        message = f"RenderAccount {found['metadata']['name']!r}: spec.currency {wrong}"
        return PaymentStep("Waiting", "CurrencyUnknown", message)
    return next_phase(read_payment(obj), read_account(found) if found else None)


def _status(obj: Object, step: PaymentStep, account: Object | None, ctx: Context) -> dict[str, Any]:
    old, now = obj.get("status") or {}, ctx.clock()
    generation = obj["metadata"].get("generation", 0)
    booked = step.phase == "Booked"
    stalled = not booked and step.reason != "Booking"
    findings = [
        Finding("Booked", truth(booked), step.reason, step.message),
        Finding("Ready", truth(booked), step.reason, step.message),
        Finding("Reconciling", truth(not booked and not stalled), step.reason),
        Finding("Stalled", truth(stalled), step.reason, step.message),
    ]
    status = {
        **old,
        "observedGeneration": generation,
        "phase": step.phase,
        "conditions": conditions.merge(old.get("conditions") or (), findings, generation, now),
    }
    if booked:
        status.setdefault("bookedAt", format_time(now))
    enters_the_books = step.phase in ("Booking", "Booked") and step.phase != old.get("phase")
    if account is not None and enters_the_books:
        status.setdefault("accountUid", books_uid(account))
    return status

"""The reconciler of RenderNodeClasses: what is offered, and how much of it is in use."""

from datetime import datetime, timedelta
from typing import Any

from drqueue.billing.money import currency_fault
from drqueue.control import conditions, session_shares
from drqueue.control.conditions import Finding, truth
from drqueue.control.context import Context, Result
from drqueue.control.cooling import Cooling
from drqueue.control.kinds import Key, Object
from drqueue.control.launches import as_status
from drqueue.renderers import RENDERERS

COUNTS_EVERY = 10.0
"""Seconds, at least, between two writes for counts alone."""
_COUNTS = frozenset({"nodesInUse", "nodesWanted", "nodesAllowed", "sessions"})


class NodeClassReconciler:
    """Keeps the status of RenderNodeClasses."""

    def __init__(self) -> None:
        self._written: dict[str, datetime] = {}

    async def __call__(self, ctx: Context, key: Key) -> Result:
        """Reconcile the class of that key."""
        obj = ctx.store.get(key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return Result()
        now, name = ctx.clock(), obj["metadata"]["name"]
        session_shares.load(ctx, name)
        waits = [_share_out(ctx, obj, now), await self._write(ctx, obj, now)]
        cooling = ctx.launches.of(name)
        if cooling.until is not None and cooling.until > now:
            waits.append((cooling.until - now).total_seconds())
        return Result(min((wait for wait in waits if wait is not None), default=None))

    async def _write(self, ctx: Context, obj: Object, now: datetime) -> float | None:
        """Write the status, if it is another; gives seconds until counts held back may be."""
        uid, old = obj["metadata"]["uid"], obj.get("status") or {}
        status = _status(ctx, obj, now)
        differ = {name for name in {*old, *status} if old.get(name) != status.get(name)}
        if not differ:
            return None
        since = self._written.get(uid)
        if differ <= _COUNTS and since is not None:
            left = COUNTS_EVERY - (now - since).total_seconds()
            if left > 0:
                return left
        await ctx.client.update_status(obj, status)
        self._written[uid] = now
        for kind in ("Ready", "Launching"):
            changed = conditions.changed_reason(obj, status, kind)
            if changed is not None and changed["status"] == "False":
                ctx.events.event(obj, "Warning", changed["reason"], changed["message"])
        return None


def _share_out(ctx: Context, obj: Object, now: datetime) -> float | None:
    """Share the class out, where that is due; gives seconds until it is."""
    name = obj["metadata"]["name"]
    wait = ctx.shares.wait(name, now)
    if wait == timedelta():
        limits = session_shares.read_limits(obj["spec"])
        for session in ctx.shares.share(name, limits, now):
            ctx.queue.add(session)
        wait = ctx.shares.wait(name, now)
    return wait.total_seconds() if wait is not None else None


def _status(ctx: Context, obj: Object, now: datetime) -> dict[str, Any]:
    name, generation = obj["metadata"]["name"], obj["metadata"].get("generation", 0)
    old, counts = obj.get("status") or {}, ctx.shares.counts(name)
    cooling = ctx.launches.look_at(obj)
    status = {
        "observedGeneration": generation,
        "conditions": conditions.merge(
            old.get("conditions") or (), _findings(ctx, obj, cooling, now), generation, now
        ),
        "nodesInUse": counts.have,
        "nodesWanted": counts.want,
        "nodesAllowed": counts.allowed,
        "sessions": ctx.store.count_by_class("RenderSession", name),
    }
    return status | ({"launch": as_status(cooling)} if cooling.streaks else {})


def _findings(ctx: Context, obj: Object, cooling: Cooling, now: datetime) -> list[Finding]:
    unknown = sorted(set(obj["spec"].get("renderers") or ()) - set(RENDERERS))
    price = obj["spec"].get("price")
    wrong = currency_fault(price["currency"]) if price else ""
    if unknown:
        message = (
            f"spec.renderers: {', '.join(unknown)} is not known: write some of "
            f"{', '.join(RENDERERS)}; jobs with a template of their own need none"
        )
        ready = Finding("Ready", "False", "RendererUnknown", message)
    elif wrong:
        ready = Finding("Ready", "False", "CurrencyUnknown", f"spec.price.currency {wrong}")
    else:
        ready = Finding("Ready", "True", "Offered", "Sessions can take nodes of it.")
    stalled = ready.status == "False"
    return [
        ready,
        Finding("Reconciling", "False", ready.reason),
        Finding("Stalled", truth(stalled), ready.reason),
        _launching(cooling, now),
        _enough(ctx, obj),
    ]


def _launching(cooling: Cooling, now: datetime) -> Finding:
    if not cooling.streaks:
        return Finding("Launching", "True", "NodesStart")
    whom = "all sessions wait" if cooling.whole_class else "the sessions concerned wait"
    tried = "one is tried now" if cooling.until is None or cooling.until <= now else whom
    why = f"{cooling.reason}: {cooling.message}" if cooling.whole_class else cooling.reason
    message = (
        f"Nodes failed {cooling.failures} times in a row ({why}): "
        f"{tried}. An edit of the class ends the wait at once."
    )
    return Finding("Launching", "False", "CoolingDown", message)


def _enough(ctx: Context, obj: Object) -> Finding:
    if not ctx.shares.scarce(obj["metadata"]["name"]):
        return Finding("EnoughNodes", "True", "Enough")
    message = "Sessions want more nodes than spec.limits allow: they are shared out."
    return Finding("EnoughNodes", "False", "Shared", message)

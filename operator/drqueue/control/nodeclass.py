"""The reconciler of RenderNodeClasses: what is offered, and how much of it is in use."""

from datetime import datetime
from typing import Any

from drqueue.control import conditions
from drqueue.control.conditions import Finding, truth
from drqueue.control.context import Context, Result
from drqueue.control.kinds import Key, Object
from drqueue.renderers import RENDERERS

COUNTS_EVERY = 10.0
"""Seconds, at least, between two writes for counts alone."""


class NodeClassReconciler:
    """Keeps the status of RenderNodeClasses."""

    def __init__(self) -> None:
        self._written: dict[str, datetime] = {}

    async def __call__(self, ctx: Context, key: Key) -> Result:
        """Reconcile the class of that key."""
        obj = ctx.store.get(key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return Result()
        now, uid = ctx.clock(), obj["metadata"]["uid"]
        status = _status(ctx, obj, now)
        old = obj.get("status") or {}
        if status == old:
            return Result()
        counts = {"nodesInUse", "sessions"}
        differ = {name for name in {*old, *status} if old.get(name) != status.get(name)}
        since = self._written.get(uid)
        if differ <= counts and since is not None:
            left = COUNTS_EVERY - (now - since).total_seconds()
            if left > 0:
                return Result(left)
        await ctx.client.update_status(obj, status)
        self._written[uid] = now
        ready = conditions.changed_reason(obj, status, "Ready")
        if ready is not None and ready["status"] == "False":
            ctx.events.event(obj, "Warning", ready["reason"], ready["message"])
        return Result()


def _status(ctx: Context, obj: Object, now: datetime) -> dict[str, Any]:
    name, generation = obj["metadata"]["name"], obj["metadata"].get("generation", 0)
    nodes = ctx.store.by_class("RenderNode", name)
    old = obj.get("status") or {}
    return {
        "observedGeneration": generation,
        "conditions": conditions.merge(
            old.get("conditions") or (), _findings(obj), generation, now
        ),
        "nodesInUse": sum(not (node.get("status") or {}).get("endedAt") for node in nodes),
        "sessions": len(ctx.store.by_class("RenderSession", name)),
    }


def _findings(obj: Object) -> list[Finding]:
    unknown = sorted(set(obj["spec"].get("renderers") or ()) - set(RENDERERS))
    if unknown:
        message = (
            f"spec.renderers: {', '.join(unknown)} is not known: write some of "
            f"{', '.join(RENDERERS)}; jobs with a template of their own need none"
        )
        ready = Finding("Ready", "False", "RendererUnknown", message)
    else:
        ready = Finding("Ready", "True", "Offered", "Sessions can take nodes of it.")
    stalled = bool(unknown)
    return [
        ready,
        Finding("Reconciling", "False", ready.reason),
        Finding("Stalled", truth(stalled), ready.reason),
    ]

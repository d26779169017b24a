"""The end of a session: nodes stopped, their time recorded, pods gone, the claim by its policy.

Finalizing needs no other object of the tenant: what is gone already is done.
"""

from datetime import timedelta

from drqueue.api.names import (
    FINALIZER,
    LABEL_MANAGED_BY,
    LABEL_SESSION_UID,
    MANAGED_BY,
    claim_name,
    reader_name,
)
from drqueue.api.values import format_duration
from drqueue.control import children, conditions, session_nodes, session_plan, session_shares
from drqueue.control.children import SessionId
from drqueue.control.conditions import Finding
from drqueue.control.context import Context, Result
from drqueue.control.kinds import Key, Object, key_of

LOOK_AGAIN = 30.0


async def finish(ctx: Context, obj: Object, wanted: session_plan.Wanted) -> Result:
    """Go one step further; the last one lets the session go."""
    session = children.session_id(obj)
    if FINALIZER not in (obj["metadata"].get("finalizers") or ()):
        return Result()
    nodes = session_nodes.nodes_of(ctx, session)
    session_shares.end(ctx, obj, nodes)
    obj = await _settle(ctx, obj, wanted, nodes)
    staying = [node for node in nodes if "deletionTimestamp" not in node["metadata"]]
    await session_nodes.delete(ctx, session, staying)
    if nodes or not ctx.store.satisfied(key_of(obj)):
        return Result(LOOK_AGAIN)
    pods = ctx.store.by_session("Pod", session.namespace, session.name)
    mine = [pod for pod in pods if _is_mine(pod, session)]
    for pod in mine:
        if "deletionTimestamp" not in pod["metadata"]:
            await ctx.client.delete(key_of(pod), uid=pod["metadata"]["uid"], grace_seconds=5)
    ctx.masters.stop(key_of(obj))
    if mine:
        return Result(LOOK_AGAIN)
    await _sweep_parts(ctx, session)
    await _claim_by_policy(ctx, session, obj)
    await ctx.client.remove_finalizer(obj, FINALIZER)
    session_shares.leave(ctx, key_of(obj))
    return Result()


async def _settle(
    ctx: Context, obj: Object, wanted: session_plan.Wanted, nodes: list[Object]
) -> Object:
    old = obj.get("status") or {}
    seen = session_plan.Seen(
        nodes=session_nodes.views(nodes, None, ()),
        may_launch=False,
        settled_days=session_nodes.settled_days(old),
        settling=tuple((e["uid"], e["seconds"]) for e in old.get("settling") or ()),
    )
    now = ctx.clock()
    planned = session_plan.plan(wanted, seen, now)
    # time of nodes that still run shows when they have ended: a write for each would say less
    if old.get("phase") == "Ending" and (
        planned.settled_days == seen.settled_days and planned.settling == seen.settling
    ):
        return obj
    generation = obj["metadata"].get("generation", 0)
    message = "The session is being deleted: its nodes stop, and their time is added up."
    findings = [
        Finding("Ready", "False", "Ending", message),
        Finding("Reconciling", "True", "Ending"),
        Finding("Stalled", "False", "Ending"),
    ]
    granted = wanted.granted_seconds
    status = {
        **old,
        "observedGeneration": generation,
        "phase": "Ending",
        "nodes": {
            "desired": 0,
            "ready": 0,
            "running": 0,
            "draining": sum(view.live for view in seen.nodes),
            "parked": 0,
        },
        "conditions": conditions.merge(old.get("conditions") or (), findings, generation, now),
        "settledDays": session_nodes.days_as_json(planned.settled_days),
        "settling": [{"uid": uid, "seconds": n} for uid, n in planned.settling],
        "renderTime": {
            name: format_duration(timedelta(seconds=seconds))
            for name, seconds in (
                ("granted", granted),
                ("used", planned.used_seconds),
                ("remaining", planned.remaining_seconds),
            )
        },
    }
    written = await ctx.client.update_status(obj, status)
    for node in nodes:
        ctx.queue.add(key_of(node))
    return written


def _is_mine(obj: Object, session: SessionId) -> bool:
    owners = obj["metadata"].get("ownerReferences") or ()
    names = (session.master, reader_name(session.name, session.uid))
    return obj["metadata"]["name"] in names and any(o["uid"] == session.uid for o in owners)


async def _sweep_parts(ctx: Context, session: SessionId) -> None:
    """Keys, Service and policies: the garbage collector would take them a little later."""
    for kind in ("Secret", "Service", "NetworkPolicy"):
        for part in ctx.store.by_session(kind, session.namespace, session.name):
            owners = part["metadata"].get("ownerReferences") or ()
            if any(owner["uid"] == session.uid for owner in owners):
                await ctx.client.delete(key_of(part), uid=part["metadata"]["uid"])


async def _claim_by_policy(ctx: Context, session: SessionId, obj: Object) -> None:
    """Delete the claim where the session says so; never one that the farm did not make."""
    storage = obj["spec"].get("storage") or {}
    if storage.get("retain", True):
        return
    name = storage.get("claimName") or claim_name(session.name, session.uid)
    claim = ctx.store.get(Key("PersistentVolumeClaim", session.namespace, name))
    if claim is None or "deletionTimestamp" in claim["metadata"]:
        return
    meta = claim["metadata"]
    marks = meta.get("labels") or {}
    ours = marks.get(LABEL_MANAGED_BY) == MANAGED_BY and (
        children.ADOPTED not in (meta.get("annotations") or {})
    )
    if ours and marks.get(LABEL_SESSION_UID) == session.uid:
        await ctx.client.delete(key_of(claim), uid=meta["uid"])

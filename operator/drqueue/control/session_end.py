"""The end of a session: nodes stopped, their time recorded, pods gone, the claim by its policy.

Finalizing needs no other object of the tenant: what is gone already is done.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from drqueue.api.names import (
    FINALIZER,
    LABEL_MANAGED_BY,
    LABEL_SESSION_UID,
    MANAGED_BY,
    claim_name,
    invoice_name,
    reader_name,
)
from drqueue.api.values import format_duration, parse_time
from drqueue.billing.records import read_session
from drqueue.billing.rounds import Leave, leave
from drqueue.billing.settlement import NodeTime, running_seconds, settle, still_running
from drqueue.control import (
    children,
    conditions,
    session_funding,
    session_nodes,
    session_settling,
    session_shares,
)
from drqueue.control.account import get_live
from drqueue.control.children import SessionId
from drqueue.control.conditions import Finding
from drqueue.control.context import Context, Result
from drqueue.control.kinds import Key, Object, Objects, key_of
from drqueue.providers.pod_status import machine_is_silent

LOOK_AGAIN = 30.0


async def finish(ctx: Context, obj: Object) -> Result:
    """Go one step further; the last one lets the session go."""
    session = children.session_id(obj)
    if FINALIZER not in (obj["metadata"].get("finalizers") or ()):
        return Result()
    nodes = session_nodes.nodes_of(ctx, session)
    session_shares.end(ctx, obj, nodes)
    if not (obj.get("status") or {}).get("settled"):
        nodes = await session_settling.surely_there(ctx, obj, nodes)
        obj = await _settle(ctx, obj, nodes)
    staying = [node for node in nodes if "deletionTimestamp" not in node["metadata"]]
    await session_nodes.delete(ctx, session, staying)
    if nodes or not ctx.store.satisfied(key_of(obj)):
        return Result(LOOK_AGAIN)
    obj = await _close(ctx, obj)
    pods = ctx.store.by_session("Pod", session.namespace, session.name)
    names = (session.master, reader_name(session.name, session.uid))
    mine = [pod for pod in pods if pod["metadata"]["name"] in names and _is_mine(pod, session)]
    for pod in mine:
        if "deletionTimestamp" not in pod["metadata"]:
            await ctx.client.delete(key_of(pod), uid=pod["metadata"]["uid"], grace_seconds=5)
        elif machine_is_silent(pod, ctx.clock()):
            # all is settled: should its machine come back, nothing is left for it to write
            await ctx.client.delete(key_of(pod), uid=pod["metadata"]["uid"], grace_seconds=0)
    ctx.masters.stop(key_of(obj))
    if mine:
        return Result(LOOK_AGAIN)
    await _sweep_parts(ctx, session)
    await _claim_by_policy(ctx, session, obj)
    if not await _may_leave(ctx, obj):
        return Result(LOOK_AGAIN)
    await ctx.client.remove_finalizer(obj, FINALIZER)
    session_shares.leave(ctx, key_of(obj))
    return Result()


async def _may_leave(ctx: Context, obj: Object) -> bool:
    """Whether its invoice is in the books, or none is due."""
    view, namespace = read_session(obj), ctx.settings.billing_namespace
    if not namespace and view.funding is not None and view.funding.state == "Funded":
        message = (
            f"It was paid for from RenderAccount {view.funding.account!r}, and billing is off: it "
            "goes once billing is on again and its invoice is written."
        )
        ctx.events.event(obj, "Warning", "BillingOff", message)
        return False
    steps, answer = leave(view, namespace, invoice_name), None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as over:
            decided: Leave = over.value
            break
        answer = await get_live(ctx, step)
    if decided.lost:
        ctx.events.event(obj, "Warning", "BooksLost", decided.message)
    if not decided.may and view.funding is not None:
        ctx.queue.add(Key("RenderAccount", namespace, view.funding.account))
    return decided.may


async def _close(ctx: Context, obj: Object) -> Object:
    """Say that the sums are final, once no node is left on the API server."""
    old = obj.get("status") or {}
    if old.get("settled"):
        return obj
    await session_settling.surely_there(ctx, obj, [], final=True)
    return await ctx.client.update_status(
        obj, {**old, "settling": [], "unpaid": [], "settled": True}
    )


async def _settle(ctx: Context, obj: Object, nodes: Objects) -> Object:
    old, now = obj.get("status") or {}, ctx.clock()
    node_class = ctx.store.get(Key("RenderNodeClass", None, obj["spec"]["nodeClassName"]))
    granted = session_funding.session_terms(ctx.settings, obj, node_class).seconds
    # by Kubernetes' clock, as the nodes' own times: ours may be behind
    end = parse_time(obj["metadata"]["deletionTimestamp"])
    unpaid = session_nodes.unpaid_since(old)
    times = [_until(end, session_nodes.time_of(node, unpaid)) for node in nodes]
    days, settling = session_nodes.settled_days(old), session_settling.settling_of(obj)
    sums = settle(days, settling, times, granted)
    # time of nodes that still run shows when they have ended: a write for each would say less
    if old.get("phase") == "Ending" and (sums.days, sums.settling) == (days, settling):
        return obj
    running = running_seconds(still_running(sums, times), min(now, end))
    used = min(sums.total + running, granted)
    generation = obj["metadata"].get("generation", 0)
    message = "The session is being deleted: its nodes stop, and their time is added up."
    findings = [
        Finding("Ready", "False", "Ending", message),
        Finding("Reconciling", "True", "Ending"),
        Finding("Stalled", "False", "Ending"),
    ]
    status = {
        **old,
        "observedGeneration": generation,
        "phase": "Ending",
        "nodes": {
            "desired": 0,
            "ready": 0,
            "running": 0,
            "draining": sum(node.ended_at is None for node in times),
            "parked": 0,
        },
        "conditions": conditions.merge(old.get("conditions") or (), findings, generation, now),
        "settledDays": session_nodes.days_as_json(sums.days),
        "settling": [{"uid": uid, "seconds": n} for uid, n in sums.settling],
        "renderTime": {
            name: format_duration(timedelta(seconds=seconds))
            for name, seconds in (
                ("granted", granted),
                ("used", used),
                ("remaining", granted - used),
            )
        },
    }
    written = await ctx.client.update_status(obj, status)
    for node in nodes:
        ctx.queue.add(key_of(node))
    return written


def _until(end: datetime, node: NodeTime) -> NodeTime:
    """A node's time up to the session's deletion: what it takes to stop is not billed."""
    if node.ended_at is None:
        return node
    return replace(node, ended_at=min(node.ended_at, end))


def _is_mine(obj: Object, session: SessionId) -> bool:
    """By its label too: a deletion with `--cascade=orphan` takes the ownerReferences away."""
    meta = obj["metadata"]
    owners = {owner["uid"] for owner in meta.get("ownerReferences") or ()}
    return session.uid in ((meta.get("labels") or {}).get(LABEL_SESSION_UID), *owners)


async def _sweep_parts(ctx: Context, session: SessionId) -> None:
    """Keys, Service and policies: the garbage collector would take them a little later."""
    for kind in ("Secret", "Service", "NetworkPolicy"):
        for part in ctx.store.by_session(kind, session.namespace, session.name):
            if _is_mine(part, session):
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

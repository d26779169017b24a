"""A session's RenderNodes: seen as its plan needs them, created, drained, deleted."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from drqueue.api import API_VERSION
from drqueue.api.names import FINALIZER, node_name
from drqueue.api.values import format_time, parse_time
from drqueue.billing.settlement import NodeTime
from drqueue.control import session_jobs
from drqueue.control.children import SessionId
from drqueue.control.context import Context
from drqueue.control.errors import (
    REFUSALS,
    REFUSED_AGAIN,
    AlreadyExists,
    OperatorError,
    Passing,
)
from drqueue.control.fit import Offer, offer_of
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.session_plan import NodeView
from drqueue.farm.protocol import Changes
from drqueue.providers.base import NodeId, Provider

log = logging.getLogger(__name__)

Json = dict[str, Any]

SHORT_LIFE = timedelta(seconds=60)
"""A node that fails within it was of no use: the next ones wait longer and longer."""
_FAILED = ("Failed", "Lost", "StartupDeadline")


def nodes_of(ctx: Context, session: SessionId) -> list[Object]:
    """All RenderNodes of this very session, those that are going included."""
    found = ctx.store.by_session("RenderNode", session.namespace, session.name)
    return [node for node in found if node["spec"]["sessionUid"] == session.uid]


def views(
    nodes: Iterable[Object],
    changes: Changes | None,
    jobs: Sequence[Mapping[str, Any]],
    unpaid: Mapping[str, datetime],
) -> tuple[NodeView, ...]:
    """The nodes as the plan sees them; `unpaid`: see `unpaid_since`."""
    blocks = {report.uid: report.block for report in changes.nodes} if changes else {}
    active = [job for job in jobs if session_jobs.is_active(job)]
    useful: dict[Offer, bool] = {}
    made = []
    for node in nodes:
        meta, status = node["metadata"], node.get("status") or {}
        offer = offer_of(node["spec"])
        if offer not in useful:
            fits = any(session_jobs.fits(job, (offer,)) for job in active)
            useful[offer] = fits or not active
        made.append(
            NodeView(
                index=index_of(meta["name"]),
                uid=meta["uid"],
                made_at=_moment(meta, "creationTimestamp"),
                ready_at=_moment(status, "readyAt"),
                ended_at=_moment(status, "endedAt"),
                idle_since=_moment(node["spec"], "idleSince"),
                free=parked(node),
                unpaid_since=unpaid.get(meta["uid"]),
                drain=bool(node["spec"].get("drain")),
                patient=bool(node["spec"].get("patient")),
                going="deletionTimestamp" in meta,
                busy=bool(blocks.get(meta["uid"])),
                useful=useful[offer],
            )
        )
    return tuple(made)


def index_of(name: str) -> int:
    """The index in a node's name; -1 in one that is not ours."""
    last = name.rsplit("-", 1)[-1]
    return int(last) if last.isdigit() else -1


def offers(nodes: Iterable[Object], node_class: Object | None) -> tuple[Offer, ...]:
    """What the class offers, and the nodes that are there."""
    staying = [n["spec"] for n in nodes if not (n.get("status") or {}).get("endedAt")]
    specs = [*([node_class["spec"]] if node_class else []), *staying]
    return tuple(dict.fromkeys(offer_of(spec) for spec in specs))


def failed_early(node: Mapping[str, Any]) -> bool:
    """Whether a node ended without having been of use, by no one's wish."""
    status = node.get("status") or {}
    if status.get("endReason") not in _FAILED:
        return False
    ready, ended = _moment(status, "readyAt"), _moment(status, "endedAt")
    return ready is None or ended is None or ended - ready < SHORT_LIFE


def _moment(fields: Mapping[str, Any], name: str) -> datetime | None:
    return parse_time(fields[name]) if fields.get(name) else None


def parked(node: Mapping[str, Any]) -> tuple[tuple[datetime, datetime | None], ...]:
    """When a RenderNode was parked on the house; None: still, or until its end."""
    spells = (node.get("status") or {}).get("parked") or ()
    return tuple((parse_time(spell["since"]), _moment(spell, "until")) for spell in spells)


def time_of(node: Mapping[str, Any], unpaid: Mapping[str, datetime]) -> NodeTime:
    """A RenderNode's times, as far as they cost its session any; `unpaid`: see `unpaid_since`."""
    meta, status = node["metadata"], node.get("status") or {}
    return NodeTime(
        meta["uid"],
        _moment(status, "readyAt"),
        _moment(status, "endedAt"),
        parked(node),
        unpaid.get(meta["uid"]),
        _moment(meta, "creationTimestamp"),
    )


def outside(ctx: Context, node: Mapping[str, Any]) -> tuple[Provider, NodeId]:
    """A RenderNode's provider, and how that knows it."""
    meta, spec = node["metadata"], node["spec"]
    block = next(name for name, value in spec["provider"].items() if value is not None)
    provider: Provider = ctx.providers[block]
    return provider, NodeId(
        meta["namespace"], meta["name"], meta["uid"], spec["sessionName"], spec["sessionUid"]
    )


async def unrecorded(
    ctx: Context, nodes: Iterable[Object], unpaid: Mapping[str, datetime], now: datetime
) -> tuple[NodeTime, ...]:
    """The times of nodes that were Ready outside, where their status does not say so yet."""
    found = []
    for node in nodes:
        time = time_of(node, unpaid)
        if time.ready_at is not None or time.ended_at is not None:
            continue
        provider, node_id = outside(ctx, node)
        seen = await provider.observe(node_id, now)
        if seen is not None and seen.ready_at is not None:
            found.append(replace(time, ready_at=seen.ready_at, ended_at=seen.ended_at))
    return tuple(found)


def days_as_json(days: Mapping[str, int]) -> list[Json]:
    """Node-seconds by UTC day, as a session's status has them."""
    return [{"day": day, "seconds": seconds} for day, seconds in days.items()]


def settled_days(session_status: Mapping[str, Any]) -> dict[str, int]:
    """A session's settled node-seconds by UTC day, as its status has them."""
    return {e["day"]: int(e["seconds"]) for e in session_status.get("settledDays") or ()}


def unpaid_since(session_status: Mapping[str, Any]) -> dict[str, datetime]:
    """The marks in a session's status, by the UIDs of its nodes: see billing.settlement."""
    return {e["uid"]: parse_time(e["since"]) for e in session_status.get("unpaid") or ()}


def unpaid_as_json(unpaid: Mapping[str, datetime]) -> list[Json]:
    """The marks, as a session's status has them."""
    return [{"uid": uid, "since": format_time(since)} for uid, since in sorted(unpaid.items())]


def manifest(
    session: SessionId, index: int, node_class: Object, parked_time: str | None = None
) -> Json:
    """A RenderNode with the class's terms as they are now; `parked_time`: its session's."""
    terms = node_class["spec"]
    spec: Json = {
        "sessionName": session.name,
        "sessionUid": session.uid,
        "nodeClassName": node_class["metadata"]["name"],
        **{
            name: terms[name]
            for name in ("provider", "renderers", "pools", "os", "startupDeadline", "drainGrace")
            if name in terms
        },
    }
    if parked := parked_time or (terms.get("price") or {}).get("parkedTime"):
        spec["parkedTime"] = parked
    meta = session.meta(node_name(session.name, session.uid, index), "slave")
    meta["finalizers"] = [FINALIZER]
    return {"apiVersion": API_VERSION, "kind": "RenderNode", "metadata": meta, "spec": spec}


@dataclass(frozen=True)
class Refusal:
    """The API server's no to more nodes: why, and until when it is not asked again."""

    message: str
    again_at: datetime


async def create_unless_refused(
    ctx: Context,
    session: SessionId,
    indices: Iterable[int],
    node_class: Object,
    *,
    parked_time: str | None,
    before: Refusal | None,
) -> Refusal | None:
    """Create nodes; gives the refusal that stands, the one of `before` until its time is over."""
    now = ctx.clock()
    if before is not None and now < before.again_at:
        return before
    try:
        await create(ctx, session, indices, node_class, parked_time)
    except REFUSALS as error:
        log.warning("%s/%s: its nodes: %s", session.namespace, session.name, error)
        return Refusal(error.message, now + REFUSED_AGAIN)
    return None


async def create(
    ctx: Context,
    session: SessionId,
    indices: Iterable[int],
    node_class: Object,
    parked_time: str | None,
) -> None:
    """Create nodes, all at the same time. Raises the first error when all are through."""
    parent = Key("RenderSession", session.namespace, session.name)

    async def one(index: int) -> None:
        made = manifest(session, index, node_class, parked_time)
        child = Key("RenderNode", session.namespace, made["metadata"]["name"])
        ctx.store.expect_created(parent, child)
        try:
            await ctx.client.create(made)
        except AlreadyExists:
            await ctx.client.get(child)  # the store had not heard of it
        except Passing:
            raise  # it may have been made all the same: the expectation stays
        except OperatorError:
            ctx.store.unexpect(parent, child)
            raise
        ctx.queue.add(child)

    await _all(one(index) for index in indices)


async def drain(ctx: Context, nodes: Iterable[Object], *, patient: bool = False) -> None:
    """Have nodes take no new block, finish, and end; `patient`: however long that takes."""
    await _patch(ctx, nodes, {"drain": True, "patient": patient})


async def keep_idle(ctx: Context, nodes: Iterable[Object], since: datetime | None) -> None:
    """Keep nodes with nothing to render since then; None: they have something again."""
    await _patch(ctx, nodes, {"idleSince": format_time(since) if since else None})


async def _patch(ctx: Context, nodes: Iterable[Object], spec: Json) -> None:
    async def one(node: Object) -> None:
        await ctx.client.patch(key_of(node), {"spec": spec})
        ctx.queue.add(key_of(node))

    await _all(one(node) for node in nodes)


async def delete(ctx: Context, session: SessionId, nodes: Iterable[Object]) -> None:
    """Delete RenderNodes; their finalizer holds them until they are stopped and settled."""
    parent = Key("RenderSession", session.namespace, session.name)

    async def one(node: Object) -> None:
        key, uid = key_of(node), node["metadata"]["uid"]
        ctx.store.expect_deleted(parent, key, uid)
        await ctx.client.delete(key, uid=uid)
        ctx.queue.add(key)

    await _all(one(node) for node in nodes)


async def _all(work: Iterable[Awaitable[None]]) -> None:
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome

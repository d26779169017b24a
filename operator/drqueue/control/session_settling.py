"""Which of a session's nodes are surely there, before its sums follow from them.

The store can show a node that is gone, or lack one that is there: its seconds would be added
twice. So before a node is added to the sums or forgotten, the API server is asked; and before nodes
are marked, for all that use time have to be known then.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from drqueue.api.names import LABEL_SESSION_UID
from drqueue.billing.settlement import NodeTime, needs_live, settle, used_up
from drqueue.control import session_nodes
from drqueue.control.context import Context
from drqueue.control.errors import Conflict
from drqueue.control.kinds import Object, Objects


async def surely_there(ctx: Context, obj: Object, nodes: Objects, final: bool = False) -> Objects:
    """The nodes without those that are gone; asks only where the sums would change, or where it is
    `final`: no node may be there that the store lacks.

    `obj` is the session that the sums are written on, read before this. What is told of a node
    that is there may be old: its end, once recorded, does not change. Raises Conflict where the
    store lacks a node.
    """
    settling = settling_of(obj)
    if not final and not needs_live(settling, _times(obj, nodes)):
        return nodes
    there = await _uids(ctx, obj)
    known = {node["metadata"]["uid"] for node in nodes}
    lacking = there - known
    if lacking and (final or lacking & {uid for uid, _ in settling}):
        raise Conflict(f"{obj['metadata']['name']}: {len(lacking)} nodes are there, and not known")
    return [node for node in nodes if node["metadata"]["uid"] in there]


def are_to_be_marked(obj: Object, nodes: Objects, granted: int, now: datetime) -> bool:
    """Whether the session's time is used up, and some of its nodes are not marked yet."""
    days = session_nodes.settled_days(obj.get("status") or {})
    times = _times(obj, nodes)
    return bool(used_up(settle(days, settling_of(obj), times, granted), times, granted, now))


def _times(obj: Object, nodes: Objects) -> list[NodeTime]:
    unpaid = session_nodes.unpaid_since(obj.get("status") or {})
    return [session_nodes.time_of(node, unpaid) for node in nodes]


async def _uids(ctx: Context, obj: Object) -> set[str]:
    meta = obj["metadata"]
    labels = f"{LABEL_SESSION_UID}={meta['uid']}"
    found: set[str] = set()
    async for page, _ in ctx.client.pages(
        "RenderNode", meta["namespace"], labels=labels, metadata_only=True
    ):
        found |= {node["metadata"]["uid"] for node in page}
    return found


def settling_of(obj: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """Nodes whose seconds are in the session's sums, as its status has them."""
    status = obj.get("status") or {}
    return tuple((entry["uid"], int(entry["seconds"])) for entry in status.get("settling") or ())

"""A session's part in its class: what it claims, what it may have, and how its nodes' starts go."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from drqueue.api.values import parse_time
from drqueue.control import conditions, session_nodes
from drqueue.control.conditions import Finding
from drqueue.control.context import Context
from drqueue.control.cooling import Cooling
from drqueue.control.fair import Claim, Limits
from drqueue.control.idle import allowed_policies
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.launches import mark
from drqueue.control.session_plan import Seen
from drqueue.control.shares import Member

COUNTS_SOON = 1.0
"""Seconds for which changes of a class's counts are gathered."""


class Terms(NamedTuple):
    """What a session may have of its class now."""

    allowed: int | None = None
    launch_room: int | None = None
    look_again: datetime | None = None
    why_not: str = ""
    """Of the latest nodes that failed, where that is why none is launched."""

    def onto(self, seen: Seen) -> Seen:
        """What a session sees, with these terms."""
        return replace(seen, allowed=self.allowed, launch_room=self.launch_room)


def idle_policy(obj: Object, node_class: Object | None) -> Finding | None:
    """Whether the class allows the policy that a session chose; None where it chose none."""
    chosen = obj["spec"].get("idlePolicy")
    known = conditions.find(obj, "IdlePolicy")
    if node_class is None or (chosen is None and not known):
        return None
    allowed = allowed_policies(node_class["spec"])
    if chosen is None or chosen in allowed:
        return Finding("IdlePolicy", "True", "AsAsked")
    message = (
        f"spec.idlePolicy {chosen!r} is not allowed by class {node_class['metadata']['name']!r}, "
        f"so that {allowed[0]!r} goes: write one of {', '.join(allowed)}, or leave it out"
    )
    return Finding("IdlePolicy", "False", "NotAllowed", message)


def read_limits(class_spec: Mapping[str, Any]) -> Limits:
    """A class's limits and weights."""
    limits = class_spec.get("limits") or {}
    return Limits(
        nodes=limits.get("nodes"),
        per_tenant=limits.get("nodesPerTenant"),
        per_session=limits.get("nodesPerSession"),
        weights={entry["namespace"]: entry["weight"] for entry in limits.get("weights") or ()},
    )


def take_part(ctx: Context, obj: Object, node_class: Object | None, seen: Seen, wish: int) -> Terms:
    """Report what a session could use (`wish`) and has; gives what it may have."""
    if node_class is None:
        return Terms()
    name, tenant, now = node_class["metadata"]["name"], obj["metadata"]["namespace"], ctx.clock()
    load(ctx, name)
    ctx.launches.look_at(node_class)
    suspect = mark(tenant)
    live = sum(node.live for node in seen.nodes)
    starting = sum(node.live and node.ready_at is None for node in seen.nodes)
    room = ctx.launches.room(name, suspect, 0, now)
    if not seen.may_launch:
        wish = min(wish, live)  # who cannot start nodes now keeps none from others
    elif room.nodes is not None:
        wish = min(wish, live + room.nodes)
    if not seen.blocks_known:
        wish = max(wish, live)  # nothing is given up on a guess
    told = ctx.shares.report(
        name, read_limits(node_class["spec"]), _member(obj), _claim(obj, wish, live), starting
    )
    if told.round_due or told.news:
        wait = ctx.shares.wait(name, now) if told.round_due else None
        ctx.queue.add(Key("RenderNodeClass", None, name), _seconds(wait, COUNTS_SOON))
    room = ctx.launches.room(name, suspect, ctx.shares.starting(name, tenant), now)
    blocked = room.nodes == 0 and room.look_again is not None
    why = _why(ctx.launches.of(name), suspect) if blocked else ""
    return Terms(told.nodes, room.nodes, room.look_again, why)


def _seconds(wait: timedelta | None, otherwise: float) -> float:
    return otherwise if wait is None else wait.total_seconds()


def _why(cooling: Cooling, suspect: str) -> str:
    own = cooling.streaks.get(suspect)
    return (own.message if own else "") or "nodes of this class do not start"


def _member(obj: Object) -> Member:
    return Member(key_of(obj), obj["metadata"]["uid"])


def _claim(obj: Object, want: int, have: int) -> Claim:
    meta = obj["metadata"]
    created, priority = parse_time(meta["creationTimestamp"]), obj["spec"].get("priority", 50)
    return Claim(meta["namespace"], want, have, created, priority)


def load(ctx: Context, class_name: str) -> None:
    """Once for a class: what its sessions have counts before they are reconciled."""
    if ctx.shares.knows(class_name):
        return

    def there() -> Iterator[tuple[Member, Claim]]:
        for obj in ctx.store.by_class("RenderSession", class_name):
            meta = obj["metadata"]
            nodes = ctx.store.by_session("RenderNode", meta["namespace"], meta["name"])
            have = sum(not (node.get("status") or {}).get("endedAt") for node in nodes)
            yield _member(obj), _claim(obj, have, have)

    ctx.shares.load(class_name, there())


def end(ctx: Context, obj: Object, nodes: list[Object]) -> None:
    """A session that ends wants nothing more; what it has counts until it is gone."""
    name = obj["spec"]["nodeClassName"]
    node_class = ctx.store.get(Key("RenderNodeClass", None, name))
    views = session_nodes.views(nodes, None, (), {})
    take_part(ctx, obj, node_class, Seen(views, may_launch=False), 0)


def leave(ctx: Context, key: Key) -> None:
    """Forget a session that is gone."""
    class_name = ctx.shares.forget(key)
    if class_name is not None:
        wait = ctx.shares.wait(class_name, ctx.clock())
        ctx.queue.add(Key("RenderNodeClass", None, class_name), _seconds(wait, COUNTS_SOON))


def launch_ended(ctx: Context, node: Object, *, refused: bool = False) -> None:
    """Take in that a node ended: it may be one of a streak of failures. `refused`: nothing of it
    was allowed to be made in its tenant's namespace."""
    if not session_nodes.failed_early(node):
        return
    name, tenant = node["spec"]["nodeClassName"], mark(node["metadata"]["namespace"])
    ready = conditions.find(node, "Ready")
    was_ready = bool((node.get("status") or {}).get("readyAt"))
    cooling = ctx.launches.of(name).failed(
        tenant,
        ready.get("reason", "Failed"),
        ready.get("message", ""),
        ctx.clock(),
        was_ready=was_ready,
        of_tenant=refused,
    )
    if ctx.launches.note(name, cooling):
        ctx.queue.add(Key("RenderNodeClass", None, name))


def launch_ready(ctx: Context, node: Object, ready_at: datetime) -> timedelta | None:
    """Take in that a node is Ready, since then; gives when to say so again, if at all."""
    name, tenant = node["spec"]["nodeClassName"], mark(node["metadata"]["namespace"])
    ready_for = ctx.clock() - ready_at
    lived = ready_for >= session_nodes.SHORT_LIFE
    after = ctx.launches.of(name).ready(tenant, ready_at, lived=lived)
    if ctx.launches.note(name, after):
        ctx.queue.add(Key("RenderNodeClass", None, name))
        for key in ctx.shares.members(name):
            ctx.queue.add(key)
    return None if lived or tenant not in after.streaks else session_nodes.SHORT_LIFE - ready_for

"""How many nodes a session needs now, which go, and what time was used. Pure.

Never more nodes than the session bought, its time allows, and its blocks need; idle ones go before
busy ones; each node's seconds are added once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

BATCH = 64
"""Nodes created in one reconcile. The next one looks at the spec again, so that an edit in mid
creation is honoured."""


@dataclass(frozen=True)
class Wanted:
    """What the session's spec says."""

    nodes: int
    granted_seconds: int
    suspend: bool = False


@dataclass(frozen=True)
class NodeView:
    """A RenderNode as its session sees it."""

    index: int
    uid: str
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    drain: bool = False
    going: bool = False
    busy: bool = False
    """It renders a block, as far as the master says."""
    useful: bool = True
    """It can render some job of the session."""

    @property
    def live(self) -> bool:
        """Whether it may still cost time."""
        return self.ended_at is None

    @property
    def staying(self) -> bool:
        """Whether it takes blocks, now or soon."""
        return self.live and not self.drain and not self.going


@dataclass(frozen=True)
class Seen:
    """What there is."""

    nodes: tuple[NodeView, ...] = ()
    blocks: int = 0
    """Blocks that wait, and those that staying nodes render."""
    blocks_known: bool = True
    """The master says so; otherwise it is a guess, on which no node that was bought is drained."""
    may_launch: bool = True
    """Class, volume and master are there."""
    settled_seconds: int = 0
    settling: tuple[tuple[str, int], ...] = ()
    """As the status has it: nodes (UID) whose seconds are in settled_seconds already."""


@dataclass(frozen=True)
class SessionPlan:
    """What to do, and the sums for the status."""

    desired: int
    create: tuple[int, ...]
    """Indices of nodes to create."""
    drain: tuple[int, ...]
    delete: tuple[int, ...]
    """Nodes whose time is settled."""
    settled_seconds: int
    settling: tuple[tuple[str, int], ...]
    used_seconds: int
    remaining_seconds: int
    exhausted: bool
    look_again: timedelta | None
    """When the time will be used up at the present pace."""


def plan(wanted: Wanted, seen: Seen, now: datetime) -> SessionPlan:
    """Decide from what exists."""
    settled, settling = _settle(wanted, seen)
    running = [n for n in seen.nodes if n.live and n.ready_at is not None]
    elapsed = sum(max(int((now - n.ready_at).total_seconds()), 0) for n in running if n.ready_at)
    used = min(settled + elapsed, wanted.granted_seconds)
    remaining = wanted.granted_seconds - used
    stop_all = wanted.suspend or remaining <= 0
    desired = 0 if stop_all else min(wanted.nodes, seen.blocks, remaining)
    # while the blocks are a guess, only what was not bought goes
    kept = desired if seen.blocks_known or stop_all else min(wanted.nodes, remaining)
    persisted = {uid for uid, _ in seen.settling}
    return SessionPlan(
        desired=desired,
        create=_create(wanted, seen, desired),
        drain=_drain(seen, kept),
        delete=tuple(n.index for n in seen.nodes if n.uid in persisted and not n.going),
        settled_seconds=settled,
        settling=settling,
        used_seconds=used,
        remaining_seconds=remaining,
        exhausted=remaining <= 0,
        look_again=(
            timedelta(seconds=remaining / len(running)) if running and remaining > 0 else None
        ),
    )


def _settle(wanted: Wanted, seen: Seen) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Add the seconds of nodes that ended; forget those that are gone.

    Never more than was granted: nodes that drain when it is used up do so unbilled.
    """
    there = {node.uid for node in seen.nodes}
    settling = [entry for entry in seen.settling if entry[0] in there]
    known = {uid for uid, _ in seen.settling}
    settled = seen.settled_seconds
    for node in sorted(seen.nodes, key=lambda n: n.index):
        if node.ended_at is None or node.uid in known:
            continue
        lasted = node.ended_at - node.ready_at if node.ready_at else timedelta()
        seconds = max(int(lasted.total_seconds()), 0)
        seconds = max(min(seconds, wanted.granted_seconds - settled), 0)
        settled += seconds
        settling.append((node.uid, seconds))
    return settled, tuple(settling)


def _create(wanted: Wanted, seen: Seen, desired: int) -> tuple[int, ...]:
    staying = sum(node.staying for node in seen.nodes if not _to_be_rid_of(node, seen))
    live = sum(node.live for node in seen.nodes)
    count = min(desired - staying, wanted.nodes - live, BATCH)
    if count <= 0 or not seen.may_launch:
        return ()
    taken = {node.index for node in seen.nodes}
    free = (index for index in range(len(taken) + count) if index not in taken)
    return tuple(index for index, _ in zip(free, range(count), strict=False))


def _to_be_rid_of(node: NodeView, seen: Seen) -> bool:
    """An idle node of an earlier offer, which no job can use, only stands in the way."""
    return node.staying and not node.busy and not node.useful and seen.blocks_known


def _drain(seen: Seen, kept: int) -> tuple[int, ...]:
    useless = [node for node in seen.nodes if _to_be_rid_of(node, seen)]
    others = [node for node in seen.nodes if node.staying and node not in useless]
    # not yet Ready, then the newest: what was warmed longest is kept
    others.sort(key=lambda n: (n.busy, n.ready_at is not None, -n.index))
    surplus = others[: max(len(others) - kept, 0)]
    return tuple(sorted(node.index for node in (*useless, *surplus)))

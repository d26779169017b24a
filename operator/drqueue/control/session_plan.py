"""How many nodes a session needs now, which go, and what time was used. Pure.

Never more nodes than the session bought, its time and its class allow, and its blocks need; idle
ones go before busy ones, and those with nothing to render by their class's policy; no running block
loses its node to fairness; each node's seconds are added once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from drqueue.billing.settlement import (
    NodeTime,
    Settlement,
    Settling,
    billable_seconds,
    running_seconds,
    settle,
    still_running,
    ticking,
    used_up,
)
from drqueue.control.idle import IdleRules

BATCH = 64
"""Nodes created in one reconcile. The next one looks at the spec again, so that an edit in mid
creation is honoured."""


@dataclass(frozen=True)
class Wanted:
    """What the session's spec says."""

    nodes: int
    granted_seconds: int
    suspend: bool = False
    idle: IdleRules = field(default_factory=IdleRules)


@dataclass(frozen=True)
class NodeView:
    """A RenderNode as its session sees it."""

    index: int
    uid: str
    made_at: datetime | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    idle_since: datetime | None = None
    """It is kept, with nothing to render since then."""
    free: tuple[tuple[datetime, datetime | None], ...] = ()
    """When it was parked on the house; None: until its end."""
    unpaid_since: datetime | None = None
    """It was there when the session's time was used up: from then on it is on the house."""
    drain: bool = False
    patient: bool = False
    """It drains, and its block may take as long as it takes."""
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
    def time(self) -> NodeTime:
        """What its billable time follows from."""
        return NodeTime(
            self.uid, self.ready_at, self.ended_at, self.free, self.unpaid_since, self.made_at
        )

    @property
    def staying(self) -> bool:
        """Whether it takes blocks, now or soon."""
        return self.live and not self.drain and not self.going and self.unpaid_since is None


@dataclass(frozen=True)
class Seen:
    """What there is."""

    nodes: tuple[NodeView, ...] = ()
    blocks: int = 0
    """Blocks that wait, and those that staying nodes render."""
    blocks_known: bool = True
    """The master says so; otherwise it is a guess, on which no node that was bought is drained."""
    silent: bool = False
    """Its master has been away so long that nothing renders any more."""
    may_launch: bool = True
    """Class, volume and master are there."""
    allowed: int | None = None
    """The session's share of a class that has too few nodes. None: as many as it likes."""
    launch_room: int | None = None
    """Nodes that may be launched now, where its class's last ones failed. None: any number."""
    settled_days: Mapping[str, int] = field(default_factory=dict)
    """As the status has it: node-seconds by UTC day."""
    settling: Settling = ()
    """As the status has it: nodes (UID) whose seconds are in settled_days already."""
    unpaid: Mapping[str, datetime] = field(default_factory=dict)
    """As the status has it: the marks, by UID, those of nodes that are not seen included."""
    unrecorded: tuple[NodeTime, ...] = ()
    """Nodes that are Ready outside, where their status does not say so yet."""


@dataclass(frozen=True)
class SessionPlan:
    """What to do, and the sums for the status. Nodes are named by their indices."""

    wish: int
    """Nodes that its blocks could use, whatever its class allows."""
    desired: int
    create: tuple[int, ...]
    drain: tuple[int, ...]
    patient: tuple[int, ...]
    """Those of `drain` whose block may take as long as it takes."""
    hurry: tuple[int, ...]
    """Nodes that drain patiently, and no longer may."""
    idle: tuple[int, ...]
    """Nodes that are kept from now on with nothing to render."""
    resume: tuple[int, ...]
    """Kept nodes that have something to render again."""
    delete: tuple[int, ...]
    """Nodes whose time is settled."""
    settled_days: Mapping[str, int]
    settling: Settling
    unpaid: Mapping[str, datetime]
    used_seconds: int
    used_with_unrecorded: int
    """What a lowering has to leave: nodes may have rendered for hours before their readiness is
    written down, where the operator was away meanwhile."""
    remaining_seconds: int
    exhausted: bool
    look_again: timedelta | None
    """When the time will be used up at the present pace, or a kept node goes."""


@dataclass(frozen=True)
class Reckoning:
    """The session's time, and what it could use: before its class has a say."""

    settlement: Settlement
    unpaid: Mapping[str, datetime]
    """The marks of nodes that are not settled."""
    used: int
    remaining: int
    """Seconds, as `used`."""
    running: int
    """Nodes that use time now."""
    bought: int
    """Nodes that may be there: none where it is suspended, or its time is used up."""
    wish: int


def reckon(wanted: Wanted, seen: Seen, now: datetime) -> Reckoning:
    """Add up the time."""
    times = [node.time for node in seen.nodes]
    settled = settle(seen.settled_days, seen.settling, times, wanted.granted_seconds)
    running = still_running(settled, times)
    spent, granted = settled.total + running_seconds(running, now), wanted.granted_seconds
    unpaid = dict(seen.unpaid)
    if spent >= granted:  # used_up finds that too, at a cost that each round would pay
        unpaid = {**used_up(settled, times, granted, now), **unpaid}
    if unpaid:
        known = {uid for uid, _ in (*seen.settling, *settled.settling)}
        unpaid = {uid: since for uid, since in unpaid.items() if uid not in known}
    used = min(spent, granted)
    remaining = granted - used
    bought = 0 if wanted.suspend else min(wanted.nodes, remaining)
    wish = min(bought, seen.blocks)
    return Reckoning(settled, unpaid, used, remaining, ticking(running), bought, wish)


def plan(
    wanted: Wanted, seen: Seen, now: datetime, reckoned: Reckoning | None = None
) -> SessionPlan:
    """Decide from what exists; `reckoned`: its time, where that was added up already."""
    time = reckoned or reckon(wanted, seen, now)
    desired = _at_most(seen.allowed, time.wish)
    split = _split(wanted, seen, time.bought, desired, now)
    waits = [until - now for until in split.kept_until]
    if time.running and time.remaining > 0:
        waits.append(timedelta(seconds=time.remaining / time.running))
    persisted = {uid for uid, _ in seen.settling}
    return SessionPlan(
        wish=time.wish,
        desired=desired,
        create=_create(wanted, seen, desired),
        drain=_indices(split.drain),
        patient=_indices(split.patient),
        hurry=_indices(split.hurry),
        idle=_indices(split.idle),
        resume=_indices(split.resume),
        delete=tuple(n.index for n in seen.nodes if n.uid in persisted and not n.going),
        settled_days=time.settlement.days,
        settling=time.settlement.settling,
        unpaid=time.unpaid,
        used_seconds=time.used,
        used_with_unrecorded=min(
            time.used + sum(billable_seconds(node, now) for node in seen.unrecorded),
            wanted.granted_seconds,
        ),
        remaining_seconds=time.remaining,
        exhausted=time.remaining <= 0,
        look_again=min(waits, default=None),
    )


def _at_most(limit: int | None, number: int) -> int:
    return number if limit is None else min(number, limit)


def _indices(nodes: Iterable[NodeView]) -> tuple[int, ...]:
    return tuple(sorted(node.index for node in nodes))


def _create(wanted: Wanted, seen: Seen, desired: int) -> tuple[int, ...]:
    staying = sum(node.staying for node in seen.nodes if not _to_be_rid_of(node, seen))
    live = sum(node.live for node in seen.nodes)
    room = _at_most(seen.launch_room, _at_most(seen.allowed, wanted.nodes) - live)
    count = min(desired - staying, room, BATCH)
    if count <= 0 or not seen.may_launch:
        return ()
    taken = {node.index for node in seen.nodes}
    free = (index for index in range(len(taken) + count) if index not in taken)
    return tuple(index for index, _ in zip(free, range(count), strict=False))


def _to_be_rid_of(node: NodeView, seen: Seen) -> bool:
    """An idle node of an earlier offer, which no job can use, only stands in the way."""
    return node.staying and not node.busy and not node.useful and seen.blocks_known


@dataclass
class _Split:
    """The nodes that are there, by what is to happen to them."""

    drain: list[NodeView] = field(default_factory=list)
    patient: list[NodeView] = field(default_factory=list)
    hurry: list[NodeView] = field(default_factory=list)
    idle: list[NodeView] = field(default_factory=list)
    resume: list[NodeView] = field(default_factory=list)
    kept_until: list[datetime] = field(default_factory=list)


def _split(wanted: Wanted, seen: Seen, bought: int, desired: int, now: datetime) -> _Split:
    """Sort the nodes; what goes first comes first."""
    useless = [node for node in seen.nodes if _to_be_rid_of(node, seen)]
    others = [node for node in seen.nodes if node.staying and node not in useless]
    # not yet Ready, then what idles already, then the newest: what was warmed longest is kept
    others.sort(key=lambda n: (n.busy, n.ready_at is not None, n.idle_since is None, -n.index))
    unpaid = max(len(others) - bought, 0)
    not_its_share = max(len(others) - _at_most(seen.allowed, bought), unpaid)
    # what is rendered without a master is not waited for
    patient = [] if seen.silent else others[unpaid:not_its_share]
    split = _Split(drain=[*useless, *others[:not_its_share]], patient=patient)
    # marked before a crash, and not drained yet; more may have been bought since
    ends = [n for n in seen.nodes if n.unpaid_since is not None and n.live and not n.going]
    split.drain += [node for node in ends if not node.drain]
    split.hurry = [node for node in ends if node.patient]
    waited_for = [node for node in seen.nodes if node.patient and node.live and not node.going]
    leaving = [node for node in waited_for if node.unpaid_since is None]
    too_many = len(others) - unpaid + len(leaving) - bought
    split.hurry += leaving if seen.silent else leaving[: max(too_many, 0)]
    # while the blocks are a guess, nothing is taken for idle
    idle = max(len(others) - desired, not_its_share) if seen.blocks_known else not_its_share
    for node in others[not_its_share:idle]:
        since = node.idle_since or now
        until = wanted.idle.kept_until(node.made_at or since, since)
        if node.ready_at is None or until <= now:
            split.drain.append(node)
            continue
        split.kept_until.append(until)
        # what it was parked for before has to be recorded first
        if node.idle_since is None and all(end is not None for _, end in node.free):
            split.idle.append(node)
    if seen.blocks_known:
        split.resume = [node for node in others[idle:] if node.idle_since is not None]
    return split

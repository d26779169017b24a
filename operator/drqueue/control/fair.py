"""How the nodes of a class that has too few are shared: among tenants, then their sessions. Pure.

The method, in three steps:

1. Among tenants: weighted max-min fairness. All shares rise together, in proportion to their
   weights; a tenant that has what it wants drops out, and the others go on with what is left
   (progressive filling: D. Bertsekas and R. Gallager, *Data Networks*, 2nd ed., 1992, section 6.5).
2. A node cannot be divided: each tenant gets the whole nodes of its share, and those left over go
   to whoever is owed most. What one is owed grows by share − nodes held, in node-seconds, as the
   deficit counter of M. Shreedhar and G. Varghese (*Efficient Fair Queueing Using Deficit Round
   Robin*, SIGCOMM 1995) does for bytes. Who holds such a node keeps it until another is owed
   `SWITCH` more, for to change hands costs a start.
3. Among a tenant's sessions: a node for each, then the rest by priority, evenly among equals. Where
   there are fewer nodes than sessions, they go by priority plus ageing (a point for each minute
   without a node, in steps of `TENURE`: the remedy for starvation in priority scheduling that
   textbooks on operating systems give): who got a node by it keeps it for `TENURE`.

Nothing is taken from a running block: a share that shrinks has nodes closed for new blocks, and
one that grows waits until nodes are free.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import lcm

from drqueue.control.fair_turns import Debt, Turn, grown, ranked

Uids = list[str]


@dataclass(frozen=True)
class Limits:
    """What a class allows. None: no limit."""

    nodes: int | None = None
    per_tenant: int | None = None
    per_session: int | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    """By tenant; 1 where it is not named."""

    def weight(self, tenant: str) -> int:
        """A tenant's weight."""
        return self.weights.get(tenant, 1)

    def session(self, want: int) -> int:
        """As many of the nodes that a session wants as the class gives one session."""
        return want if self.per_session is None else min(want, self.per_session)


@dataclass(frozen=True)
class Claim:
    """What a session wants of its class."""

    tenant: str
    want: int
    """Nodes that it could use now, those that it has included."""
    have: int
    """Nodes that have not ended."""
    created_at: datetime
    priority: int = 50


@dataclass(frozen=True)
class Standings:
    """What is remembered from one round to the next."""

    debts: Mapping[str, Debt] = field(default_factory=dict)
    """By tenant."""
    turns: Mapping[str, Turn] = field(default_factory=dict)
    """By the session's UID."""


@dataclass(frozen=True)
class Shared:
    """A round's outcome. Nodes by the session's UID."""

    targets: Mapping[str, int]
    """What is fair."""
    allowed: Mapping[str, int]
    """What it may have now, as far as nodes are free."""
    standings: Standings
    contested: bool
    """Whose turn it is changes with time alone."""


def fair_shares(
    limits: Limits, claims: Mapping[str, Claim], standings: Standings, now: datetime
) -> Shared:
    """Share a class's nodes among the sessions (by UID) that claim some."""
    wants = {uid: limits.session(claim.want) for uid, claim in claims.items()}
    sessions: dict[str, Uids] = defaultdict(list)
    for uid, claim in claims.items():
        sessions[claim.tenant].append(uid)
    demands = {
        tenant: _at_most(limits.per_tenant, sum(wants[uid] for uid in uids))
        for tenant, uids in sessions.items()
    }
    held = {tenant: sum(claims[uid].have for uid in uids) for tenant, uids in sessions.items()}
    level = _fill(limits, demands)
    whole, debts, contested = demands, {}, False
    if level is not None:
        whole, parts = _divide(limits, demands, level)
        debts = _owe(standings.debts, whole, parts, held, now)
        seats = min(sum(demands.values()), limits.nodes or 0) - sum(whole.values())
        debts, contested = _seat(seats, parts, debts), seats > 0
        whole = {tenant: nodes + debts[tenant].seated for tenant, nodes in whole.items()}
    turns = {
        uid: grown(standings.turns.get(uid), claim.have > 0, now)
        for uid, claim in claims.items()
        if wants[uid] > 0
    }
    ranks = {
        uid: (-ranked(turn, claims[uid].priority, now), not turn.served)
        for uid, turn in turns.items()
    }
    targets: dict[str, int] = {}
    for tenant, uids in sessions.items():
        hungry = [uid for uid in uids if wants[uid] > 0]
        targets.update(dict.fromkeys(uids, 0))
        targets.update(_within(whole[tenant], hungry, claims, wants, ranks))
        contested = contested or whole[tenant] < len(hungry)
    return Shared(
        targets=targets,
        allowed=_as_far_as_free(limits, claims, targets, held),
        standings=Standings(debts, turns),
        contested=contested,
    )


def _at_most(limit: int | None, number: int) -> int:
    return number if limit is None else min(number, limit)


@dataclass(frozen=True)
class _Level:
    """What tenants with more demand than that get: nodes / weights for each unit of weight."""

    nodes: int
    weights: int


def _fill(limits: Limits, demands: Mapping[str, int]) -> _Level | None:
    """The level of weighted max-min fairness, exact; None where all demands can be met."""
    if limits.nodes is None or sum(demands.values()) <= limits.nodes:
        return None
    left, weights = limits.nodes, sum(limits.weight(tenant) for tenant in demands)
    common = lcm(*{limits.weight(tenant) for tenant in demands})
    by_need = sorted(demands, key=lambda t: demands[t] * (common // limits.weight(t)))
    for tenant in by_need:
        weight = limits.weight(tenant)
        if demands[tenant] * weights > left * weight:
            break
        left, weights = left - demands[tenant], weights - weight
    return _Level(left, weights)


def _divide(
    limits: Limits, demands: Mapping[str, int], level: _Level
) -> tuple[dict[str, int], dict[str, float]]:
    """Whole nodes for each tenant, and the parts of one by which some fall short of the level."""
    whole, parts = {}, {}
    for tenant, demand in demands.items():
        share, part = divmod(level.nodes * limits.weight(tenant), level.weights)
        whole[tenant] = min(demand, share)
        if part and demand > share:
            parts[tenant] = part / level.weights
    return whole, parts


def _owe(
    old: Mapping[str, Debt],
    whole: Mapping[str, int],
    parts: Mapping[str, float],
    held: Mapping[str, int],
    now: datetime,
) -> dict[str, Debt]:
    """What each is owed now, and at what pace that goes on."""
    debts = {}
    for tenant, nodes in whole.items():
        part = parts.get(tenant, 0.0)
        gap = min(max(nodes + part - held[tenant], -1.0), 1.0) if part else 0.0
        debts[tenant] = old.get(tenant, Debt(0.0, 0.0, False, now)).later(now, gap)
    return debts


def _seat(seats: int, parts: Mapping[str, float], debts: Mapping[str, Debt]) -> dict[str, Debt]:
    """Give the nodes left over to whom most is owed."""
    order = sorted(parts, key=lambda t: (-debts[t].claim, -parts[t], t))
    seated = set(order[:seats])
    return {tenant: replace(debt, seated=tenant in seated) for tenant, debt in debts.items()}


def _within(
    nodes: int,
    hungry: Uids,
    claims: Mapping[str, Claim],
    wants: Mapping[str, int],
    ranks: Mapping[str, tuple[int, bool]],
) -> dict[str, int]:
    """A tenant's nodes among those of its sessions that want some."""
    if sum(wants[uid] for uid in hungry) <= nodes:
        return {uid: wants[uid] for uid in hungry}
    if nodes <= len(hungry):
        order = sorted(
            hungry,
            key=lambda u: (ranks[u], claims[u].created_at, u),
        )
        return dict.fromkeys(order[:nodes], 1)
    given = dict.fromkeys(hungry, 1)
    left = nodes - len(hungry)
    by_priority: dict[int, Uids] = defaultdict(list)
    for uid in hungry:
        by_priority[claims[uid].priority].append(uid)
    for priority in sorted(by_priority, reverse=True):
        # evenly: the smallest wishes first, the odd ones to those created first
        group = sorted(by_priority[priority], key=lambda u: (wants[u], claims[u].created_at, u))
        for place, uid in enumerate(group):
            more = min(wants[uid] - 1, -(-left // (len(group) - place)))
            given[uid] += more
            left -= more
    return given


def _as_far_as_free(
    limits: Limits,
    claims: Mapping[str, Claim],
    targets: Mapping[str, int],
    held: Mapping[str, int],
) -> dict[str, int]:
    """Grow towards the targets only into what nobody has; whoever has least grows first."""
    allowed = {uid: min(target, claims[uid].have) for uid, target in targets.items()}
    growing = [uid for uid, target in targets.items() if target > claims[uid].have]
    free = None if limits.nodes is None else max(limits.nodes - sum(held.values()), 0)
    rooms = {
        tenant: None if limits.per_tenant is None else max(limits.per_tenant - have, 0)
        for tenant, have in held.items()
    }
    if _fits(growing, claims, targets, free, rooms):
        return {**allowed, **{uid: targets[uid] for uid in growing}}
    has = dict(held)

    def place(uid: str) -> tuple[object, ...]:
        claim = claims[uid]
        return (
            has[claim.tenant] / limits.weight(claim.tenant),
            allowed[uid] > 0,
            -claim.priority,
            allowed[uid] / targets[uid],
            claim.created_at,
            uid,
        )

    heap = [(place(uid), uid) for uid in growing]
    heapq.heapify(heap)
    while heap and (free is None or free > 0):
        known, uid = heapq.heappop(heap)
        tenant = claims[uid].tenant
        room = rooms[tenant]
        if room == 0:
            continue
        if known != (current := place(uid)):
            heapq.heappush(heap, (current, uid))
            continue
        allowed[uid] += 1
        has[tenant] += 1
        free = None if free is None else free - 1
        rooms[tenant] = None if room is None else room - 1
        if allowed[uid] < targets[uid]:
            heapq.heappush(heap, (place(uid), uid))
    return allowed


def _fits(
    growing: Iterable[str],
    claims: Mapping[str, Claim],
    targets: Mapping[str, int],
    free: int | None,
    rooms: Mapping[str, int | None],
) -> bool:
    """Whether all can grow to their targets at once."""
    more: dict[str, int] = defaultdict(int)
    for uid in growing:
        more[claims[uid].tenant] += targets[uid] - claims[uid].have
    if free is not None and sum(more.values()) > free:
        return False
    return all((room := rooms[t]) is None or more[t] <= room for t in more)

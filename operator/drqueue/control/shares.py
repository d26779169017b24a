"""Who may have how many nodes of which class: the sessions' claims, in memory.

A session reports what it wants and has each time it is reconciled, and is told what it may have.
Where a class has enough for all, that costs the same with ten sessions and with thousands: sums are
kept. Where it has too few, a round shares it out (`fair.fair_shares`), at most once a second, and
only the sessions whose share changed are looked at again.

A node is given to one session only: what a session was told last counts as taken until it reports
again, and so does each node that has not ended.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from drqueue.control.fair import Claim, Limits, Standings, fair_shares
from drqueue.control.kinds import Key

ROUND_EVERY = timedelta(seconds=1)
TURNS_EVERY = timedelta(seconds=60)
"""How often a class is shared out anew where only time passes."""


class Member(NamedTuple):
    """A session, as shares know it."""

    key: Key
    uid: str


class Allowance(NamedTuple):
    """What a session may have now."""

    nodes: int | None
    """None: as many as it likes."""
    round_due: bool
    """The class is to be shared out."""
    news: bool
    """The class's counts are others now."""


class Counts(NamedTuple):
    """Sums over a class's sessions."""

    have: int
    want: int
    allowed: int


@dataclass
class _Entry:
    key: Key
    claim: Claim
    starting: int
    want: int
    allowed: int
    promised: int

    @property
    def taken(self) -> int:
        return max(self.claim.have, self.promised)

    @property
    def asks(self) -> int:
        return max(self.want, self.taken)


@dataclass
class _Class:
    limits: Limits = field(default_factory=Limits)
    entries: dict[str, _Entry] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By tenant."""
    starting: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    all_asked: int = 0
    have: int = 0
    want: int = 0
    allowed: int = 0
    scarce: bool = False
    dirty: bool = False
    contested: bool = False
    shared_at: datetime | None = None
    standings: Standings = field(default_factory=Standings)

    def count(self, entry: _Entry, sign: int) -> None:
        tenant = entry.claim.tenant
        self.asked[tenant] += sign * entry.asks
        self.starting[tenant] += sign * entry.starting
        self.all_asked += sign * entry.asks
        self.have += sign * entry.claim.have
        self.want += sign * entry.want
        self.allowed += sign * entry.allowed

    def enough_for(self, tenants: Iterable[str]) -> bool:
        limits = self.limits
        return (limits.nodes is None or self.all_asked <= limits.nodes) and (
            limits.per_tenant is None or all(self.asked[t] <= limits.per_tenant for t in tenants)
        )


class Shares:
    """The claims of all sessions, by class. Belongs to one event loop."""

    def __init__(self) -> None:
        self._classes: dict[str, _Class] = {}
        self._where: dict[Key, tuple[str, str]] = {}
        self.looked_at = 0
        """Claims that were looked at so far: the work that all this is."""

    def knows(self, class_name: str) -> bool:
        """Whether the class's sessions were loaded."""
        return class_name in self._classes

    def load(self, class_name: str, there: Iterable[tuple[Member, Claim]]) -> None:
        """Start with what exists: each session has what it has, until it reports."""
        shared = self._classes.setdefault(class_name, _Class())
        for member, claim in there:
            if member.uid not in shared.entries:
                entry = _Entry(member.key, claim, 0, claim.have, claim.have, claim.have)
                self._put(class_name, shared, member, entry)

    def report(
        self, class_name: str, limits: Limits, member: Member, claim: Claim, starting: int
    ) -> Allowance:
        """Take in what a session wants and has, `starting` of it not Ready; say what is its."""
        shared = self._classes.setdefault(class_name, _Class())
        if shared.limits != limits:
            self._limit(shared, limits)
        old = shared.entries.get(member.uid)
        want = limits.session(claim.want)
        news = old is None or (old.claim, old.starting) != (claim, starting)
        if not shared.scarce:
            entry = _Entry(member.key, claim, starting, want, want, want)
            self._put(class_name, shared, member, entry)
            if shared.enough_for((claim.tenant,)):
                return Allowance(limits.per_session, False, news)
        allowed = min(old.allowed if old is not None else claim.have, want)
        entry = _Entry(member.key, claim, starting, want, allowed, allowed)
        self._put(class_name, shared, member, entry)
        due = news or not shared.scarce or shared.dirty
        shared.scarce, shared.dirty = True, due
        return Allowance(allowed, due, news)

    def share(self, class_name: str, limits: Limits, now: datetime) -> list[Key]:
        """Share the class out; gives the sessions that may have more or fewer now."""
        shared = self._classes.setdefault(class_name, _Class())
        if shared.limits != limits:
            self._limit(shared, limits)
        self.looked_at += len(shared.entries)
        shared.dirty, shared.shared_at = False, now
        before = {uid: entry.allowed for uid, entry in shared.entries.items()}
        if shared.enough_for(shared.asked):
            shared.scarce = shared.contested = False
            shared.standings = Standings()
            allowed = {uid: entry.want for uid, entry in shared.entries.items()}
        else:
            claims = {
                uid: replace(entry.claim, have=entry.taken) for uid, entry in shared.entries.items()
            }
            outcome = fair_shares(limits, claims, shared.standings, now)
            allowed, shared.standings = dict(outcome.allowed), outcome.standings
            shared.scarce, shared.contested = True, outcome.contested
        changed = []
        for uid, nodes in allowed.items():
            if nodes != before[uid]:
                entry = shared.entries[uid]
                shared.count(entry, -1)
                entry.allowed, entry.promised = nodes, max(entry.promised, nodes)
                shared.count(entry, 1)
                changed.append(entry.key)
        return changed

    def wait(self, class_name: str, now: datetime) -> timedelta | None:
        """How long until the class is to be shared out; None where nothing but reports can ask."""
        shared = self._classes.get(class_name)
        if shared is None or not (shared.dirty or shared.contested):
            return None
        if shared.shared_at is None:
            return timedelta()
        pause = ROUND_EVERY if shared.dirty else TURNS_EVERY
        return max(min(shared.shared_at, now) + pause - now, timedelta())

    def forget(self, key: Key) -> str | None:
        """Forget a session that is gone; gives the class that has to be shared out, if any."""
        class_name, uid = self._where.pop(key, ("", ""))
        shared = self._classes.get(class_name)
        if shared is None:
            return None
        entry = shared.entries.pop(uid, None)
        if entry is not None:
            shared.count(entry, -1)
        shared.dirty = shared.dirty or shared.scarce
        return class_name if shared.dirty else None

    def starting(self, class_name: str, tenant: str) -> int:
        """A tenant's nodes of the class that are not Ready yet."""
        shared = self._classes.get(class_name)
        return shared.starting[tenant] if shared else 0

    def scarce(self, class_name: str) -> bool:
        """Whether sessions want more nodes than there are."""
        shared = self._classes.get(class_name)
        return bool(shared and shared.scarce)

    def counts(self, class_name: str) -> Counts:
        """Sums over the class's sessions."""
        shared = self._classes.get(class_name) or _Class()
        return Counts(shared.have, shared.want, shared.allowed)

    def members(self, class_name: str, tenant: str | None = None) -> Iterator[Key]:
        """The class's sessions, or a tenant's of them."""
        shared = self._classes.get(class_name) or _Class()
        for entry in shared.entries.values():
            if tenant is None or entry.claim.tenant == tenant:
                yield entry.key

    def _put(self, class_name: str, shared: _Class, member: Member, entry: _Entry) -> None:
        self.looked_at += 1
        known = self._where.get(member.key)
        if known is not None and known != (class_name, member.uid):
            self.forget(member.key)
        self._where[member.key] = class_name, member.uid
        old = shared.entries.get(member.uid)
        if old is not None:
            shared.count(old, -1)
        shared.entries[member.uid] = entry
        shared.count(entry, 1)

    def _limit(self, shared: _Class, limits: Limits) -> None:
        """Count anew with other limits; a round follows where they are too low."""
        shared.limits = limits
        for entry in shared.entries.values():
            shared.count(entry, -1)
            entry.want = limits.session(entry.claim.want)
            shared.count(entry, 1)
        self.looked_at += len(shared.entries)
        if not shared.enough_for(shared.asked):
            shared.scarce = shared.dirty = True

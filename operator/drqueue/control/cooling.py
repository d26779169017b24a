"""A class whose nodes fail one after another cools down, with growing waits. Pure.

Each tenant has a streak of its own in each class: a tenant whose pull secret or quota is wrong
keeps only itself waiting. Others may try meanwhile: freely at first, then with one node at a time.
When nodes of two tenants did not get Ready, and no one's did for a while, it is the class, and all
wait: two bad tenants are no proof against a class that starts other tenants' nodes. After a wait
one node is tried; that it gets Ready ends the streak (where the last one had got Ready too, and
failed shortly after, it has to live on).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=10)
SEVERAL = 3
"""Failures in a row after which other tenants try with one node at a time."""


@dataclass(frozen=True)
class Streak:
    """Failures in a row of one tenant's nodes. Those within one wait count as one."""

    failures: int
    until: datetime
    """No node is launched before."""
    was_ready: bool = False
    """The last one failed after it had got Ready."""
    message: str = ""
    """Of the last one, in words for its tenant alone."""

    @property
    def since(self) -> datetime:
        """When the wait began: at a failure."""
        return self.until - _pause(self.failures)


def _pause(failures: int) -> timedelta:
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE)


@dataclass(frozen=True)
class Room:
    """How many nodes may be launched now. None: any number."""

    nodes: int | None = None
    look_again: datetime | None = None


@dataclass(frozen=True)
class Cooling:
    """How launching nodes of one class goes."""

    streaks: Mapping[str, Streak] = field(default_factory=dict)
    """By tenant."""
    suspects: frozenset[str] = frozenset()
    """Tenants whose nodes did not get Ready since one of anybody's did, and long after that."""
    reason: str = ""
    message: str = ""
    """Of the latest failure that may be the class's, in words for all tenants if all wait."""
    ready_at: datetime | None = field(default=None, compare=False)
    """When the latest node of anybody got Ready. In memory: to an operator that was started anew,
    the nodes that are there tell it."""

    @property
    def failures(self) -> int:
        """The longest streak there is."""
        return max((streak.failures for streak in self.streaks.values()), default=0)

    @property
    def until(self) -> datetime | None:
        """Until when somebody waits."""
        return max((streak.until for streak in self.streaks.values()), default=None)

    @property
    def whole_class(self) -> bool:
        """Whether it is the class, so that all wait."""
        return len(self.suspects) > 1

    def failed(
        self,
        tenant: str,
        reason: str,
        message: str,
        now: datetime,
        *,
        was_ready: bool = False,
        of_tenant: bool = False,
    ) -> "Cooling":
        """A node ended without having been of use, by no one's wish; `of_tenant`: whatever the
        class, its tenant would have none."""
        streak = self.streaks.get(tenant)
        if streak is None or now >= streak.until:
            count = streak.failures + 1 if streak else 1
            streak = Streak(count, now + _pause(count))
        streak = replace(streak, was_ready=was_ready, message=message)
        streaks = {**self.streaks, tenant: streak}
        starts_nodes = self.ready_at is not None and now < self.ready_at + LONGEST_PAUSE
        if not (was_ready or of_tenant or starts_nodes):
            return Cooling(streaks, self.suspects | {tenant}, reason, message, self.ready_at)
        if self.suspects:
            return replace(self, streaks=streaks)
        return Cooling(streaks, reason=reason, ready_at=self.ready_at)

    def ready(self, tenant: str, at: datetime, *, lived: bool) -> "Cooling":
        """A node of the tenant got Ready at that time; `lived`: and has been so for a while."""
        latest = max(at, self.ready_at or at)
        streak = self.streaks.get(tenant)
        old = streak is not None and at < streak.since
        goes_on = old or (streak is not None and streak.was_ready and not lived)
        left = {name: s for name, s in self.streaks.items() if name != tenant or goes_on}
        if not left:
            return Cooling(ready_at=latest)
        # one that was Ready before they failed is no news of them
        suspects = {name for name in self.suspects & left.keys() if at < left[name].since}
        return replace(self, streaks=left, suspects=frozenset(suspects), ready_at=latest)

    def room(self, tenant: str, starting: int, now: datetime) -> Room:
        """What a tenant may launch that has so many nodes of the class starting already."""
        own = self.streaks.get(tenant)
        others = [self.streaks[name] for name in self.suspects if name in self.streaks]
        waits = [own] if own else []
        if self.whole_class:
            waits += others
        until = max((streak.until for streak in waits), default=None)
        if until is not None and now < until:
            return Room(0, until)
        if waits or any(streak.failures >= SEVERAL for streak in others):
            return Room(max(1 - starting, 0))
        return Room()


def restored(
    failures: int,
    until: datetime,
    tenants: Iterable[str],
    reason: str,
    message: str,
    *,
    whole_class: bool,
) -> Cooling:
    """A class's streak as its status tells it, after the operator was started anew."""
    streaks = {tenant: Streak(failures, until, message=message) for tenant in tenants}
    suspects = frozenset(streaks) if whole_class else frozenset[str]()
    return Cooling(streaks, suspects, reason, message)

"""Turns: what a tenant is owed of nodes that cannot be divided, and how a session ages. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

SWITCH = 600.0
"""Node-seconds that another must be owed more before a node left over changes hands."""
MOST_OWED = 24 * 3600.0
"""Node-seconds, at most, that are remembered for or against a tenant."""
TENURE = timedelta(minutes=10)
"""A session that aged its way to a node keeps it so long; ageing goes in steps of it."""


@dataclass(frozen=True)
class Debt:
    """What a tenant is owed, in node-seconds: less than 0 where it had more than its share."""

    owed: float
    gap: float
    """Nodes by which it grows each second."""
    seated: bool
    """It has one of the nodes left over."""
    at: datetime

    def later(self, now: datetime, gap: float) -> "Debt":
        """The debt as it has become; a clock that goes backwards adds nothing."""
        seconds = max((now - self.at).total_seconds(), 0.0)
        owed = min(max(self.owed + self.gap * seconds, -MOST_OWED), MOST_OWED)
        return Debt(owed, gap, self.seated, max(now, self.at))

    @property
    def claim(self) -> float:
        """How strong its claim to a node left over is; who has one keeps it for a while."""
        return self.owed + (SWITCH if self.seated else 0.0)


@dataclass(frozen=True)
class Turn:
    """Since when a session waits for its first node, or has one."""

    since: datetime
    served: bool
    points: int = 0
    """With what it got its node."""

    def aged(self, now: datetime) -> int:
        """A point for each minute, in steps of TENURE."""
        steps = max(now - self.since, timedelta()) // TENURE
        return steps * (TENURE // timedelta(minutes=1))


def grown(turn: Turn | None, served: bool, now: datetime) -> Turn:
    """A session's turn, now that it has a node or has none."""
    if turn is None:
        return Turn(now, served)
    if turn.served == served:
        return turn
    return Turn(now, served, turn.aged(now) if served else 0)


def ranked(turn: Turn, priority: int, now: datetime) -> int:
    """Its priority, and what it gained by waiting."""
    if not turn.served:
        return priority + turn.aged(now)
    return priority + (turn.points if now - turn.since < TENURE else 0)

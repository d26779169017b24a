"""The seconds of nodes, by UTC day: each node's added once, never more than was granted. Pure.

Exactly once, whatever crashes: the session adds a node's seconds and notes its UID in `settling`
in one write; the node drops its finalizer when it sees its UID there; the session forgets the UID
when the node is gone. A cache can show a node that is gone, or lack one that is there: a ghost
would be added a second time. So where anything is to be added or forgotten (`needs_live`), the
nodes must come from a LIST that was read from the API server after the session was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DAY = 86400


@dataclass(frozen=True)
class NodeTime:
    """A RenderNode, as far as its time goes."""

    uid: str
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    free: tuple[tuple[datetime, datetime | None], ...] = ()
    """When it was parked on the house; None: until its end."""


Settling = tuple[tuple[str, int], ...]
"""UID and seconds of nodes that are added and not seen gone."""


@dataclass(frozen=True)
class Settlement:
    """The sums for the session's status."""

    days: Mapping[str, int]
    """Node-seconds by UTC day (`2026-11-25`), ascending."""
    settling: Settling

    @property
    def total(self) -> int:
        """Node-seconds settled."""
        return sum(self.days.values())


def needs_live(settling: Settling, nodes: Iterable[NodeTime]) -> bool:
    """Whether `settle` would add or forget anything: then it takes a live LIST of the nodes."""
    there = {node.uid: node for node in nodes}
    known = {uid for uid, _ in settling}
    return not known <= there.keys() or any(
        node.ended_at is not None and node.uid not in known for node in there.values()
    )


def settle(
    days: Mapping[str, int], settling: Settling, nodes: Sequence[NodeTime], granted: int
) -> Settlement:
    """Add the seconds of nodes that ended; forget those that are gone.

    `days` and `settling` as the session's status has them; `nodes` all its RenderNodes, see
    `needs_live`; `granted` its node-seconds before anything is raised in the same write: what ran
    on after they were used up is on the house, also when more is bought later.
    A session whose status says settled must not come here: its sums are final.
    """
    there = {node.uid for node in nodes}
    known = {uid for uid, _ in settling}
    sums = dict(days)
    kept = [entry for entry in settling if entry[0] in there]
    left = max(granted - sum(sums.values()), 0)
    ended = [node for node in nodes if node.ended_at is not None and node.uid not in known]
    for node in sorted(ended, key=lambda n: (n.ended_at, n.uid)):
        added = 0
        for day, seconds in sorted(by_day(node).items()):
            counted = min(seconds, left)
            if counted > 0:
                sums[day] = sums.get(day, 0) + counted
                left -= counted
                added += counted
        kept.append((node.uid, added))
    return Settlement(dict(sorted(sums.items())), tuple(kept))


def running_seconds(nodes: Iterable[NodeTime], now: datetime) -> int:
    """Billable seconds up to now of nodes that have not ended; none for a clock that went back."""
    last = _second(now)
    return sum(
        end - begin
        for node in nodes
        if node.ready_at is not None and node.ended_at is None
        for begin, end in _less(_second(node.ready_at), last, node.free)
    )


def ticking(nodes: Iterable[NodeTime]) -> int:
    """How many nodes use render time now: Ready once, not ended, not parked on the house."""
    return sum(
        node.ready_at is not None
        and node.ended_at is None
        and all(until is not None for _, until in node.free)
        for node in nodes
    )


def by_day(node: NodeTime, now: datetime | None = None) -> dict[str, int]:
    """A node's billable whole seconds by UTC day: from Ready to its end (or now), less free time.

    Empty for a node that was never Ready, that ended before it was, or that runs without `now`.
    """
    until = node.ended_at or now
    if node.ready_at is None or until is None:
        return {}
    first, last = _second(node.ready_at), _second(until)
    days: dict[str, int] = {}
    for begin, end in _less(first, last, node.free):
        for day in range(begin // DAY, (end - 1) // DAY + 1):
            seconds = min(end, (day + 1) * DAY) - max(begin, day * DAY)
            name = (_EPOCH + timedelta(days=day)).date().isoformat()
            days[name] = days.get(name, 0) + seconds
    return days


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _second(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(seconds=1)


def _less(
    first: int, last: int, free: Iterable[tuple[datetime, datetime | None]]
) -> Iterator[tuple[int, int]]:
    """The parts of [first, last) that no free interval covers."""
    at = first
    for since, until in sorted(
        (_second(since), last if until is None else _second(until)) for since, until in free
    ):
        if min(since, last) > at:
            yield at, min(since, last)
        at = max(at, since, until)  # `until` lies before `since` where a clock went back
    if last > at:
        yield at, last

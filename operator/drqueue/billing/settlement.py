"""The seconds of nodes, by UTC day: each node's added once, never more than was granted. Pure.

Exactly once, whatever crashes: the session adds a node's seconds and notes its UID in `settling`
in one write; the node drops its finalizer when it sees its UID there; the session forgets the UID
when the node is gone. A cache can show a node that is gone, or lack one that is there: a ghost
would be added a second time. So where anything is to be added or forgotten (`needs_live`), the
nodes must come from a LIST that was read from the API server after the session was.

When a session's time is used up, each node that is there gets a mark (`used_up`), and what it runs
on after it is on the house: its seconds up to the marks are what was granted, to the second. The
marks are in the session's status, written with the sums that they follow from, and so before or
with any raise. A mark is never changed, and goes when its node is added.
"""

from bisect import bisect_right
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
    unpaid_since: datetime | None = None
    """Its mark: its session's time was used up then."""
    made_at: datetime | None = None
    """It was Ready no earlier; read only while its readiness is not known."""


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
    `needs_live`; `granted` its node-seconds before anything is raised in the same write. Seconds up
    to a mark are kept for the node that has it, ended or not; others get what is left beside them.
    A session whose status says settled must not come here: its sums are final.
    """
    there = {node.uid for node in nodes}
    known = {uid for uid, _ in settling}
    sums = dict(days)
    kept = [entry for entry in settling if entry[0] in there]
    left = max(granted - sum(sums.values()), 0)
    kept_back = _seconds_up_to_marks(nodes)
    ended = [node for node in nodes if node.ended_at is not None and node.uid not in known]
    for node in sorted(ended, key=lambda n: (n.unpaid_since is None, n.ended_at, n.uid)):
        room = left if node.unpaid_since is not None else max(left - kept_back, 0)
        added = 0
        for day, seconds in sorted(by_day(node).items()):
            counted = min(seconds, room - added)
            if counted > 0:
                sums[day] = sums.get(day, 0) + counted
                added += counted
        left -= added
        kept.append((node.uid, added))
    return Settlement(dict(sorted(sums.items())), tuple(kept))


def used_up(
    settled: Settlement, nodes: Iterable[NodeTime], granted: int, now: datetime
) -> dict[str, datetime]:
    """The marks, by UID, that are due: of nodes without one that are not settled.

    None while any of the `granted` seconds is left. Where the last ones do not suffice for all
    nodes that use time, they go one each to the first by UID. A mark is where a node's last paid
    second ends, so that it means the same whatever becomes known of the node later.
    """
    live = still_running(settled, nodes)
    unmarked = sorted((n for n in live if n.unpaid_since is None), key=lambda n: n.uid)
    left = max(granted - settled.total - _seconds_up_to_marks(live), 0)
    begun = [_second(node.ready_at) for node in unmarked if node.ready_at is not None]
    first, last = min(begun, default=0), _second(now)

    def used(until: int) -> int:
        return sum(end - begin for node in unmarked for begin, end in _billed(node, until))

    if not unmarked or used(last) < left:
        return {}
    fair = first + max(bisect_right(range(first, last + 1), left, key=used) - 1, 0)
    over = left - used(fair)
    marks = {}
    for node in unmarked:
        end = _last_paid(node, fair) or _second(node.ready_at or node.made_at or now)
        if over > 0 and (later := _last_paid(node, fair + 1) or 0) > end:
            end, over = later, over - 1
        marks[node.uid] = _EPOCH + timedelta(seconds=end)
    return marks


def still_running(settled: Settlement, nodes: Iterable[NodeTime]) -> list[NodeTime]:
    """The nodes that are not in the sums; an old view can show one of those without its end."""
    known = {uid for uid, _ in settled.settling}
    return [node for node in nodes if node.uid not in known]


def running_seconds(nodes: Iterable[NodeTime], now: datetime) -> int:
    """Billable seconds of nodes that have not ended, up to now or to their marks.

    None for a clock that went back; a mark holds all the same.
    """
    return sum(billable_seconds(node, now) for node in nodes if node.ended_at is None)


def billable_seconds(node: NodeTime, now: datetime) -> int:
    """A node's billable seconds: from Ready to its end or its mark, or now; less free time."""
    return sum(end - begin for begin, end in _billed(node, _second(now)))


def ticking(nodes: Iterable[NodeTime]) -> int:
    """How many nodes use render time now: Ready once, not ended, not on the house."""
    return sum(
        node.ready_at is not None
        and node.ended_at is None
        and node.unpaid_since is None
        and all(until is not None for _, until in node.free)
        for node in nodes
    )


def by_day(node: NodeTime) -> dict[str, int]:
    """A node's billable whole seconds by UTC day: from Ready to its end or mark, less free time.

    Empty for a node that was never Ready, that ended before it was, or that still uses time.
    """
    days: dict[str, int] = {}
    for begin, end in _billed(node, 0):
        for day in range(begin // DAY, (end - 1) // DAY + 1):
            seconds = min(end, (day + 1) * DAY) - max(begin, day * DAY)
            name = (_EPOCH + timedelta(days=day)).date().isoformat()
            days[name] = days.get(name, 0) + seconds
    return days


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _seconds_up_to_marks(nodes: Iterable[NodeTime]) -> int:
    """What is paid for and not settled, of nodes with marks that have not ended."""
    marked = (n for n in nodes if n.ended_at is None and n.unpaid_since is not None)
    return sum(billable_seconds(node, _EPOCH) for node in marked)


def _billed(node: NodeTime, now: int) -> Iterator[tuple[int, int]]:
    if node.ready_at is None:
        return
    last = now if node.ended_at is None else _second(node.ended_at)
    if node.unpaid_since is not None:
        mark = _second(node.unpaid_since)
        last = mark if node.ended_at is None else min(last, mark)
    yield from _less(_second(node.ready_at), last, node.free)


def _last_paid(node: NodeTime, now: int) -> int | None:
    """Where its last billable second ends; None where it has none."""
    return max((end for _, end in _billed(node, now)), default=None)


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

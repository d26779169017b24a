"""Seconds by UTC day: each once, no more than was granted, none of what is on the house."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

from drqueue.billing.settlement import (
    NodeTime,
    by_day,
    needs_live,
    running_seconds,
    settle,
    still_running,
    ticking,
    used_up,
)
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


moments = st.integers(-200_000, 200_000).map(after)
intervals = st.lists(st.tuples(moments, st.one_of(st.none(), moments)), max_size=4).map(tuple)
ended = st.builds(
    NodeTime,
    uid=st.uuids().map(str),
    ready_at=st.one_of(st.none(), moments),
    ended_at=moments,
    free=intervals,
)
nodes = st.lists(ended, max_size=6, unique_by=lambda node: node.uid)


@given(ended)
def test_a_nodes_days_are_its_seconds_one_by_one(node: NodeTime) -> None:
    """As slow and plain as can be: second for second, on a coarser clock."""
    coarse = NodeTime(
        node.uid,
        node.ready_at and _coarse(node.ready_at),
        node.ended_at and _coarse(node.ended_at),
        tuple((_coarse(since), until and _coarse(until)) for since, until in node.free),
    )
    counted: dict[str, int] = {}
    if coarse.ready_at and coarse.ended_at:
        at = coarse.ready_at
        while at < coarse.ended_at:
            if not any(since <= at and (not until or at < until) for since, until in coarse.free):
                day = at.date().isoformat()
                counted[day] = counted.get(day, 0) + 600
            at += timedelta(seconds=600)
    assert by_day(coarse) == counted


def _coarse(moment: datetime) -> datetime:
    return after((moment - NOON) // timedelta(seconds=600) * 600)


@given(nodes, st.integers(0, 400_000))
def test_never_more_than_was_granted_and_all_of_it_where_it_fits(
    there: list[NodeTime], granted: int
) -> None:
    lasted = sum(sum(by_day(node).values()) for node in there)
    settled = settle({}, (), there, granted)
    assert settled.total == min(lasted, granted)
    assert sum(seconds for _, seconds in settled.settling) == settled.total
    assert {uid for uid, _ in settled.settling} == {node.uid for node in there}


@given(nodes, st.integers(0, 400_000), st.randoms())
def test_settling_again_changes_nothing(
    there: list[NodeTime], granted: int, random: Random
) -> None:
    once = settle({}, (), there, granted)
    shuffled = list(there)
    random.shuffle(shuffled)
    assert settle(once.days, once.settling, shuffled, granted) == once
    assert settle({}, (), shuffled, granted).days == once.days
    gone = settle(once.days, once.settling, [], granted)
    assert (gone.days, gone.settling) == (once.days, ())
    assert not needs_live(once.settling, there)
    assert needs_live(once.settling, []) == bool(there)
    assert needs_live((), there) == bool(there)


@given(nodes, nodes, st.integers(0, 300_000), st.integers(0, 300_000))
def test_what_was_settled_stays_whatever_the_grant_is_later(
    first: list[NodeTime], more: list[NodeTime], granted: int, later: int
) -> None:
    before = settle({}, (), first, granted)
    both = settle(before.days, before.settling, [*first, *more], later)
    assert all(both.days[day] >= seconds for day, seconds in before.days.items())
    assert both.total <= max(before.total, later)


seconds = st.integers(0, 4000)


@st.composite
def farms(draw: st.DrawFn) -> list[NodeTime]:
    """Nodes up to second 4000, some of which run on, some parked on the house now and then."""
    made = []
    for index in range(draw(st.integers(1, 6))):
        marks = sorted(draw(st.lists(seconds, max_size=5, unique=True)))
        parked = [(after(a), after(b)) for a, b in zip(marks[::2], marks[1::2], strict=False)]
        still = [(after(marks[-1]), None)] if len(marks) % 2 else []
        ready = draw(st.one_of(st.none(), seconds))
        ended = draw(st.one_of(st.none(), st.none(), seconds))
        made.append(
            NodeTime(
                f"n-{index}",
                None if ready is None else after(ready),
                None if ended is None else after(max(ended, ready or 0)),
                (*parked, *still),
                made_at=NOON,
            )
        )
    return made


def marked(nodes: Sequence[NodeTime], marks: dict[str, datetime]) -> list[NodeTime]:
    return [replace(n, unpaid_since=n.unpaid_since or marks.get(n.uid)) for n in nodes]


def ended_at(nodes: Sequence[NodeTime], at: datetime) -> list[NodeTime]:
    return [replace(node, ended_at=node.ended_at or at) for node in nodes]


@given(farms(), st.integers(0, 15_000), st.integers(3000, 5000))
def test_the_marks_are_where_the_last_second_was_paid(
    there: list[NodeTime], granted: int, at: int
) -> None:
    now = after(at)
    settled = settle({}, (), there, granted)
    marks = used_up(settled, there, granted, now)
    runs = {node.uid for node in still_running(settled, there)}
    used = settled.total + running_seconds(there, now)
    assert set(marks) == (runs if used >= granted else set())
    assert all(mark <= now for uid, mark in marks.items() if _ready(there, uid) <= now)
    if not marks:
        return
    then = marked(there, marks)
    assert settled.total + running_seconds(then, now) == granted
    assert running_seconds(then, after(99_000)) == running_seconds(then, after(-99_000))
    assert ticking(still_running(settled, then)) == 0
    assert used_up(settled, then, granted, now) == {}, "replayed"
    # fair: nobody got two of the last seconds
    free = running_seconds(there, now) - running_seconds(then, now)
    assert all(mark.microsecond == 0 for mark in marks.values())
    assert free == used - granted


def _ready(nodes: Sequence[NodeTime], uid: str) -> datetime:
    return next(node.ready_at or NOON for node in nodes if node.uid == uid)


@given(
    farms(),
    st.tuples(st.integers(0, 15_000), st.integers(0, 90_000)),
    st.integers(4000, 5000),
    st.integers(1, 9000),
    st.sets(st.integers(0, 5)),
)
def test_a_raise_pays_for_no_second_after_the_marks(
    there: list[NodeTime], grant: tuple[int, int], at: int, later: int, first: set[int]
) -> None:
    """Whenever it comes, however large, in whatever order the nodes end."""
    granted, more = grant
    settled = settle({}, (), there, granted)
    marks = used_up(settled, there, granted, after(at))
    if not marks:
        return
    then = marked(there, marks)
    # some end before the raise, the others after it, beside one that was made then
    before = [
        replace(n, ended_at=n.ended_at or after(at + 1)) if i in first else n
        for i, n in enumerate(then)
    ]
    settled = settle(settled.days, settled.settling, before, granted)
    new = NodeTime("new", after(at), after(at + later))
    raised = granted + more
    settled = settle(settled.days, settled.settling, [*before, new], raised)
    settled = settle(settled.days, settled.settling, ended_at([*before, new], after(9999)), raised)
    added = dict(settled.settling)
    assert added["new"] == min(later, more)
    assert settled.total == granted + added["new"]


def test_the_last_seconds_go_one_each_by_uid() -> None:
    nodes = [NodeTime(uid, NOON) for uid in "cab"]
    nothing = settle({}, (), nodes, 0)
    marks = used_up(nothing, nodes, 32, after(60))
    assert marks == {"a": after(11), "b": after(11), "c": after(10)}
    assert used_up(nothing, nodes, 181, after(60)) == {}
    # half of them written by somebody who died: the others get the rest
    for known in ("a", "b", "c"):
        half = marked(nodes, {known: marks[known]})
        assert used_up(nothing, half, 32, after(90)) | {known: marks[known]} == marks


def test_a_node_whose_readiness_is_not_known_is_on_the_house_altogether() -> None:
    late = NodeTime("late", made_at=after(10))
    nothing = settle({}, (), [], 0)
    marks = used_up(nothing, [NodeTime("n", NOON), late], 60, after(60))
    assert marks == {"n": after(60), "late": after(10)}
    ready = replace(late, ready_at=after(20), ended_at=after(90), unpaid_since=marks["late"])
    assert settle({}, (), [ready], 1000).total == 0


def test_parked_as_time_is_used_up_stays_free_whenever_that_is_closed() -> None:
    parked = NodeTime("parked", NOON, free=((after(20), None),))
    marks = used_up(settle({}, (), [], 0), [parked, NodeTime("n", NOON)], 60, after(60))
    assert marks == {"parked": after(20), "n": after(40)}
    closed = replace(
        parked, free=((after(20), after(30)),), ended_at=after(90), unpaid_since=marks["parked"]
    )
    assert settle({}, (), [closed], 1000).total == 20


def test_time_that_runs() -> None:
    node = NodeTime("n", ready_at=NOON)
    assert running_seconds([node], after(90)) == 90
    assert running_seconds([node], after(-90)) == 0, "the clock went back"
    assert running_seconds([NodeTime("n", NOON, after(5))], after(90)) == 0, "it ended"
    assert running_seconds([NodeTime("n")], after(90)) == 0, "it was never Ready"
    parked = NodeTime("n", NOON, free=((after(30), None),))
    assert running_seconds([parked], after(90)) == 30
    assert (ticking([node]), ticking([parked]), ticking([NodeTime("n")])) == (1, 0, 0)
    again = NodeTime("n", NOON, free=((after(30), after(40)),))
    assert (running_seconds([again], after(90)), ticking([again])) == (80, 1)


def test_an_end_before_ready_is_no_time() -> None:
    assert by_day(NodeTime("n", NOON, after(-1))) == {}
    assert settle({}, (), [NodeTime("n", NOON, after(-1))], 100).settling == (("n", 0),)

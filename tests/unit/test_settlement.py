"""Seconds by UTC day: each once, no more than was granted, none of what is on the house."""

from datetime import UTC, datetime, timedelta

from drqueue.billing.settlement import (
    NodeTime,
    by_day,
    needs_live,
    running_seconds,
    settle,
    ticking,
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
    there: list[NodeTime], granted: int, random: object
) -> None:
    once = settle({}, (), there, granted)
    shuffled = sorted(there, key=lambda node: hash((node.uid, str(random))))
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

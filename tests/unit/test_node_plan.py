"""A node launches once, drains within its grace, and records one end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from drqueue.control.errors import REFUSED_AGAIN
from drqueue.control.node_plan import (
    AT_ONCE,
    QUIET_START,
    TO_GIVE_BACK,
    End,
    Node,
    NodePlan,
    Parked,
    Seen,
    plan,
    refused,
)
from drqueue.farm.protocol import NodeReport
from drqueue.providers.base import Observation, Trouble
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
MADE = NOW - timedelta(minutes=5)

times = st.integers(0, 600).map(lambda s: NOW - timedelta(seconds=s))
maybe_times = st.one_of(st.none(), times)


@st.composite
def observations(draw: st.DrawFn) -> Observation | None:
    if draw(st.booleans()):
        return None
    ended = draw(st.booleans())
    ready_at = draw(maybe_times)
    return Observation(
        provider_id="studio-a/teapots-0",
        created_at=draw(times),
        ready=ready_at is not None and not ended,
        ready_at=ready_at,
        ended=ended,
        ended_at=draw(times) if ended else None,
        cause=draw(st.sampled_from(["exited", "failed", "taken"])) if ended else None,
        stops_by=draw(maybe_times),
        trouble=draw(st.sampled_from([None, Trouble("Unschedulable", "no machine")])),
    )


@st.composite
def parked(draw: st.DrawFn) -> Parked:
    """Intervals one after another; the last may go on."""
    marks = sorted(draw(st.lists(times, max_size=7, unique=True)))
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    return (*pairs, (marks[-1], None)) if len(marks) % 2 else tuple(pairs)


nodes = st.builds(
    Node,
    created_at=times,
    startup_deadline=st.sampled_from([timedelta(seconds=30), timedelta(minutes=10)]),
    drain_grace=st.sampled_from([timedelta(), timedelta(minutes=1), timedelta(hours=1)]),
    drain=st.booleans(),
    patient=st.booleans(),
    idle_since=maybe_times,
    parks_free=st.booleans(),
    parked=parked(),
    going=st.booleans(),
    launched=st.booleans(),
    refused_since=maybe_times,
    ready_at=maybe_times,
    drain_started_at=maybe_times,
    ended_at=maybe_times,
)
reports = st.one_of(
    st.none(),
    st.builds(
        NodeReport,
        uid=st.just("uid-0"),
        name=st.just("teapots-0"),
        state=st.sampled_from(["open", "closed", "ended"]),
        block=st.sampled_from([None, "turntable/1-2"]),
    ),
)
sights = st.builds(
    Seen,
    session=st.sampled_from(["live", "ending", "gone"]),
    may_launch=st.booleans(),
    outside=observations(),
    at_master=reports,
    master_answers=st.booleans(),
    settled=st.booleans(),
    unpaid_since=maybe_times,
)


def written(node: Node, planned: NodePlan) -> Node:
    """The node after its status was written."""
    end = planned.end
    return replace(
        node,
        launched=node.launched or planned.phase in ("Launching", "Ready", "Draining"),
        ready_at=node.ready_at or planned.ready_at,
        drain_started_at=node.drain_started_at or planned.drain_started_at,
        ended_at=node.ended_at or (end.at if end else None),
        parked=planned.parked,
    )


@given(nodes, sights)
def test_a_node_launches_only_when_wanted_and_never_twice(node: Node, seen: Seen) -> None:
    planned = plan(node, seen, NOW)
    if "launch" in planned.steps:
        assert not node.launched
        assert seen.outside is None
        assert seen.may_launch
        assert seen.session == "live"
        assert not (node.drain or node.going or node.ended_at)


@given(nodes, sights)
def test_one_end_and_not_before_it_was_ready(node: Node, seen: Seen) -> None:
    planned = plan(node, seen, NOW)
    if planned.end is not None:
        assert node.ended_at is None
        again = plan(written(node, planned), seen, NOW)
        assert again.end is None
        if node.ready_at and node.ready_at <= NOW:
            assert planned.end.at >= node.ready_at or planned.end.reason == "StartupDeadline"


@given(nodes, sights)
def test_it_is_let_go_only_when_nothing_is_outside_and_its_time_is_settled(
    node: Node, seen: Seen
) -> None:
    planned = plan(node, seen, NOW)
    if "let_go" in planned.steps:
        assert node.ended_at is not None
        assert seen.outside is None
        assert seen.settled or seen.session == "gone"
    if "release" in planned.steps:
        assert node.ended_at is not None


@given(nodes, sights)
def test_a_stop_that_is_under_way_is_not_repeated(node: Node, seen: Seen) -> None:
    planned = plan(node, seen, NOW)
    if planned.stop is None or seen.outside is None:
        return
    stopping = replace(seen.outside, stops_by=NOW + planned.stop)
    again = plan(written(node, planned), replace(seen, outside=stopping), NOW)
    assert again.stop is None


@given(nodes, sights)
def test_a_block_is_cut_only_when_its_grace_is_over_or_nobody_wants_it(
    node: Node, seen: Seen
) -> None:
    planned = plan(node, seen, NOW)
    report = seen.at_master
    renders = report is not None and report.block is not None
    if planned.stop is not None and renders and not node.going and seen.session == "live":
        started = node.drain_started_at or NOW
        never_ready = (node.ready_at or (seen.outside and seen.outside.ready_at)) is None
        assert node.drain
        assert never_ready or not node.patient
        grace_over = started + node.drain_grace <= NOW
        unpaid = seen.unpaid_since is not None and (
            node.ready_at is None
            or seen.unpaid_since + max(seen.unpaid_since - node.ready_at, timedelta()) <= NOW
            or node.parked != ()
        )
        assert never_ready or grace_over or unpaid


@given(nodes, sights)
def test_free_intervals_follow_one_another_and_are_closed_at_the_end(
    node: Node, seen: Seen
) -> None:
    planned = plan(node, seen, NOW)
    ends = [until for _, until in planned.parked]
    assert None not in ends[:-1]
    for (_, until), (since, _) in pairwise(planned.parked):
        assert until is not None
        assert until <= since
    assert all(until is None or since <= until for since, until in planned.parked)
    after = written(node, planned)
    if after.ended_at is not None or node.idle_since is None:
        assert None not in ends
    if len(planned.parked) > len(node.parked):
        assert node.parks_free
    again = plan(after, seen, NOW)
    if not (node.parked and node.idle_since and node.idle_since > node.parked[-1][0]):
        assert again.parked == planned.parked
    # kept anew while the last one was still open: that is closed in this look, the next one opened
    assert again.parked[: len(planned.parked)] == planned.parked
    assert plan(written(after, again), seen, NOW).parked == again.parked
    if not node.parked and after.ready_at is not None and None not in ends:
        free = sum((u - s for s, u in planned.parked if u), timedelta())
        assert free <= max(NOW, after.ended_at or NOW) - after.ready_at - free


def running(**more: object) -> Observation:
    made = Observation("studio-a/n", created_at=MADE, ready=True, ready_at=MADE)
    return replace(made, **more)  # type: ignore[arg-type]


def node(**more: object) -> Node:
    made = Node(MADE, timedelta(minutes=10), timedelta(minutes=30), launched=True, ready_at=MADE)
    return replace(made, **more)  # type: ignore[arg-type]


def seen(**more: object) -> Seen:
    return replace(Seen(session="live", may_launch=True, outside=running()), **more)  # type: ignore[arg-type]


IDLE = NodeReport(uid="u", name="n", state="closed")
BUSY = NodeReport(uid="u", name="n", state="closed", block="turntable/1-2")


@pytest.mark.parametrize(
    ("node_", "seen_", "steps", "stop", "phase"),
    [
        pytest.param(node(), seen(), (), None, "Ready", id="nothing to do"),
        pytest.param(
            node(launched=False, ready_at=None),
            seen(outside=None),
            ("launch",),
            None,
            "Launching",
            id="launch",
        ),
        pytest.param(
            node(launched=False, ready_at=None),
            seen(outside=None, may_launch=False),
            (),
            None,
            "Pending",
            id="the master is not there yet",
        ),
        pytest.param(
            node(drain=True),
            seen(master_answers=True),
            ("close",),
            None,
            "Draining",
            id="closed before anything else",
        ),
        pytest.param(
            node(drain=True), seen(at_master=BUSY), (), None, "Draining", id="its block goes on"
        ),
        pytest.param(
            node(drain=True), seen(at_master=IDLE), (), TO_GIVE_BACK, "Draining", id="idle: stop"
        ),
        pytest.param(
            node(drain=True, drain_started_at=NOW - timedelta(minutes=30)),
            seen(at_master=BUSY),
            (),
            TO_GIVE_BACK,
            "Draining",
            id="the grace is over",
        ),
        pytest.param(
            node(going=True), seen(at_master=BUSY), (), AT_ONCE, "Draining", id="deleted: at once"
        ),
        pytest.param(
            node(),
            seen(session="ending", at_master=BUSY),
            (),
            AT_ONCE,
            "Draining",
            id="the session is deleted",
        ),
    ],
)
def test_what_comes_next(
    node_: Node, seen_: Seen, steps: tuple[str, ...], stop: timedelta | None, phase: str
) -> None:
    planned = plan(node_, seen_, NOW)
    assert (planned.steps, planned.stop, planned.phase) == (steps, stop, phase)


@pytest.mark.parametrize(
    ("paid", "drains", "stops_in"),
    [
        pytest.param(3600, 0, 1800, id="the class's grace, where more was paid for"),
        pytest.param(3600, 600, 1200, id="which began with the drain"),
        pytest.param(600, 0, 600, id="no longer than what was paid for"),
        pytest.param(600, 1100, 600, id="counted from when the time was used up"),
        pytest.param(0, 0, 0, id="nothing was paid for: nothing is free"),
    ],
)
def test_what_is_finished_on_the_house_is_bounded(paid: int, drains: int, stops_in: int) -> None:
    ready = NOW - timedelta(seconds=paid)
    went = NOW - timedelta(seconds=drains)
    used_up = replace(seen(at_master=BUSY), unpaid_since=NOW, outside=running(ready_at=ready))
    draining = node(drain=True, ready_at=ready, drain_started_at=went)
    planned = plan(draining, used_up, NOW)
    assert planned.stop == (None if stops_in else TO_GIVE_BACK)
    if stops_in:
        assert planned.look_again == timedelta(seconds=stops_in)
    over = NOW + timedelta(seconds=stops_in)
    assert plan(draining, used_up, over).stop == TO_GIVE_BACK
    assert plan(draining, used_up, over - timedelta(seconds=1)).stop is None or not stops_in
    # its block may take as long as it takes: for as long as its session says so
    assert plan(replace(draining, patient=True), used_up, over).stop is None


def test_time_parked_free_pays_for_none_that_is_finished_on_the_house() -> None:
    parked = node(drain=True, parked=((minutes_ago(4), minutes_ago(2)),))
    used_up = replace(seen(at_master=BUSY), unpaid_since=NOW)
    assert plan(parked, used_up, NOW).look_again == timedelta(minutes=3)


ENDED = running(ready=False, ended=True, ended_at=NOW)


@pytest.mark.parametrize(
    ("node_", "outside", "reason", "drained"),
    [
        (node(), replace(ENDED, cause="failed"), "Failed", False),
        (node(), replace(ENDED, cause="exited"), "Completed", True),
        (node(drain=True), replace(ENDED, cause="exited"), "Drained", True),
        (node(), replace(ENDED, cause="taken", stops_by=NOW), "Deleted", True),
        (node(), replace(ENDED, cause="taken"), "Lost", True),
    ],
)
def test_why_it_ended(node_: Node, outside: Observation, reason: str, drained: bool) -> None:
    end = plan(node_, seen(outside=outside), NOW).end
    assert end is not None
    assert (end.at, end.reason, end.drained) == (NOW, reason, drained)


def test_what_is_no_longer_wanted_never_gets_a_pod() -> None:
    planned = plan(node(launched=False, ready_at=None, drain=True), seen(outside=None), NOW)
    assert planned.end == End(NOW, "Drained", "not needed")


def test_one_that_never_gets_ready_is_ended_at_its_deadline() -> None:
    trouble = Trouble("ImagePullFailed", "no such image")
    outside = Observation("studio-a/n", created_at=NOW - timedelta(minutes=10), trouble=trouble)
    end = plan(node(ready_at=None), seen(outside=outside), NOW).end
    assert end is not None
    assert end.reason == "StartupDeadline"
    assert "no such image" in end.message


@pytest.mark.parametrize(
    ("node_", "may_launch", "steps", "phase", "quiet"),
    [
        pytest.param({}, True, ("launch",), "Launching", True, id="waited long for its master"),
        pytest.param(
            {"refused_since": NOW - timedelta(minutes=9)},
            True,
            ("launch",),
            "Launching",
            True,
            id="tried again before the deadline",
        ),
        pytest.param(
            {"refused_since": NOW - timedelta(minutes=10)},
            True,
            ("confirm_gone",),
            "Ended",
            False,
            id="the deadline",
        ),
        pytest.param(
            {"refused_since": NOW - timedelta(days=3)},
            False,
            (),
            "Pending",
            False,
            id="the master went meanwhile: that is written down, and it begins anew",
        ),
    ],
)
def test_a_launch_that_is_refused(
    node_: dict[str, datetime], may_launch: bool, steps: tuple[str, ...], phase: str, quiet: bool
) -> None:
    made = node(created_at=NOW - timedelta(days=3), launched=False, ready_at=None, **node_)
    planned = plan(made, seen(outside=None, may_launch=may_launch), NOW)
    assert (planned.steps, planned.phase, planned.quiet) == (steps, phase, quiet)


def test_why_a_launch_was_refused_is_said_until_its_end() -> None:
    made = node(launched=False, ready_at=None)
    first = refused(made, "exceeded quota", NOW)
    assert (first.phase, first.trouble) == ("Pending", Trouble("LaunchRefused", "exceeded quota"))
    assert first.look_again == REFUSED_AGAIN
    since = NOW - timedelta(minutes=9, seconds=50)
    again = replace(made, refused_since=since, refusal="exceeded quota")
    assert refused(again, "exceeded quota", NOW).look_again == timedelta(seconds=10)
    end = plan(again, seen(outside=None), since + made.startup_deadline).end
    assert end is not None
    assert (end.reason, end.at) == ("StartupDeadline", since + made.startup_deadline)
    assert "exceeded quota" in end.message


def test_a_launch_that_is_allowed_at_last_is_written_down_at_once() -> None:
    young = Observation("studio-a/n", created_at=NOW)
    made = node(launched=False, ready_at=None, refused_since=NOW - timedelta(days=1))
    planned = plan(made, seen(outside=young), NOW)
    assert (planned.phase, planned.quiet, planned.trouble) == ("Launching", False, None)


def test_a_quick_start_is_not_written_down_twice() -> None:
    young = Observation("studio-a/n", created_at=NOW - timedelta(seconds=1))
    planned = plan(node(launched=False, ready_at=None), seen(outside=young), NOW)
    assert planned.quiet
    assert planned.look_again == QUIET_START - timedelta(seconds=1)
    old = replace(young, created_at=NOW - QUIET_START)
    assert not plan(node(launched=False, ready_at=None), seen(outside=old), NOW).quiet


def test_a_pod_that_vanished_costs_nothing_by_guess() -> None:
    planned = plan(node(), seen(outside=None), NOW)
    assert planned.end is not None
    assert planned.end.reason == "Lost"
    assert planned.end.at == MADE


def minutes_ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("node_", "phase", "parked"),
    [
        pytest.param(node(idle_since=minutes_ago(2)), "Parked", (), id="billed"),
        pytest.param(
            node(idle_since=minutes_ago(2), parks_free=True),
            "Parked",
            ((minutes_ago(2), None),),
            id="on the house",
        ),
        pytest.param(
            node(parks_free=True, parked=((minutes_ago(2), None),)),
            "Ready",
            ((minutes_ago(2), NOW),),
            id="used again",
        ),
        pytest.param(
            node(
                ready_at=minutes_ago(5),
                idle_since=minutes_ago(3),
                parks_free=True,
                parked=((minutes_ago(3), None),),
            ),
            "Parked",
            ((minutes_ago(3), minutes_ago(1)),),
            id="free no longer than it was in use",
        ),
        pytest.param(
            node(
                ready_at=minutes_ago(5),
                idle_since=minutes_ago(3),
                parks_free=True,
                parked=((minutes_ago(3), minutes_ago(1)),),
            ),
            "Parked",
            ((minutes_ago(3), minutes_ago(1)),),
            id="and not again for the same rest",
        ),
        pytest.param(
            node(
                idle_since=minutes_ago(1.5),
                parks_free=True,
                parked=((minutes_ago(2), minutes_ago(1)),),
            ),
            "Parked",
            ((minutes_ago(2), minutes_ago(1)), (minutes_ago(1), None)),
            id="no second is free twice",
        ),
    ],
)
def test_parking(node_: Node, phase: str, parked: Parked) -> None:
    planned = plan(node_, seen(), NOW)
    assert (planned.phase, planned.parked) == (phase, parked)


def test_what_parks_when_its_pod_ends_is_free_until_that_end() -> None:
    gone = running(ended=True, ended_at=minutes_ago(1), cause="taken")
    parks = node(idle_since=minutes_ago(3), parks_free=True, parked=((minutes_ago(3), None),))
    planned = plan(parks, seen(outside=gone), NOW)
    assert planned.parked == ((minutes_ago(3), minutes_ago(1)),)


def test_a_patient_drain_waits_for_its_block_and_has_its_grace_from_when_it_may_not_any_more() -> (
    None
):
    patient = node(drain=True, patient=True)
    planned = plan(patient, seen(at_master=BUSY), NOW)
    assert (planned.stop, planned.drain_started_at) == (None, None)
    later = plan(patient, seen(at_master=BUSY), NOW + timedelta(days=2))
    assert later.stop is None
    hurried = plan(replace(patient, patient=False), seen(at_master=BUSY), NOW)
    assert (hurried.stop, hurried.drain_started_at) == (None, NOW)
    assert plan(patient, seen(at_master=IDLE), NOW).stop == TO_GIVE_BACK

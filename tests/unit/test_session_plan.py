"""How many nodes a session has: never too many, idle ones go first, time is added once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from drqueue.control.idle import IdleRules
from drqueue.control.session_plan import (
    BATCH,
    NodeView,
    Seen,
    SessionPlan,
    Wanted,
    plan,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
HOUR = 3600


idle_times = st.one_of(st.none(), st.integers(0, 900).map(lambda s: NOW - timedelta(seconds=s)))
idle_rules = st.builds(
    IdleRules,
    policy=st.sampled_from(["Shutdown", "ShutdownWithDelay", "Park"]),
    park_time=st.integers(0, 900).map(lambda s: timedelta(seconds=s)),
    billing_period=st.sampled_from([timedelta(minutes=1), timedelta(hours=1)]),
    shutdown_before=st.sampled_from([timedelta(), timedelta(seconds=50)]),
)


@st.composite
def nodes(draw: st.DrawFn) -> tuple[NodeView, ...]:
    indices = draw(st.lists(st.integers(0, 20), unique=True, max_size=12))
    made = []
    for index in indices:
        ready = draw(st.one_of(st.none(), st.integers(0, 7200)))
        ended = draw(st.one_of(st.none(), st.integers(0, ready or 7200)))
        made.append(
            NodeView(
                index=index,
                uid=f"uid-{index}",
                ready_at=None if ready is None else NOW - timedelta(seconds=ready),
                ended_at=None if ended is None else NOW - timedelta(seconds=ended),
                made_at=NOW - timedelta(seconds=(ready or ended or 0) + draw(st.integers(0, 60))),
                idle_since=draw(idle_times) if ready is not None else None,
                drain=draw(st.booleans()),
                patient=draw(st.booleans()),
                going=draw(st.booleans()),
                busy=ready is not None and ended is None and draw(st.booleans()),
                useful=draw(st.integers(0, 4)) > 0,
            )
        )
    return tuple(made)


@st.composite
def sights(draw: st.DrawFn) -> Seen:
    there = draw(nodes())
    ended = [node.uid for node in there if node.ended_at is not None]
    counted = [uid for uid in ended if draw(st.booleans())] + draw(
        st.lists(st.sampled_from(["gone-1", "gone-2"]), unique=True)
    )
    seconds = [(uid, draw(st.integers(0, 5000))) for uid in counted]
    marked = [node for node in there if node.uid not in counted and draw(st.integers(0, 3)) == 0]
    unpaid = {node.uid: (node.ready_at or NOW) + timedelta(seconds=60) for node in marked}
    there = tuple(replace(node, unpaid_since=unpaid.get(node.uid)) for node in there)
    return Seen(
        nodes=there,
        blocks=draw(st.integers(0, 30)),
        blocks_known=draw(st.booleans()),
        silent=draw(st.booleans()),
        may_launch=draw(st.booleans()),
        allowed=draw(st.one_of(st.none(), st.integers(0, 14))),
        launch_room=draw(st.one_of(st.none(), st.integers(0, 2))),
        settled_days={
            "2026-01-30": draw(st.integers(0, 3000)),
            "2026-01-31": sum(n for _, n in seconds),
        },
        settling=tuple(seconds),
        unpaid={
            **unpaid,
            **dict.fromkeys(draw(st.sets(st.sampled_from(["not-seen", *counted]))), NOW),
        },
    )


wishes = st.builds(
    Wanted,
    nodes=st.integers(1, 12),
    granted_seconds=st.integers(1, 20 * HOUR),
    suspend=st.booleans(),
    idle=idle_rules,
)


def carried_out(seen: Seen, planned: SessionPlan) -> Seen:
    """The world after a plan's actions, before anything else happens."""
    after = [
        replace(
            node,
            drain=node.drain or node.index in planned.drain,
            patient=(node.patient or node.index in planned.patient)
            and node.index not in planned.hurry,
            idle_since=NOW
            if node.index in planned.idle
            else None
            if node.index in planned.resume
            else node.idle_since,
            going=node.going or node.index in planned.delete,
        )
        for node in seen.nodes
    ]
    after = [replace(node, unpaid_since=planned.unpaid.get(node.uid)) for node in after]
    after += [NodeView(index=index, uid=f"uid-new-{index}") for index in planned.create]
    return replace(
        seen,
        nodes=tuple(after),
        settled_days=planned.settled_days,
        settling=planned.settling,
        unpaid=planned.unpaid,
    )


@given(wishes, sights())
def test_never_more_nodes_than_bought_needed_or_paid_for(wanted: Wanted, seen: Seen) -> None:
    planned = plan(wanted, seen, NOW)
    live = sum(node.live for node in seen.nodes)
    if planned.create:
        assert live + len(planned.create) <= wanted.nodes
        staying = sum(n.staying and (n.useful or n.busy) for n in seen.nodes)
        certain_or_all = staying if seen.blocks_known else sum(n.staying for n in seen.nodes)
        assert certain_or_all + len(planned.create) <= min(wanted.nodes, seen.blocks)
        if seen.allowed is not None:
            assert live + len(planned.create) <= seen.allowed
        if seen.launch_room is not None:
            assert len(planned.create) <= seen.launch_room
        assert not wanted.suspend
        assert planned.remaining_seconds > 0
        assert seen.may_launch
    assert planned.desired <= wanted.nodes
    assert len(planned.create) <= BATCH


@given(wishes, sights())
def test_no_index_is_used_twice(wanted: Wanted, seen: Seen) -> None:
    planned = plan(wanted, seen, NOW)
    taken = {node.index for node in seen.nodes}
    assert not taken & set(planned.create)
    assert len(set(planned.create)) == len(planned.create)


@given(wishes, sights())
def test_a_busy_node_stays_while_an_idle_one_does(wanted: Wanted, seen: Seen) -> None:
    planned = plan(wanted, seen, NOW)
    ends = {node.index for node in seen.nodes if node.unpaid_since and not node.drain}
    drained = [n for n in seen.nodes if n.index in planned.drain and n.index not in ends]
    assert all(node.staying for node in drained)
    if any(node.busy for node in drained):
        kept = [n for n in seen.nodes if n.staying and n.index not in planned.drain]
        assert all(node.busy for node in kept)


@given(wishes, sights())
def test_only_what_was_not_bought_is_drained_on_a_guess(wanted: Wanted, seen: Seen) -> None:
    planned = plan(wanted, replace(seen, blocks_known=False), NOW)
    staying = sum(node.staying for node in seen.nodes)
    bought = min(wanted.nodes, planned.remaining_seconds)
    assert planned.idle == ()
    if seen.allowed is not None:
        bought = min(bought, seen.allowed)
    if not wanted.suspend and not planned.exhausted:
        unpaid = [n for n in seen.nodes if n.unpaid_since and n.live and not (n.drain or n.going)]
        assert len(planned.drain) == max(staying - bought, 0) + len(unpaid)


@given(wishes, sights())
def test_planning_again_does_nothing_more(wanted: Wanted, seen: Seen) -> None:
    first = plan(wanted, seen, NOW)
    second = plan(wanted, carried_out(seen, first), NOW)
    if seen.launch_room is None:
        assert second.create == ()
    assert second.drain == second.hurry == second.idle == second.resume == ()
    assert second.settled_days == first.settled_days
    assert second.settling == first.settling
    assert second.unpaid == first.unpaid
    if seen.launch_room is None:
        third = plan(wanted, carried_out(carried_out(seen, first), second), NOW)
        assert third.delete == ()


@given(wishes, sights())
def test_each_node_is_settled_once_and_within_the_grant(wanted: Wanted, seen: Seen) -> None:
    planned = plan(wanted, seen, NOW)
    before, after = dict(seen.settling), dict(planned.settling)
    added = 0
    for node in seen.nodes:
        if node.uid in before:
            assert after[node.uid] == before[node.uid]
        elif node.ended_at is not None:
            lasted = node.ended_at - node.ready_at if node.ready_at else timedelta()
            assert 0 <= after[node.uid] <= max(lasted.total_seconds(), 0)
            added += after[node.uid]
        else:
            assert node.uid not in after
    settled = sum(planned.settled_days.values())
    assert settled == sum(seen.settled_days.values()) + added
    assert set(after) <= {node.uid for node in seen.nodes}, "forgotten when the node is gone"
    if added:
        assert settled <= wanted.granted_seconds
    assert 0 <= planned.used_seconds <= wanted.granted_seconds
    assert planned.used_seconds + planned.remaining_seconds == wanted.granted_seconds


@given(wishes, sights())
def test_marks_stay_until_their_node_is_settled_and_marked_nodes_go(
    wanted: Wanted, seen: Seen
) -> None:
    planned = plan(wanted, seen, NOW)
    settled = {uid for uid, _ in (*seen.settling, *planned.settling)}
    assert (
        seen.unpaid.items()
        >= {uid: since for uid, since in planned.unpaid.items() if uid in seen.unpaid}.items()
    )
    assert seen.unpaid.keys() - settled <= planned.unpaid.keys()
    assert not settled & planned.unpaid.keys()
    for node in seen.nodes:
        if node.live and node.uid not in settled and not node.going:
            if planned.exhausted:
                assert node.uid in planned.unpaid
            if node.uid in planned.unpaid:
                assert node.drain or node.index in planned.drain
                assert not node.patient or node.index in (*planned.drain, *planned.hurry)
                assert node.index not in planned.patient


@given(wishes, sights())
def test_a_node_is_deleted_only_after_its_time_was_written(wanted: Wanted, seen: Seen) -> None:
    planned = plan(wanted, seen, NOW)
    written = {uid for uid, _ in seen.settling}
    for node in seen.nodes:
        if node.index in planned.delete:
            assert node.uid in written


@given(wishes, sights())
def test_fairness_takes_no_node_from_a_running_block(wanted: Wanted, seen: Seen) -> None:
    """Whatever a share does, a block that the session paid for runs to its end."""
    planned = plan(wanted, seen, NOW)
    freely = plan(wanted, replace(seen, allowed=None), NOW)
    assert planned.wish == freely.wish
    assert planned.desired <= freely.desired
    assert set(planned.patient) <= set(planned.drain)
    busy = {node.index for node in seen.nodes if node.busy}
    assert set(planned.drain) & busy - set(freely.drain) <= set(planned.patient)
    assert planned.hurry == freely.hurry
    if wanted.suspend or planned.exhausted:
        assert planned.patient == ()
    if wanted.suspend or planned.exhausted or seen.silent:
        waiting = {n.index for n in seen.nodes if n.patient and n.live and not n.going}
        assert set(planned.hurry) == waiting


@given(wishes, sights())
def test_each_node_has_one_fate(wanted: Wanted, seen: Seen) -> None:
    planned = plan(wanted, seen, NOW)
    fates = [*planned.drain, *planned.idle, *planned.resume]
    assert len(fates) == len(set(fates))
    for node in seen.nodes:
        if node.index in planned.idle:
            assert node.staying
            assert node.ready_at is not None
            assert wanted.idle.policy != "Shutdown"
        if node.index in planned.hurry:
            assert node.patient
            assert not node.going
    kept = [n for n in seen.nodes if n.idle_since and n.staying and n.index not in planned.drain]
    if kept and seen.blocks_known and any(n.index not in planned.resume for n in kept):
        assert planned.look_again is not None
        assert planned.look_again > timedelta()


def ready(index: int, seconds: int = 100, **more: Any) -> NodeView:
    return NodeView(index, f"uid-{index}", ready_at=NOW - timedelta(seconds=seconds), **more)


def test_scaling_up_takes_free_indices() -> None:
    seen = Seen(nodes=(ready(0), ready(2)), blocks=10)
    assert plan(Wanted(5, 10 * HOUR), seen, NOW).create == (1, 3, 4)


def test_a_big_session_is_made_in_batches_so_that_an_edit_counts_at_once() -> None:
    wanted, seen = Wanted(500, 500 * HOUR), Seen(blocks=500)
    first = plan(wanted, seen, NOW)
    assert len(first.create) == BATCH
    edited = plan(replace(wanted, nodes=10), carried_out(seen, first), NOW)
    assert edited.create == ()
    assert len(edited.drain) == BATCH - 10


def test_a_draining_node_counts_until_it_has_ended() -> None:
    seen = Seen(nodes=(ready(0, drain=True, busy=True), ready(1)), blocks=10)
    assert plan(Wanted(2, HOUR), seen, NOW).create == ()


@pytest.mark.parametrize(
    ("used", "drained"), [(0, ()), (HOUR - 101, ()), (HOUR - 100, (0,)), (HOUR, (0,))]
)
def test_at_zero_the_nodes_drain(used: int, drained: tuple[int, ...]) -> None:
    seen = Seen(nodes=(ready(0, busy=True),), blocks=5, settled_days={"2026-01-30": used})
    planned = plan(Wanted(1, HOUR), seen, NOW)
    assert planned.drain == drained
    assert planned.exhausted == bool(drained)
    if not drained:
        assert planned.look_again == timedelta(seconds=HOUR - used - 100)


def test_idle_nodes_that_no_job_can_use_make_room() -> None:
    seen = Seen(nodes=(ready(0, useful=False), ready(1)), blocks=2)
    planned = plan(Wanted(2, HOUR), seen, NOW)
    assert planned.drain == (0,)
    assert planned.create == (), "the old one still counts until it has ended"


PARK = IdleRules("Park")
DELAY = IdleRules("ShutdownWithDelay")


def idle_at(minutes: float | None) -> datetime | None:
    return None if minutes is None else NOW - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("rules", "age", "idle_for", "fate", "look_again"),
    [
        pytest.param(IdleRules(), 30, None, "drain", None, id="Shutdown: at once"),
        pytest.param(PARK, 30, None, "idle", 10, id="Park: from now on"),
        pytest.param(PARK, 30, 4, None, 6, id="Park: six minutes left"),
        pytest.param(PARK, 30, 10, "drain", None, id="Park: over"),
        pytest.param(DELAY, 30, None, "idle", 25, id="Delay: until 5 minutes before the hour"),
        pytest.param(DELAY, 54, 10, None, 1, id="Delay: one minute left"),
        pytest.param(DELAY, 55, 10, "drain", None, id="Delay: 5 minutes before the hour"),
        pytest.param(DELAY, 57, None, "drain", None, id="Delay: idle in the last 5 minutes"),
        pytest.param(DELAY, 61, None, "idle", 54, id="Delay: another hour has begun"),
        pytest.param(DELAY, 61, 10, "drain", None, id="Delay: its time passed while nobody looked"),
    ],
)
def test_idle_policies(
    rules: IdleRules, age: int, idle_for: int | None, fate: str | None, look_again: int | None
) -> None:
    made = NOW - timedelta(minutes=age)
    node = replace(ready(0), made_at=made, idle_since=idle_at(idle_for))
    planned = plan(Wanted(1, 100 * HOUR, idle=rules), Seen(nodes=(node,)), NOW)
    assert planned.drain == ((0,) if fate == "drain" else ())
    assert planned.idle == ((0,) if fate == "idle" else ())
    minutes = planned.look_again and planned.look_again.total_seconds() / 60
    assert look_again is None or minutes == look_again


def test_a_parked_node_is_taken_before_a_new_one_is_started() -> None:
    parked = replace(ready(0), idle_since=idle_at(5))
    planned = plan(Wanted(3, 100 * HOUR, idle=PARK), Seen(nodes=(parked,), blocks=2), NOW)
    assert planned.resume == (0,)
    assert planned.create == (1,)


def test_a_node_that_has_not_got_ready_is_not_parked() -> None:
    planned = plan(Wanted(1, HOUR, idle=PARK), Seen(nodes=(NodeView(0, "uid-0"),)), NOW)
    assert planned.drain == (0,)


@pytest.mark.parametrize("wanted", [Wanted(2, HOUR, suspend=True, idle=PARK), Wanted(2, 50)])
def test_what_is_not_bought_is_not_parked(wanted: Wanted) -> None:
    parked = replace(ready(0), idle_since=idle_at(1))
    assert plan(wanted, Seen(nodes=(parked, ready(1))), NOW).drain == (0, 1)


def test_a_share_that_shrinks_has_blocks_finish_and_grows_no_other_node() -> None:
    seen = Seen(nodes=(ready(0, busy=True), ready(1, busy=True), ready(2)), blocks=9, allowed=1)
    planned = plan(Wanted(5, HOUR), seen, NOW)
    assert (planned.drain, planned.patient, planned.create) == ((1, 2), (1, 2), ())
    drained = carried_out(seen, planned)
    suspended = plan(Wanted(5, HOUR, suspend=True), drained, NOW)
    assert suspended.hurry == (1, 2)

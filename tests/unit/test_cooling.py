"""Nodes that fail one after another: growing waits, for those whom it concerns only."""

from datetime import UTC, datetime, timedelta

import pytest
from drqueue.control.cooling import FIRST_PAUSE, LONGEST_PAUSE, SEVERAL, Cooling, Room, restored
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def failing(times: int, tenant: str = "a", cooling: Cooling | None = None) -> Cooling:
    """Each try fails as soon as it may be made."""
    cooling = cooling or Cooling()
    for _ in range(times):
        streak = cooling.streaks.get(tenant)
        at = max(streak.until, NOW) if streak else NOW
        cooling = cooling.failed(tenant, "StartupDeadline", "no image", at)
    return cooling


def test_waits_grow_and_end_somewhere() -> None:
    waits, cooling, now = [], Cooling(), NOW
    for _ in range(12):
        cooling = cooling.failed("a", "Failed", "", now)
        waits.append(cooling.streaks["a"].until - now)
        now = cooling.streaks["a"].until
    assert waits[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert waits[-1] == LONGEST_PAUSE


def test_nodes_that_were_launched_together_fail_as_one() -> None:
    cooling = Cooling()
    for _ in range(64):
        cooling = cooling.failed("a", "StartupDeadline", "", NOW)
    assert cooling.failures == 1


def test_after_a_wait_one_node_is_tried() -> None:
    cooling = failing(1)
    until = NOW + FIRST_PAUSE
    assert cooling.room("a", 0, NOW) == Room(0, until)
    assert cooling.room("a", 0, until) == Room(1)
    assert cooling.room("a", 1, until) == Room(0)
    assert cooling.ready("a", until, lived=False).room("a", 0, until) == Room()


def test_a_tenant_whose_nodes_fail_keeps_only_itself_waiting() -> None:
    cooling = failing(SEVERAL - 1)
    assert cooling.room("b", 5, NOW) == Room()
    cooling = failing(SEVERAL)
    assert cooling.room("b", 0, NOW) == Room(1)
    assert cooling.room("b", 1, NOW) == Room(0)
    cooling = cooling.ready("b", cooling.streaks["a"].since, lived=False)
    assert cooling.room("b", 5, NOW) == Room()
    assert cooling.room("a", 0, NOW).nodes == 0, "its own streak goes on"


def test_when_two_tenants_fail_it_is_the_class() -> None:
    cooling = failing(1, "b", failing(2))
    assert cooling.whole_class
    assert cooling.room("c", 0, NOW) == Room(0, cooling.until)
    assert cooling.until is not None
    assert cooling.room("c", 0, cooling.until) == Room(1)
    assert not cooling.ready("c", NOW, lived=False).whole_class


def test_what_a_tenant_may_not_have_is_never_the_classs_fault_nor_told_to_others() -> None:
    cooling = Cooling()
    for tenant in ("a", "b"):
        cooling = cooling.failed(tenant, "StartupDeadline", "its quota", NOW, of_tenant=True)
    assert not cooling.whole_class
    assert cooling.room("a", 0, NOW) == Room(0, NOW + FIRST_PAUSE)
    assert cooling.room("c", 0, NOW) == Room()
    assert (cooling.reason, cooling.message) == ("StartupDeadline", "")
    assert cooling.streaks["a"].message == "its quota"
    whole = failing(1, "d", failing(1, "c", cooling))
    later = whole.failed("a", "StartupDeadline", "its quota", NOW, of_tenant=True)
    assert (later.whole_class, later.message) == (True, "no image")


def test_a_node_that_was_ready_before_the_others_failed_is_no_news() -> None:
    cooling = failing(3)
    since = cooling.streaks["a"].since
    assert since == NOW + 3 * FIRST_PAUSE
    assert cooling.ready("a", since - timedelta(seconds=1), lived=True) == cooling
    assert cooling.ready("a", since, lived=False) == Cooling()


START = timedelta(seconds=20)
"""From a node's launch until it is Ready, or fails."""


class Farm:
    """A class, and tenants that want as many nodes as they may have."""

    def __init__(self) -> None:
        self.cooling, self.now = Cooling(), NOW

    def round(self, bad: str, good: str = "", *, was_ready: bool = False) -> dict[str, int | None]:
        """All launch what they may now; the good ones' nodes get Ready, then the bad ones' fail."""
        rooms = {name: self.cooling.room(name, 0, self.now).nodes for name in bad + good}
        self.now += START
        for name in good:
            if rooms[name] != 0:
                self.cooling = self.cooling.ready(name, self.now, lived=False)
        for name in bad:
            if rooms[name] != 0:
                if was_ready:
                    self.cooling = self.cooling.ready(name, self.now, lived=False)
                self.cooling = self.cooling.failed(
                    name, "Failed", "", self.now, was_ready=was_ready
                )
        return rooms

    def wait(self) -> None:
        """Until all that wait may try again."""
        self.now = max(self.cooling.until or self.now, self.now)


@pytest.mark.parametrize("was_ready", [False, True])
@pytest.mark.parametrize("bad", ["x", "xy", "xyz"])
def test_bad_tenants_never_hold_up_one_whose_nodes_get_ready(bad: str, was_ready: bool) -> None:
    farm = Farm()
    farm.round("", "g")
    tried = 0
    for _ in range(80):
        rooms = farm.round(bad, "g", was_ready=was_ready)
        assert rooms["g"] is None
        assert not farm.cooling.whole_class
        tried += rooms[bad[0]] != 0
        farm.now += LONGEST_PAUSE / 8
    assert 8 < tried < 20, "they wait all the same"


def test_whose_nodes_fail_once_they_are_ready_prove_that_the_class_starts_nodes() -> None:
    farm = Farm()
    for _ in range(8):
        farm.round("xy", was_ready=True)
        assert farm.cooling.room("g", 5, farm.now) == Room()
        farm.wait()
    assert farm.cooling.failures == 8


def test_bad_tenants_hold_up_one_that_is_idle_for_long_no_longer_than_one_wait() -> None:
    farm = Farm()
    farm.round("", "g")
    farm.now += 3 * LONGEST_PAUSE
    for _ in range(8):
        farm.round("xy")
        farm.wait()
    farm.round("xy")
    assert farm.cooling.room("g", 0, farm.now) == Room(0, farm.cooling.until)
    farm.wait()
    assert farm.round("xy", "g")["g"] == 1
    assert farm.round("xy", "g")["g"] is None


def test_where_everyones_nodes_fail_all_wait_longer_and_longer_and_then_try_one() -> None:
    farm = Farm()
    farm.round("", "abc")
    farm.now += LONGEST_PAUSE
    waits = []
    for turn in range(12):
        rooms = farm.round("abc")
        assert set(rooms.values()) == ({None} if turn == 0 else {1})
        until = farm.cooling.until
        assert until is not None
        for name in "abcd":
            assert farm.cooling.room(name, 0, farm.now) == Room(0, until)
        waits.append(until - farm.now)
        farm.wait()
    assert waits[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert waits[-1] == LONGEST_PAUSE
    # somebody's node gets Ready: it is not the class any more, for anybody
    farm.round("", "a")
    assert (farm.cooling.suspects, farm.cooling.room("d", 5, farm.now)) == (frozenset(), Room())
    farm.round("", "bc")
    assert farm.cooling == Cooling()


def test_a_class_that_breaks_cools_down_soon_after_the_last_node_got_ready() -> None:
    farm = Farm()
    farm.round("", "ab")
    broke = farm.now
    while not farm.cooling.whole_class:
        farm.round("ab")
        farm.wait()
        assert farm.now - broke < 3 * LONGEST_PAUSE


def test_nodes_that_get_ready_and_fail_shortly_after_are_a_streak_too() -> None:
    cooling, now = Cooling(), NOW
    for _ in range(4):
        cooling = cooling.ready("a", now, lived=False)
        cooling = cooling.failed("a", "Failed", "", now, was_ready=True)
        now += timedelta(minutes=3)
    assert cooling.failures == 4
    assert cooling.ready("a", now, lived=True) == Cooling()


def test_a_streak_survives_the_operator() -> None:
    cooling = failing(4)
    assert cooling.until is not None
    again = restored(
        cooling.failures, cooling.until, cooling.streaks, cooling.reason, "", whole_class=False
    )
    assert again.room("a", 0, NOW) == cooling.room("a", 0, NOW)
    assert again.room("b", 5, NOW) == Room()
    assert (again.failures, again.reason) == (4, "StartupDeadline")
    two = failing(4, "b", cooling)
    assert two.until is not None
    again = restored(
        two.failures, two.until, two.streaks, two.reason, "no image", whole_class=two.whole_class
    )
    assert again.message == "no image"
    assert again.room("c", 0, NOW) == two.room("c", 0, NOW) == Room(0, two.until)


events = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["failed", "ready", "lived"])), max_size=12
)


@given(events, st.sampled_from("abcd"), st.integers(0, 3))
def test_whoever_waits_is_told_until_when_and_may_try_then(
    told: list[tuple[str, str]], tenant: str, starting: int
) -> None:
    cooling, now = Cooling(), NOW
    for name, what in told:
        now += timedelta(seconds=7)
        if what == "failed":
            cooling = cooling.failed(name, "Failed", "", now)
        else:
            cooling = cooling.ready(name, now, lived=what == "lived")
    room = cooling.room(tenant, starting, now)
    if room.look_again is not None:
        assert room.nodes == 0
        assert room.look_again > now
        later = cooling.room(tenant, 0, room.look_again)
        assert later.nodes == 1
    if not cooling.streaks:
        assert room == Room()

"""Sessions report, a class is shared out: limits hold at every moment, and all is given out."""

from datetime import UTC, datetime, timedelta

import pytest
from drqueue.control.fair import Claim, Limits
from drqueue.control.kinds import Key
from drqueue.control.shares import ROUND_EVERY, TURNS_EVERY, Member, Shares
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
CLASS = "cpu-small"


def member(number: int) -> Member:
    return Member(Key("RenderSession", f"studio-{number % 3}", f"s{number}"), f"uid-{number}")


def claim(number: int, want: int, have: int = 0) -> Claim:
    return Claim(f"studio-{number % 3}", want, have, NOW + timedelta(seconds=number))


class Farm(RuleBasedStateMachine):
    """Sessions that make nodes as they are told, when they please; nodes that end."""

    def __init__(self) -> None:
        super().__init__()
        self.shares, self.now = Shares(), NOW
        self.have: dict[int, int] = {}
        self.want: dict[int, int] = {}
        self.limits = Limits()

    @initialize(
        nodes=st.integers(1, 12),
        per_tenant=st.one_of(st.none(), st.integers(1, 8)),
        per_session=st.one_of(st.none(), st.integers(1, 6)),
    )
    def offer(self, nodes: int, per_tenant: int | None, per_session: int | None) -> None:
        self.limits = Limits(nodes, per_tenant, per_session)

    @rule(number=st.integers(0, 5), want=st.integers(0, 9))
    def wish(self, number: int, want: int) -> None:
        self.want[number] = want

    @rule(number=st.integers(0, 5), makes=st.integers(0, 9))
    def reconcile(self, number: int, makes: int) -> None:
        """It reports, and makes some of the nodes that it may have, or lets some go."""
        want, have = self.want.setdefault(number, 0), self.have.setdefault(number, 0)
        told = self.shares.report(
            CLASS, self.limits, member(number), claim(number, want, have), starting=0
        )
        most = want if told.nodes is None else min(want, told.nodes)
        self.have[number] = have + min(makes, max(most - have, 0))

    @rule(number=st.integers(0, 5))
    def end_a_node(self, number: int) -> None:
        if self.have.get(number):
            self.have[number] -= 1

    @rule(number=st.integers(0, 5))
    def end_a_session(self, number: int) -> None:
        if not self.have.get(number):
            self.shares.forget(member(number).key)
            self.want.pop(number, None)
            self.have.pop(number, None)

    @rule(seconds=st.integers(-5, 900))
    def share_out(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.shares.share(CLASS, self.limits, self.now)

    @rule()
    def come_to_rest(self) -> None:
        """After some rounds with all reporting, nothing is left that somebody may have."""
        for _ in range(6):
            for number in list(self.want):
                told = self.shares.report(
                    CLASS,
                    self.limits,
                    member(number),
                    claim(number, self.want[number], self.have.get(number, 0)),
                    0,
                )
                most = self.want[number]
                if told.nodes is not None:
                    most = min(most, told.nodes)
                self.have[number] = most  # blocks end, so that it may also be fewer
                if told.round_due:
                    assert self.shares.wait(CLASS, self.now) is not None
            self.shares.share(CLASS, self.limits, self.now)
        tenants: dict[int, int] = {}
        for number, want in self.want.items():
            tenants[number % 3] = tenants.get(number % 3, 0) + self.limits.session(want)
        most_each = self.limits.per_tenant
        asked = sum(n if most_each is None else min(n, most_each) for n in tenants.values())
        assert sum(self.have.values()) == min(asked, self.limits.nodes or 0)

    @invariant()
    def no_limit_is_passed(self) -> None:
        if self.limits.nodes is None:
            return
        assert sum(self.have.values()) <= self.limits.nodes
        for tenant in range(3):
            theirs = sum(n for number, n in self.have.items() if number % 3 == tenant)
            assert self.limits.per_tenant is None or theirs <= self.limits.per_tenant
        if self.limits.per_session is not None:
            assert max(self.have.values(), default=0) <= self.limits.per_session


TestFarm = Farm.TestCase
TestFarm.settings = settings(max_examples=60, stateful_step_count=40)


@pytest.mark.parametrize("others", [10, 1000])
def test_where_there_is_enough_a_report_costs_the_same_whatever_others_there_are(
    others: int,
) -> None:
    shares, limits = Shares(), Limits(100_000, per_tenant=50_000)
    for number in range(others):
        shares.report(CLASS, limits, member(number), claim(number, 5), 0)
    before = shares.looked_at
    told = shares.report(CLASS, limits, member(0), claim(0, 9), 0)
    assert (told.nodes, told.round_due) == (None, False)
    assert shares.looked_at - before == 1


def test_a_share_wakes_only_those_whose_share_changed() -> None:
    shares, limits = Shares(), Limits(6)
    for number in range(3):
        shares.report(CLASS, limits, member(number), claim(number, 3), 0)
    assert shares.wait(CLASS, NOW) == timedelta()
    changed = shares.share(CLASS, limits, NOW)
    # two have their three already, as far as anybody knows; they report, and give one back each
    assert {key.name for key in changed} == {"s0", "s1"}
    assert [shares.report(CLASS, limits, member(n), claim(n, 3), 0).nodes for n in (0, 1)] == [2, 2]
    assert shares.wait(CLASS, NOW) == ROUND_EVERY or shares.wait(CLASS, NOW) is None
    assert [key.name for key in shares.share(CLASS, limits, NOW)] == ["s2"]
    assert shares.counts(CLASS) == (0, 9, 6)


def test_turns_are_looked_at_now_and_then() -> None:
    shares, limits = Shares(), Limits(1)
    for number in range(2):
        shares.report(CLASS, limits, member(number), claim(number, 1), 0)
    shares.share(CLASS, limits, NOW)
    assert shares.wait(CLASS, NOW) == TURNS_EVERY
    shares.forget(member(1).key)
    assert shares.wait(CLASS, NOW) == ROUND_EVERY
    shares.share(CLASS, limits, NOW)
    assert shares.wait(CLASS, NOW) is None


def test_what_is_there_at_the_start_counts_before_its_session_reports() -> None:
    shares, limits = Shares(), Limits(4)
    shares.load(CLASS, [(member(0), claim(0, 0, 4))])
    assert shares.report(CLASS, limits, member(1), claim(1, 2), 0).nodes == 0

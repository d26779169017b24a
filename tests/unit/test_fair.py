"""Nodes of a class that has too few: fair among tenants, by priority in a tenant, none starves."""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from drqueue.control.fair import Claim, Limits, Shared, Standings, fair_shares
from drqueue.control.fair_turns import SWITCH, TENURE
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
TENANTS = ("studio-a", "studio-b", "studio-c", "studio-d")

limits_of_classes = st.builds(
    Limits,
    nodes=st.one_of(st.none(), st.integers(1, 60)),
    per_tenant=st.one_of(st.none(), st.integers(1, 40)),
    per_session=st.one_of(st.none(), st.integers(1, 20)),
    weights=st.dictionaries(st.sampled_from(TENANTS), st.integers(1, 1000)),
)
one_claim = st.builds(
    Claim,
    tenant=st.sampled_from(TENANTS),
    want=st.integers(0, 30),
    have=st.integers(0, 12),
    created_at=st.integers(0, 9).map(lambda n: NOW - timedelta(hours=n)),
    priority=st.sampled_from([0, 50, 51, 100]),
)
many_claims = st.lists(one_claim, max_size=12).map(
    lambda claims: {f"uid-{number}": claim for number, claim in enumerate(claims)}
)


def share(limits: Limits, claims: dict[str, Claim]) -> Shared:
    return fair_shares(limits, claims, Standings(), NOW)


def by_tenant(claims: dict[str, Claim], nodes: dict[str, int]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for uid, claim in claims.items():
        sums[claim.tenant] += nodes[uid]
    return sums


def wishes(limits: Limits, claims: dict[str, Claim]) -> dict[str, int]:
    return {uid: limits.session(claim.want) for uid, claim in claims.items()}


def demands(limits: Limits, claims: dict[str, Claim]) -> dict[str, int]:
    sums = by_tenant(claims, wishes(limits, claims))
    return {
        t: n if limits.per_tenant is None else min(n, limits.per_tenant) for t, n in sums.items()
    }


@given(limits_of_classes, many_claims)
def test_no_limit_is_passed(limits: Limits, claims: dict[str, Claim]) -> None:
    shared = share(limits, claims)
    have = {uid: claim.have for uid, claim in claims.items()}
    there = {uid: max(have[uid], shared.allowed[uid]) for uid in claims}
    for uid, wish in wishes(limits, claims).items():
        assert 0 <= shared.allowed[uid] <= shared.targets[uid] <= wish
    if limits.nodes is not None:
        assert sum(shared.targets.values()) <= limits.nodes
        assert sum(there.values()) <= max(limits.nodes, sum(have.values()))
    if limits.per_tenant is not None:
        had = by_tenant(claims, have)
        for tenant, nodes in by_tenant(claims, there).items():
            assert nodes <= max(limits.per_tenant, had[tenant])


@given(limits_of_classes, many_claims)
def test_no_node_is_left_unused_that_somebody_may_have(
    limits: Limits, claims: dict[str, Claim]
) -> None:
    targets = share(limits, claims).targets
    asked = sum(demands(limits, claims).values())
    assert sum(targets.values()) == (asked if limits.nodes is None else min(asked, limits.nodes))
    fresh = {uid: replace(claim, have=0) for uid, claim in claims.items()}
    first = share(limits, fresh)
    assert first.allowed == first.targets, "with nothing taken, all may start at once"


@given(limits_of_classes, many_claims)
def test_tenants_shares_are_weighted_max_min(limits: Limits, claims: dict[str, Claim]) -> None:
    got = by_tenant(claims, dict(share(limits, claims).targets))
    asked = demands(limits, claims)
    for poor in asked:
        if got[poor] == asked[poor]:
            continue
        for rich in asked:
            # to give the poor one a node of the rich one's would turn them round, or be even
            poorer = Fraction(got[poor] + 1, limits.weight(poor))
            assert Fraction(got[rich] - 1, limits.weight(rich)) < poorer


@given(limits_of_classes, many_claims)
def test_within_a_tenant_one_each_and_the_rest_by_priority(
    limits: Limits, claims: dict[str, Claim]
) -> None:
    targets, wanted = share(limits, claims).targets, wishes(limits, claims)
    for uid, claim in claims.items():
        for other, theirs in claims.items():
            if claim.tenant != theirs.tenant or uid == other:
                continue
            if claim.priority > theirs.priority and targets[uid] < wanted[uid]:
                assert targets[other] <= 1
                assert targets[uid] >= targets[other]
            if claim.priority == theirs.priority and targets[uid] < wanted[uid]:
                assert targets[other] <= targets[uid] + 1


@given(limits_of_classes, many_claims, st.integers(0, 3))
def test_the_same_round_again_changes_nothing(
    limits: Limits, claims: dict[str, Claim], backwards: int
) -> None:
    first = share(limits, claims)
    earlier = NOW - timedelta(hours=backwards)
    again = fair_shares(limits, claims, first.standings, earlier)
    assert again.targets == first.targets
    assert again.allowed == first.allowed


def claim(tenant: str, want: int, have: int = 0, **more: object) -> Claim:
    return replace(Claim(tenant, want, have, NOW), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nodes", "weights", "wants", "fair"),
    [
        (10, {}, {"a": 4, "b": 4}, {"a": 4, "b": 4}),
        (10, {}, {"a": 2, "b": 20, "c": 20}, {"a": 2, "b": 4, "c": 4}),
        (12, {"a": 2}, {"a": 20, "b": 20}, {"a": 8, "b": 4}),
        (12, {"a": 3, "b": 2}, {"a": 4, "b": 20, "c": 20}, {"a": 4, "b": 5, "c": 3}),
        (None, {}, {"a": 400, "b": 4}, {"a": 400, "b": 4}),
    ],
)
def test_shares_by_hand(
    nodes: int | None, weights: dict[str, int], wants: dict[str, int], fair: dict[str, int]
) -> None:
    claims = {tenant: claim(tenant, want) for tenant, want in wants.items()}
    assert share(Limits(nodes, weights=weights), claims).targets == fair


def test_a_newcomer_waits_for_nodes_and_is_first_when_they_are_free() -> None:
    limits = Limits(10)
    claims = {"old": claim("a", 10, 10), "new": claim("b", 10)}
    assert share(limits, claims).allowed == {"old": 5, "new": 0}
    claims["old"] = replace(claims["old"], have=8)
    assert share(limits, claims).allowed == {"old": 5, "new": 2}


@settings(max_examples=40)
@given(
    st.integers(1, 4),
    st.lists(
        st.tuples(st.sampled_from(TENANTS), st.integers(1, 3), st.sampled_from([0, 50, 100])),
        min_size=1,
        max_size=6,
    ),
    st.dictionaries(st.sampled_from(TENANTS), st.integers(1, 3)),
)
def test_nobody_starves(
    nodes: int, sessions: list[tuple[str, int, int]], weights: dict[str, int]
) -> None:
    """Simulated: blocks of 3 minutes, a round a minute, for a day. Each session renders."""
    limits, standings = Limits(nodes, weights=weights), Standings()
    claims = {
        f"uid-{number}": claim(tenant, want, priority=priority)
        for number, (tenant, want, priority) in enumerate(sessions)
    }
    used: dict[str, int] = dict.fromkeys(claims, 0)
    for minute in range(24 * 60):
        shared = fair_shares(limits, claims, standings, NOW + timedelta(minutes=minute))
        standings = shared.standings
        for uid, held in claims.items():
            allowed = shared.allowed[uid]
            have = held.have
            if allowed > have or minute % 3 == 0:  # fewer only at the end of a block
                have = allowed
            claims[uid] = replace(held, have=have)
            used[uid] += have
        assert sum(c.have for c in claims.values()) <= nodes
    assert all(used.values()), used
    tenants = {c.tenant for c in claims.values()}
    if len(tenants) > 1:
        asked = demands(limits, claims)
        fair = share(limits, claims).standings.debts
        for tenant in fair:  # contended: nobody is far from what is theirs, over a day
            weight = sum(limits.weight(t) for t in tenants)
            least = min(asked[tenant], nodes * limits.weight(tenant) / weight)
            got = sum(n for uid, n in used.items() if claims[uid].tenant == tenant) / (24 * 60)
            assert got >= least * 0.9 - 0.05


def test_a_node_left_over_changes_hands_only_when_the_other_is_owed_enough() -> None:
    limits = Limits(1)
    claims = {"one": claim("a", 1), "two": claim("b", 1)}
    first = share(limits, claims)
    holder = next(uid for uid, nodes in first.allowed.items() if nodes)
    waits = "two" if holder == "one" else "one"
    claims[holder] = replace(claims[holder], have=1)
    held = fair_shares(limits, claims, first.standings, NOW)
    # each second one is owed half a node more, the other half a node less
    before = NOW + timedelta(seconds=SWITCH - 1)
    assert fair_shares(limits, claims, held.standings, before).targets[holder] == 1
    after = NOW + timedelta(seconds=SWITCH + 1)
    assert fair_shares(limits, claims, held.standings, after).targets[waits] == 1


def test_who_waits_ages_and_keeps_what_that_gave_for_a_while() -> None:
    limits = Limits(1)
    claims = {"high": claim("a", 1, 1, priority=60), "low": claim("a", 1, priority=45)}
    standings, now = Standings(), NOW
    turns = []
    for _ in range(8):
        shared = fair_shares(limits, claims, standings, now)
        claims = {u: replace(c, have=shared.targets[u]) for u, c in claims.items()}
        standings = fair_shares(limits, claims, shared.standings, now).standings
        turns.append(next(uid for uid, nodes in shared.targets.items() if nodes))
        now += TENURE
    # 15 points apart: it waits two steps, gets a node for one, and waits again
    assert turns == ["high", "high", "low", "high", "high", "low", "high", "high"]

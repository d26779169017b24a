"""Candidates for one Lease on an API server in memory, with clocks of their own."""

import asyncio
from datetime import UTC, datetime

import pytest
from drqueue.control.errors import Passing
from drqueue.control.kinds import Key
from drqueue.control.leader import LEASE, Leader, Lock
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord

from tests.unit.fake_api import FakeApi

KEY = Key("Lease", "drqueue", LEASE)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def candidate(api: FakeApi, clock: Clock, name: str, seconds: float = 5) -> Leader:
    return Leader(api, "drqueue", name, seconds=seconds, clock=lambda: NOW, monotonic=clock)


async def test_the_first_takes_the_lease_and_a_second_stands_by(api: FakeApi, clock: Clock) -> None:
    first, second = candidate(api, clock, "first"), candidate(api, clock, "second")
    await first.acquire()
    assert first.may_act and not first.stands_by
    waiting = asyncio.create_task(second.acquire())
    async with asyncio.timeout(60):
        while not second.stands_by:  # noqa: ASYNC110 what is awaited is not an event
            await asyncio.sleep(0.01)
    assert not second.may_act
    spec = api.objects[KEY]["spec"]
    assert spec["holderIdentity"] == "first"
    assert spec["renewTime"] == "2026-11-25T12:00:00.000000Z"
    await first.release()
    assert not first.may_act
    async with asyncio.timeout(60):
        await waiting
    assert api.objects[KEY]["spec"]["holderIdentity"] == "second"
    assert api.objects[KEY]["spec"]["leaseTransitions"] == 1


async def test_of_two_that_take_a_free_lease_at_once_one_has_it(api: FakeApi, clock: Clock) -> None:
    first, second = candidate(api, clock, "first"), candidate(api, clock, "second")
    await first.acquire()
    await first.release()
    # Both have read the free Lease; the other's write comes first.
    theirs = candidate(api, clock, "third")
    api.before["update"] = lambda: api.objects[KEY]["metadata"].update(resourceVersion="999")
    taking = asyncio.create_task(second.acquire())
    await asyncio.sleep(0)
    assert not second.may_act
    await theirs.acquire()
    assert api.objects[KEY]["spec"]["holderIdentity"] == "third"
    taking.cancel()


async def test_a_paused_leader_may_not_act(api: FakeApi, clock: Clock) -> None:
    leader = candidate(api, clock, "only", seconds=30)
    await leader.acquire()
    clock.now += 26.0
    assert leader.may_act
    clock.now += 2.0
    assert not leader.may_act


async def test_a_lost_connection_is_a_failed_try(api: FakeApi, clock: Clock) -> None:
    api.fail["get"] = Passing("connection refused")
    leader = candidate(api, clock, "only")
    acquiring = asyncio.create_task(leader.acquire())
    await asyncio.sleep(0.05)
    assert not acquiring.done()
    api.fail.clear()
    async with asyncio.timeout(60):
        await acquiring
    assert leader.may_act


async def test_holding_ends_when_the_lease_cannot_be_renewed(api: FakeApi, clock: Clock) -> None:
    leader = candidate(api, clock, "only")
    await leader.acquire()
    api.fail["update"] = Passing("connection refused")
    async with asyncio.timeout(60):
        await leader.hold()
    assert not leader.may_act


async def test_who_reads_that_another_holds_the_lease_may_not_act(
    api: FakeApi, clock: Clock
) -> None:
    first = candidate(api, clock, "first")
    await first.acquire()
    api.objects[KEY]["spec"]["holderIdentity"] = "second"
    holding = asyncio.create_task(first.hold())
    asked = len(api.requests)
    async with asyncio.timeout(5):
        while len(api.requests) == asked:  # noqa: ASYNC110 what is awaited is not an event
            await asyncio.sleep(0.01)
    assert api.requests[-1][0] == "get"
    assert not first.may_act and not holding.done()
    await first.release()
    assert api.objects[KEY]["spec"]["holderIdentity"] == "second"

    # given up soon after, it is taken again by who holds on
    api.objects[KEY]["spec"]["holderIdentity"] = ""
    async with asyncio.timeout(5):
        while not first.may_act:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert api.objects[KEY]["spec"]["holderIdentity"] == "first"
    holding.cancel()


async def test_a_lease_lost_to_another_is_not_released(api: FakeApi, clock: Clock) -> None:
    first = candidate(api, clock, "first")
    await first.acquire()
    taken = api.objects[KEY]
    taken["spec"]["holderIdentity"] = "second"
    taken["metadata"]["resourceVersion"] = "999"
    await first.release()
    assert api.objects[KEY]["spec"]["holderIdentity"] == "second"


async def test_an_absent_lease_is_told_from_a_silent_server(api: FakeApi, clock: Clock) -> None:
    lock = Lock(api, "drqueue", "only", lambda: NOW, clock)
    found, answer = await lock.get(LEASE, "drqueue")
    assert (found, answer.body) == (False, '{"code": 404}')
    api.fail["get"] = Passing("timed out")
    found, answer = await lock.get(LEASE, "drqueue")
    assert (found, answer.body) == (False, '{"code": 0}')
    api.fail["create"] = Passing("timed out")
    assert not await lock.create(LEASE, "drqueue", LeaderElectionRecord("only", 5, "", ""))
    assert lock.held_since is None

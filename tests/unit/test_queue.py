import asyncio
from collections import Counter

import pytest
from drqueue.control.kinds import Key
from drqueue.control.queue import FIRST_BACKOFF, HELD_AT_MOST, Job, WorkQueue
from hypothesis import given
from hypothesis import strategies as st

KEYS = [Key("RenderJob", "studio", name) for name in "abc"]
A, B, C = KEYS


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(clock, lambda: 0.0)


def test_a_key_waits_once_at_its_earliest_time(clock: Clock, queue: WorkQueue) -> None:
    queue.add(A, 10.0)
    queue.add(A, 3.0)
    queue.add(A, 7.0)
    assert queue.take() is None
    clock.now += 3.5
    assert queue.take() == Job(A, 0.5)
    queue.done(A)
    clock.now += 100.0
    assert queue.take() is None


def test_a_key_added_while_it_is_worked_on_comes_back_afterwards(queue: WorkQueue) -> None:
    queue.add(A)
    assert queue.take() is not None
    queue.add(A)
    assert queue.take() is None
    assert not queue.idle()
    queue.done(A)
    assert queue.take() == Job(A, 0.0)


def test_the_key_due_longest_goes_first(clock: Clock, queue: WorkQueue) -> None:
    queue.add(B, 2.0)
    queue.add(A, 1.0)
    queue.add(C)
    clock.now += 5.0
    taken = [queue.take() for _ in range(3)]
    assert [job.key for job in taken if job] == [C, A, B]


def test_backoff_doubles_to_its_limit_and_success_forgets_it(clock: Clock) -> None:
    queue = WorkQueue(clock, lambda: 0.0, max_backoff=10.0)
    delays = []
    for _ in range(8):
        queue.add(A)
        clock.now += 10.0
        assert queue.take() is not None
        delays.append(queue.retry(A))
        queue.done(A)
    assert delays == [FIRST_BACKOFF * 2**n for n in range(6)] + [10.0, 10.0]
    queue.succeeded(A)
    assert queue.retry(A) == FIRST_BACKOFF


def test_jitter_only_lengthens(clock: Clock) -> None:
    assert WorkQueue(clock, lambda: 0.999).retry(A, 100.0) == pytest.approx(124.975)


def test_news_shortens_a_backoff_but_does_not_make_a_failing_key_spin(
    clock: Clock, queue: WorkQueue
) -> None:
    queue.add(A)
    assert queue.take()
    queue.add(A)  # what the failed reconcile wrote came back
    queue.retry(A, 300.0)
    queue.done(A)
    assert queue.take() is None
    clock.now += HELD_AT_MOST - 0.1
    assert queue.take() is None
    clock.now += 0.2
    assert queue.take() is not None


def test_without_news_a_failed_key_waits_its_backoff_out(clock: Clock, queue: WorkQueue) -> None:
    queue.add(A)
    assert queue.take()
    queue.retry(A, 300.0)
    queue.done(A)
    clock.now += 299.0
    assert queue.take() is None
    clock.now += 2.0
    assert queue.take() is not None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from(KEYS), st.floats(0, 20)),
            st.tuples(st.just("take"), st.just(A), st.just(0.0)),
            st.tuples(st.sampled_from(["done", "fail"]), st.sampled_from(KEYS), st.just(0.0)),
            st.tuples(st.just("pass"), st.just(A), st.floats(0, 20)),
        ),
        max_size=60,
    )
)
def test_nothing_asked_for_is_lost_and_no_key_is_worked_on_twice_at_once(
    steps: list[tuple[str, Key, float]],
) -> None:
    clock = Clock()
    queue = WorkQueue(clock, lambda: 0.5, max_backoff=50.0)
    running: set[Key] = set()
    owed: set[Key] = set()
    for step, key, seconds in steps:
        if step == "add":
            queue.add(key, seconds)
            owed.add(key)
        elif step == "pass":
            clock.now += seconds
        elif step == "take":
            job = queue.take()
            if job:
                assert job.key not in running
                assert job.waited >= 0.0
                running.add(job.key)
                owed.discard(job.key)
        elif key in running:
            if step == "fail":
                queue.retry(key)
                owed.add(key)
            else:
                queue.succeeded(key)
            queue.done(key)
            running.remove(key)
    for key in running:
        queue.done(key)
    clock.now += 1000.0
    rest = Counter(job.key for job in iter(queue.take, None))
    assert set(rest) == owed
    assert set(rest.values()) <= {1}


async def test_workers_are_woken_by_what_is_added_and_by_what_falls_due() -> None:
    loop = asyncio.get_running_loop()
    queue = WorkQueue(loop.time, lambda: 0.0)
    getters = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add(C, 0.05)
    queue.add(A)
    queue.add(B)
    async with asyncio.timeout(60):
        jobs = await asyncio.gather(*getters)
    assert [job.key for job in jobs] == [A, B, C]


async def test_a_cancelled_worker_takes_no_wakeup_with_it() -> None:
    queue = WorkQueue(asyncio.get_running_loop().time, lambda: 0.0)
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    queue.add(A)
    async with asyncio.timeout(60):
        assert (await second).key == A

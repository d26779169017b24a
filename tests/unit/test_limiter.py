import pytest
from drqueue.control.limiter import Limiter
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(st.lists(st.floats(0, 5), max_size=80), st.floats(1, 50), st.integers(1, 20))
def test_no_window_holds_more_than_its_share(gaps: list[float], rate: float, burst: int) -> None:
    clock = Clock()
    limiter = Limiter(rate, burst, clock)
    sent = []
    for gap in gaps:
        clock.now += gap
        sent.append(clock.now + max(0.0, limiter.reserve()))
    assert sent == sorted(sent), "in order"
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            share = burst + rate * (sent[last] - sent[first])
            assert last - first + 1 <= share + 1 + 1e-6


def test_a_burst_goes_at_once_and_then_the_rate_holds() -> None:
    limiter = Limiter(10.0, 5.0, Clock())
    delays = [max(0.0, limiter.reserve()) for _ in range(8)]
    assert delays[:5] == [0.0] * 5
    assert delays[5:] == pytest.approx([0.1, 0.2, 0.3])


async def test_a_pause_holds_those_that_wait_already() -> None:
    clock = Clock()
    limiter = Limiter(10.0, 5.0, clock, clock.sleep)
    limiter.pause(7.0)
    await limiter.wait()
    assert clock.now == pytest.approx(7.0)
    await limiter.wait()
    assert clock.now == pytest.approx(7.0), "the burst is not lost by a pause"

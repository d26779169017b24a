import pytest
from drqueue.control.hearing import DEAF_AFTER, SUSPECT_AFTER, Hearing, Scope

JOBS, PODS = Scope("RenderJob", None), Scope("Pod", "studio")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hearing(clock: Clock) -> Hearing:
    return Hearing([JOBS, PODS], clock)


def test_a_watch_that_delivers_what_it_owes_is_trusted(hearing: Hearing, clock: Clock) -> None:
    hearing.owes(JOBS, 10)
    clock.now += SUSPECT_AFTER - 1
    assert hearing.suspects() == []
    hearing.delivered(JOBS, 9)
    clock.now += 2
    assert hearing.suspects() == [JOBS]
    hearing.delivered(JOBS, 10)
    assert hearing.suspects() == []


def test_what_was_delivered_before_is_not_owed(hearing: Hearing, clock: Clock) -> None:
    hearing.delivered(JOBS, 10)
    hearing.owes(JOBS, 10)
    clock.now += DEAF_AFTER
    assert hearing.deaf() == []


def test_writes_that_go_on_do_not_put_the_doubt_off(hearing: Hearing, clock: Clock) -> None:
    for version in range(1, 200):
        hearing.owes(JOBS, version)
        clock.now += 1.0
    assert hearing.deaf() == [JOBS]


def test_a_list_without_anything_newer_clears_it(hearing: Hearing, clock: Clock) -> None:
    hearing.delivered(JOBS, 5)
    hearing.owes(JOBS, 7)  # and then that object was deleted while the watch was down
    clock.now += DEAF_AFTER
    hearing.listed(JOBS, 6)
    assert hearing.deaf() == [JOBS]
    hearing.listed(JOBS, 5)
    assert hearing.deaf() == []


def test_objects_belong_to_the_watch_of_their_kind_and_namespace(hearing: Hearing) -> None:
    assert hearing.scope_of("RenderJob", "anywhere") == JOBS
    assert hearing.scope_of("Pod", "studio") == PODS
    assert hearing.scope_of("Pod", "elsewhere") is None
    assert hearing.scope_of("Secret", "studio") is None

"""The LIST sweep, on lists that the test writes and a clock that jumps."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from typing import Any, cast

import pytest
from drqueue.control.client import Client
from drqueue.control.errors import Conflict, Forbidden, NotFound, Passing
from drqueue.control.hearing import SUSPECT_AFTER, Hearing, Scope
from drqueue.control.intake import Intake
from drqueue.control.kinds import Key, Object, Objects
from drqueue.control.metrics import Metrics
from drqueue.control.queue import WorkQueue
from drqueue.control.rights import TRIES
from drqueue.control.store import Store
from drqueue.control.sweep import Sweeper, swept_scopes, watched_scopes

JOBS = Scope("RenderJob", None)
REFUSAL: list[Objects | Exception] = [Forbidden("no")]


def job(name: str, version: int) -> Object:
    meta = {"name": name, "namespace": "studio", "uid": f"uid-{name}"}
    return {
        "kind": "RenderJob",
        "metadata": {**meta, "resourceVersion": str(version)},
        "spec": {"sessionName": "teapots"},
    }


class Lists:
    """Answers lists as the test says; an exception in the place of a page is raised."""

    def __init__(self) -> None:
        self.answers: list[list[Objects | Exception]] = []
        self.version = 100
        self.asked = 0

    async def pages(self, *_: Any, **__: Any) -> AsyncIterator[tuple[Objects, int]]:
        self.asked += 1
        for page in self.answers.pop(0) if self.answers else [[]]:
            if isinstance(page, Exception):
                raise page
            yield page, self.version


class Setting:
    def __init__(self) -> None:
        self.now = 0.0
        self.lists = Lists()
        self.store = Store(lambda: self.now)
        self.queue = WorkQueue(lambda: self.now, lambda: 0.0)
        self.hearing = Hearing([JOBS], lambda: self.now)
        self.metrics = Metrics()
        self.intake = Intake(self.store, self.queue, self.hearing, self.metrics)
        self.sweeper = self.sweeper_of(JOBS)
        self.until = float("inf")

    def sweeper_of(self, scope: Scope) -> Sweeper:
        return Sweeper(
            client=cast(Client, self.lists),
            store=self.store,
            intake=self.intake,
            hearing=self.hearing,
            metrics=self.metrics,
            scopes=[scope],
            monotonic=lambda: self.now,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > self.until:
            raise asyncio.CancelledError

    async def run(self, seconds: float, every: float) -> None:
        self.until = self.now + seconds
        with suppress(asyncio.CancelledError):
            await self.sweeper.run(every)

    def names(self) -> list[str]:
        return [obj["metadata"]["name"] for obj in self.store.list("RenderJob")]

    def due(self) -> list[str]:
        self.now += 1.0
        names = []
        while taken := self.queue.take():
            self.queue.done(taken.key)
            names.append(taken.key.name)
        return names

    def sweeps(self, why: str) -> float:
        labels = {"kind": "RenderJob", "why": why}
        return self.metrics.registry.get_sample_value("drqueue_sweeps_total", labels) or 0.0


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_a_sweep_replaces_what_is_stored_and_queues_what_differed(setting: Setting) -> None:
    for name in ("same", "changed", "ghost"):
        setting.intake.watched(JOBS, job(name, 1), False)
    setting.due()
    setting.lists.answers = [[[job("same", 1), job("changed", 2)], [job("new", 3)]]]
    assert await setting.sweeper.sweep(JOBS) == 3
    assert setting.names() == ["changed", "new", "same"]
    assert sorted(set(setting.due()) - {"teapots"}) == ["changed", "ghost", "new"]


async def test_a_list_that_grew_too_old_is_begun_again(setting: Setting) -> None:
    setting.lists.answers = [[[job("a", 1)], Conflict("expired")], [[job("a", 1), job("b", 2)]]]
    await setting.sweeper.sweep(JOBS)
    assert setting.names() == ["a", "b"]


async def test_half_a_list_drops_nothing(setting: Setting) -> None:
    setting.intake.watched(JOBS, job("b", 2), False)
    setting.lists.answers = [[[job("a", 1)], Passing("broken")]]
    with pytest.raises(Passing):
        await setting.sweeper.sweep(JOBS)
    assert setting.names() == ["a", "b"]


async def test_the_first_sweep_waits_for_the_crds(setting: Setting) -> None:
    setting.lists.answers = [[NotFound("no such kind")], [Passing("away")], [[job("a", 1)]]]
    await setting.sweeper.first()
    assert setting.names() == ["a"]


@pytest.mark.parametrize("refusals", [TRIES - 1, TRIES])
async def test_rights_that_go_in_one_namespace_do_not_hold_up_the_first_sweep_for_ever(
    setting: Setting, refusals: int
) -> None:
    sweeper = setting.sweeper_of(Scope("RenderJob", "studio"))
    setting.lists.answers = [REFUSAL] * refusals + [[[job("a", 1)]]]
    lost = refusals >= TRIES
    with pytest.raises(Forbidden) if lost else nullcontext():
        await sweeper.first()
    assert setting.names() == ([] if lost else ["a"])


async def test_the_first_sweep_of_everything_waits_for_its_rights(setting: Setting) -> None:
    setting.lists.answers = [REFUSAL] * 20 + [[[job("a", 1)]]]
    await setting.sweeper.first()
    assert setting.names() == ["a"]


async def test_routine_sweeps_come_at_their_time(setting: Setting) -> None:
    await setting.run(seconds=610, every=300)
    assert setting.lists.asked == 2
    assert setting.sweeps("routine") == 2


async def test_what_is_asked_for_is_swept_soon_and_until_it_worked(setting: Setting) -> None:
    setting.sweeper.ask(JOBS)
    setting.lists.answers = [[Passing("away")], [[job("a", 1)]]]
    await setting.run(seconds=10, every=300)
    assert setting.names() == ["a"]
    assert setting.sweeps("asked") == 1


async def test_a_watch_that_owes_is_swept_again_and_again(setting: Setting) -> None:
    setting.intake.wrote(job("a", 7), False)
    setting.lists.answers = [[[job("a", 7)]] for _ in range(50)]
    await setting.run(seconds=SUSPECT_AFTER + 35, every=300)
    assert setting.sweeps("doubt") == 3
    setting.intake.watched(JOBS, job("a", 7), False)
    await setting.run(seconds=60, every=300)
    assert setting.sweeps("doubt") == 3


def test_scopes_follow_the_namespaces_that_are_watched() -> None:
    everywhere = watched_scopes([])
    assert Scope("RenderJob", None) in everywhere and Scope("Pod", None) in everywhere
    assert not any(scope.kind == "Secret" for scope in everywhere)
    two = swept_scopes(["a", "b"])
    assert {scope.namespace for scope in two if scope.kind == "Secret"} == {"a", "b"}
    assert [scope.namespace for scope in two if scope.kind == "RenderNodeClass"] == [None]
    assert Key("RenderJob", "a", "x").namespace == "a"

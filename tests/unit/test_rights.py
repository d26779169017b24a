"""Which watched namespaces can be read, on answers that the test writes and a clock that jumps."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from drqueue.control.client import Client
from drqueue.control.errors import Forbidden, NotFound, Passing
from drqueue.control.kinds import Objects
from drqueue.control.rights import RETRY_SECONDS, TRIES, first_readable, refused


class Rights:
    """Refuses the first so many lists of one kind in each namespace, or fails once."""

    def __init__(
        self,
        refusals: dict[str, int],
        fails: dict[str, Exception] | None = None,
        kind: str = "RenderSession",
    ) -> None:
        self.kind = kind
        self.refusals = refusals
        self.fails = fails or {}
        self.now = 0.0

    async def pages(
        self, kind: str, namespace: str, *, metadata_only: bool, limit: int
    ) -> AsyncIterator[tuple[Objects, int]]:
        if namespace in self.fails:
            raise self.fails.pop(namespace)
        if kind == self.kind:
            self.refusals[namespace] -= 1
            if self.refusals[namespace] >= 0:
                raise Forbidden("no")
        yield [], 1

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > 600:
            raise asyncio.CancelledError

    @property
    def client(self) -> Client:
        return cast(Client, self)


NEVER = 10**6


@pytest.mark.parametrize(
    ("refusals", "left", "seconds"),
    [
        ({}, (), 0),
        ({"a": 0, "b": 0}, (), 0),
        ({"a": 0, "b": 2}, (), 2 * RETRY_SECONDS),
        ({"a": 0, "b": NEVER}, ("b",), (TRIES - 1) * RETRY_SECONDS),
        ({"a": 9, "b": NEVER}, ("b",), 9 * RETRY_SECONDS),
    ],
)
async def test_what_stays_refused_is_left_out_but_never_all(
    refusals: dict[str, int], left: tuple[str, ...], seconds: float
) -> None:
    rights = Rights(refusals)
    assert await refused(rights.client, tuple(refusals), rights.sleep) == left
    assert rights.now == seconds


@pytest.mark.parametrize("kind", ["RenderNode", "Pod", "Secret"])
async def test_less_than_all_rights_is_none(kind: str) -> None:
    rights = Rights({"a": 0, "b": NEVER}, kind=kind)
    assert await refused(rights.client, ("a", "b"), rights.sleep) == ("b",)


@pytest.mark.parametrize("error", [NotFound("no such kind"), Passing("away")])
async def test_another_error_is_no_refusal(error: Exception) -> None:
    rights = Rights({"a": 0, "b": 0}, {"b": error})
    assert await refused(rights.client, ("a", "b"), rights.sleep) == ()


async def test_the_refused_are_asked_until_one_answers() -> None:
    away: dict[str, Any] = {"b": Passing("away")}
    rights = Rights({"b": 3, "c": NEVER}, away)
    assert await first_readable(rights.client, ("b", "c"), 60, rights.sleep) == "b"
    assert rights.now == 5 * 60

"""A class gets its price just before a session is made of it, and the store has not heard yet."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from drqueue.api.names import FINALIZER
from drqueue.control import session_funding
from drqueue.control.account import AccountReconciler
from drqueue.control.client import Client
from drqueue.control.context import Context
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.settings import Settings
from drqueue.control.store import Store

from tests.manifests import manifest
from tests.unit.fake_api import FakeApi

NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
CLASS = Key("RenderNodeClass", None, "cpu-small")
BEFORE = {"currency": "EUR", "machinePerHour": "1"}
PRICE = {"currency": "EUR", "machinePerHour": "36"}


class Farm:
    """A session that asks for 2 nodes for an hour; the API server has the class with its price."""

    def __init__(self) -> None:
        self.api, self.store = FakeApi(), Store(lambda: 0.0)
        self.ctx = cast(
            Context,
            SimpleNamespace(
                settings=Settings(billing_namespace="books"),
                store=self.store,
                client=Client(self.api),
                clock=lambda: NOW,
                events=SimpleNamespace(event=lambda *told: None),
            ),
        )
        self.session = manifest("RenderSession", {"spec.renderTime": "1h"})
        self.session["metadata"] |= {
            "uid": "uid-s",
            "namespace": "studio-a",
            "generation": 1,
            "finalizers": [FINALIZER],
        }
        account = manifest("RenderAccount")
        account["metadata"] |= {"uid": "uid-a", "namespace": "books"}
        account["spec"] |= {"currency": "EUR", "namespaces": ["studio-a"]}
        account["status"] = {"paid": "100.00", "invoiced": "0.00"}
        self.account = self.both(account)
        self.both(self.session)
        self.api._write(CLASS, priced(PRICE))

    def both(self, obj: Object) -> Object:
        """The API server has it, and the store has heard of it."""
        made = self.api._write(key_of(obj), obj)
        self.store.apply_event(made)
        return made

    def heard_of(self, price: dict[str, Any] | None) -> None:
        """The store has the class as it was before."""
        old = priced(price)
        old["metadata"] |= {"resourceVersion": "1", "uid": "uid-c"}
        self.store.apply_event(old)

    async def reads(self) -> Object | None:
        self.api.requests.clear()
        return await session_funding.class_of(self.ctx, self.session)

    async def ask(self) -> None:
        """The session asks its account, which looks."""
        asking = {"funding": {"state": "Awaiting", "accountName": "studio-a"}}
        self.both({**self.session, "status": asking})
        await AccountReconciler()(self.ctx, key_of(self.account))

    @property
    def reservations(self) -> list[Any]:
        found: list[Any] = self.api.objects[key_of(self.account)]["status"]["reservations"]
        return found


def priced(price: dict[str, Any] | None) -> Object:
    return manifest("RenderNodeClass", {"spec.price": price} if price else {})


@pytest.fixture
def farm() -> Farm:
    return Farm()


async def test_nobody_is_free_by_a_class_that_has_a_price_by_now(farm: Farm) -> None:
    farm.heard_of(None)
    node_class = await farm.reads()
    assert not session_funding.session_terms(farm.ctx.settings, farm.session, node_class).started
    funding = session_funding.outcome(farm.ctx, farm.session, node_class, 0).funding
    assert funding is not None and funding["state"] == "Awaiting"


async def test_the_class_is_asked_for_only_before_a_session_is_free(farm: Farm) -> None:
    farm.heard_of(None)
    for state in ("Free", "Funded"):
        farm.session["status"] = {"funding": {"state": state}}
        await farm.reads()
    assert farm.api.requests == []
    del farm.session["status"]
    del farm.api.objects[CLASS]
    assert await farm.reads() is None
    assert len(farm.api.requests) == 1


async def test_nobody_asks_where_the_class_has_a_price_anyway(farm: Farm) -> None:
    farm.heard_of(PRICE)
    assert await farm.reads() == farm.store.get(CLASS)
    assert farm.api.requests == []


async def test_a_reservation_is_made_at_the_price_of_now(farm: Farm) -> None:
    farm.heard_of(BEFORE)
    await farm.ask()
    (entry,) = farm.reservations
    assert entry["amount"] == "72.00"


async def test_nothing_is_reserved_for_a_class_that_has_no_price_any_more(farm: Farm) -> None:
    farm.heard_of(BEFORE)
    farm.api._write(CLASS, priced(None))
    await farm.ask()
    assert farm.reservations == []

"""A payment whose account goes while it is being booked, and comes back under its name."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from drqueue.control import conditions
from drqueue.control.client import Client
from drqueue.control.context import Context
from drqueue.control.kinds import Object, key_of
from drqueue.control.payment import PaymentReconciler
from drqueue.control.store import Store

from tests.manifests import manifest
from tests.unit.fake_api import FakeApi


class Books:
    """A payment in the store and on the API server, and an account there, or not."""

    def __init__(self) -> None:
        self.api, self.store = FakeApi(), Store(lambda: 0.0)
        self.ctx = cast(
            Context,
            SimpleNamespace(
                store=self.store,
                client=Client(self.api),
                clock=lambda: datetime(2026, 11, 25, 10, tzinfo=UTC),
                events=SimpleNamespace(event=lambda *told: None),
            ),
        )
        self.account = manifest("RenderAccount")
        self.account["metadata"] |= {"namespace": "books", "uid": "first"}
        self.payment = manifest("RenderPayment")
        self.payment["metadata"] |= {"namespace": "books", "uid": "uid-p"}
        self.payment["spec"] |= {
            "accountName": self.account["metadata"]["name"],
            "currency": self.account["spec"]["currency"],
        }

    def there(self, obj: Object, *, heard: bool = True) -> None:
        """The API server has it, and the store has heard of it."""
        made = self.api._write(key_of(obj), obj)
        if heard:
            self.store.apply_event(made)

    async def status(self) -> dict[str, Any]:
        """After a look at it as it is on the API server."""
        self.store.apply_event(self.api.objects[key_of(self.payment)])
        await PaymentReconciler()(self.ctx, key_of(self.payment))
        found: dict[str, Any] = self.api.objects[key_of(self.payment)]["status"]
        return {
            "phase": found["phase"],
            "account": found.get("accountUid"),
            "reason": conditions.find({"status": found}, "Booked")["reason"],
        }


@pytest.fixture
def books() -> Books:
    made = Books()
    made.there(made.payment)
    return made


async def test_from_booking_on_a_payment_says_whose_books_it_is_in(books: Books) -> None:
    assert (await books.status())["account"] is None
    books.there(books.account)
    booking = {"phase": "Booking", "account": "first", "reason": "Booking"}
    assert await books.status() == booking
    # closed, and made again
    books.account["metadata"]["uid"] = "second"
    books.there(books.account)
    assert await books.status() == {**booking, "reason": "AccountNotFound"}
    # restored: it goes on with the books of the first
    books.account["status"] = {"booksUid": "first"}
    books.there(books.account)
    assert await books.status() == booking


async def test_a_payment_is_not_given_up_by_a_cache_that_lacks_its_account(books: Books) -> None:
    books.there(books.account)
    await books.status()
    books.store = books.ctx.store = Store(lambda: 0.0)  # type: ignore[misc]
    assert (await books.status())["reason"] == "Booking"
    del books.api.objects[key_of(books.account)]
    assert (await books.status())["reason"] == "AccountNotFound"

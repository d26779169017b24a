"""Who is reconciled when the books change: those whose entry is another, and nobody else."""

from typing import Any

import pytest
from drqueue.control.kinds import Key, Object
from drqueue.control.routes import Change, affected
from drqueue.control.store import Store

from tests.manifests import manifest

ACCOUNT = Key("RenderAccount", "books", "studio-a")
OPEN, BOOKED = Key("RenderPayment", "books", "open"), Key("RenderPayment", "books", "booked")
SESSIONS = [Key("RenderSession", "studio-a", f"session-{n}") for n in range(1000)]
CLASS = Key("RenderNodeClass", None, "cpu-small")


def make(key: Key, version: int = 1, status: dict[str, Any] | None = None) -> Object:
    made = manifest(key.kind, {}, key.name)
    made["metadata"] |= {"uid": f"uid-{key.name}", "resourceVersion": str(version), "generation": 1}
    if key.namespace:
        made["metadata"]["namespace"] = key.namespace
    made["status"] = status or {}
    return made


def entry(key: Key, seconds: int = 3600) -> dict[str, Any]:
    name = key.name
    return {
        "sessionUid": f"uid-{name}",
        "namespace": key.namespace,
        "sessionName": name,
        "seconds": seconds,
    }


@pytest.fixture
def store() -> Store:
    store = Store(lambda: 0.0)
    asking = {"funding": {"state": "Awaiting", "accountName": "studio-a"}}
    for key in SESSIONS:
        store.apply_event(make(key, status=asking))
    store.apply_event(make(ACCOUNT))
    store.apply_event(make(CLASS))
    store.apply_event(make(OPEN, status={"phase": "Booking"}))
    store.apply_event(make(BOOKED, status={"phase": "Booked"}))
    return store


def routes(store: Store, key: Key, old: Object | None, new: Object | None) -> set[Key]:
    return {route.key for route in affected(key, Change(old, new), store)}


@pytest.mark.parametrize("name", ["reservations", "invoicing", "waiting"])
def test_one_of_a_thousand_reservations_concerns_one_session(store: Store, name: str) -> None:
    before = [entry(key) for key in SESSIONS]
    old = make(ACCOUNT, status={name: before})
    for after, other in ((before[1:], 0), ([*before[:-1], entry(SESSIONS[-1], 7200)], -1)):
        new = make(ACCOUNT, status={name: after})
        assert routes(store, ACCOUNT, old, new) == {ACCOUNT, OPEN, SESSIONS[other]}


def test_an_account_that_lists_a_tenant_concerns_its_sessions(store: Store) -> None:
    new = make(ACCOUNT)
    new["metadata"]["generation"] = 2
    assert routes(store, ACCOUNT, make(ACCOUNT), new) == {ACCOUNT, OPEN, *SESSIONS}


def test_a_payment_concerns_its_account(store: Store) -> None:
    assert routes(store, OPEN, None, make(OPEN)) == {OPEN, ACCOUNT}


@pytest.mark.parametrize(
    "new",
    [
        {"funding": {"state": "Funded", "accountName": "studio-a"}},
        {"funding": {"state": "Awaiting", "accountName": "studio-a"}, "settled": True},
    ],
)
def test_a_sessions_money_concerns_its_account(store: Store, new: dict[str, Any]) -> None:
    key = SESSIONS[0]
    old = store.get(key)
    assert ACCOUNT in routes(store, key, old, make(key, status=new))
    # and so does its going, but not its progress
    assert ACCOUNT in routes(store, key, old, None)
    progress = {"funding": {"state": "Awaiting", "accountName": "studio-a"}, "activeJobs": 3}
    assert ACCOUNT not in routes(store, key, old, make(key, status=progress))


def test_a_price_concerns_the_accounts_that_are_asked(store: Store) -> None:
    new = make(CLASS)
    new["metadata"]["generation"] = 2
    assert ACCOUNT in routes(store, CLASS, make(CLASS), new)

"""What a session says of its money, from what the store shows."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from drqueue.api.names import FINALIZER
from drqueue.billing.books import Account, Reservation
from drqueue.billing.prices import Terms, read_terms
from drqueue.billing.records import own_status, write_account
from drqueue.control import session_nodes
from drqueue.control.children import SessionId
from drqueue.control.context import Context
from drqueue.control.kinds import Object
from drqueue.control.session_funding import (
    is_to_be_lowered,
    low_time,
    outcome,
    seconds_until_low,
    session_terms,
)
from drqueue.control.settings import Settings
from drqueue.control.store import Store

from tests.manifests import manifest

PRICE = {"currency": "EUR", "machinePerHour": "36"}
TERMS = read_terms(PRICE)
UID = "0b7e8a6a-3f0e-4b55-9a55-1d6f6a7f0c11"
SESSION = SessionId("studio-a", "teapots", UID)


class Scene:
    """A session of 2 nodes for an hour: 72 EUR."""

    def __init__(self) -> None:
        self.store = Store(lambda: 0.0)
        self.settings = Settings(billing_namespace="books")
        self.node_class: Object | None = manifest("RenderNodeClass", {"spec.price": PRICE})
        self.session = manifest("RenderSession", {"spec.renderTime": "1h"})
        self.session["metadata"] |= {"uid": UID, "namespace": "studio-a", "generation": 1}
        self.session["metadata"]["finalizers"] = [FINALIZER]

    def account(self, name: str = "studio-a", paid: int = 0, **changes: Any) -> None:
        """Put an account into the store; `reservations` by the session's UID."""
        made = manifest("RenderAccount", {}, name)
        made["metadata"] |= {"uid": f"uid-{name}", "namespace": "books", "resourceVersion": "1"}
        spec: dict[str, Any] = {"currency": "EUR", "namespaces": ["studio-a"]}
        spec |= {field: changes[field] for field in spec if field in changes}
        made["spec"] |= spec
        books = Account(
            name=name,
            uid=f"uid-{name}",
            currency=spec["currency"],
            namespaces=frozenset(spec["namespaces"]),
            paid=Decimal(paid),
            reservations=changes.get("reservations", {}),
        )
        made["status"] = write_account(books)
        self.store.apply_event(made)

    def decide(self, used: int = 0) -> Any:
        ctx = cast(Context, SimpleNamespace(settings=self.settings, store=self.store))
        return outcome(ctx, self.session, self.node_class, used)

    def funded(self, **changes: Any) -> None:
        """The session has bound itself to a reservation of an hour each."""
        funding = {
            "state": "Funded",
            "accountName": "studio-a",
            "currency": "EUR",
            "price": "72.00",
            "nodes": 2,
            "seconds": 7200,
            "generation": 0,
        }
        self.session["status"] = {"funding": {**funding, **changes}}


def reservation(
    seconds: int = 7200, generation: int = 1, terms: Terms = TERMS
) -> dict[str, Reservation]:
    amount = Decimal(seconds) / 100
    entry = Reservation(
        UID, "studio-a", "teapots", "cpu-small", generation, 2, seconds, amount, terms
    )
    return {UID: entry}


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_nothing_starts_before_its_account_is_known(scene: Scene) -> None:
    found = scene.decide()
    assert found.finding.reason == "AccountNotFound" and found.someone_must_act
    assert found.funding["state"] == "Awaiting"
    assert session_terms(scene.settings, scene.session, scene.node_class).seconds == 0


def test_the_one_account_that_lists_the_namespace_is_asked(scene: Scene) -> None:
    scene.account("others", namespaces=["elsewhere"])
    scene.account(paid=20)
    found = scene.decide()
    assert found.funding["accountName"] == "studio-a"
    assert found.funding["missing"] == "52.00"
    assert found.finding.reason == "AwaitingPayment"
    scene.account("second")
    assert scene.decide().finding.reason == "AccountAmbiguous"
    scene.session["spec"]["accountName"] = "second"
    assert scene.decide().funding["accountName"] == "second"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"namespaces": ["elsewhere"]}, "NotYourAccount"),
        ({"currency": "USD"}, "CurrencyMismatch"),
        ({"currency": "XQQ"}, "CurrencyMismatch"),
    ],
)
def test_a_named_account_that_cannot_pay(
    scene: Scene, changes: dict[str, Any], reason: str
) -> None:
    scene.session["spec"]["accountName"] = "studio-a"
    if changes.get("currency") == "XQQ":
        made = manifest("RenderAccount", {"spec.currency": "XQQ"})
        made["metadata"] |= {"uid": "u", "namespace": "books", "resourceVersion": "1"}
        scene.store.apply_event(made)
    else:
        scene.account(paid=500, **changes)
    found = scene.decide()
    assert found.finding.reason == reason and found.finding.status == "False"
    assert "500" not in found.finding.message


def test_what_is_covered_is_about_to_be_reserved_and_nobody_need_act(scene: Scene) -> None:
    scene.account(paid=72)
    found = scene.decide()
    assert found.finding.reason == "Reserving" and not found.someone_must_act


def test_it_binds_itself_to_its_reservation_and_starts_with_what_it_wrote(scene: Scene) -> None:
    scene.account(paid=100, reservations=reservation())
    scene.session["status"] = {"funding": {"state": "Awaiting", "accountName": "studio-a"}}
    found = scene.decide()
    assert found.funding["state"] == "Funded" and found.funding["seconds"] == 7200
    assert session_terms(scene.settings, scene.session, scene.node_class).started is False
    scene.session["status"] = {"funding": found.funding}
    terms = session_terms(scene.settings, scene.session, scene.node_class)
    assert (terms.nodes, terms.seconds, terms.started) == (2, 7200, True)


@pytest.mark.parametrize("parked_time", ["Free", "Billed"])
def test_parked_time_is_of_the_terms_that_it_was_funded_at(scene: Scene, parked_time: str) -> None:
    class_price = {**PRICE, "parkedTime": parked_time}
    scene.account(paid=200, reservations=reservation(terms=read_terms(class_price)))
    scene.session["status"] = {"funding": {"state": "Awaiting", "accountName": "studio-a"}}
    scene.session["status"] = {"funding": scene.decide().funding}
    # ops write another price, and the customer raises: the nodes are those of the first
    other = "Billed" if parked_time == "Free" else "Free"
    scene.node_class = manifest("RenderNodeClass", {"spec.price": {**PRICE, "parkedTime": other}})
    scene.session["spec"] |= {"nodes": 3}
    scene.session["metadata"]["generation"] = 2
    scene.session["status"] = {"funding": scene.decide().funding}
    terms = session_terms(scene.settings, scene.session, scene.node_class)
    node = session_nodes.manifest(SESSION, 0, scene.node_class, terms.parked_time)
    assert node["spec"]["parkedTime"] == parked_time
    # one that was funded before its terms had it goes by its class
    scene.funded()
    scene.session["status"] = {"funding": scene.decide().funding}
    terms = session_terms(scene.settings, scene.session, scene.node_class)
    node = session_nodes.manifest(SESSION, 0, scene.node_class, terms.parked_time)
    assert node["spec"]["parkedTime"] == other


def test_a_raise_waits_and_what_was_funded_goes_on(scene: Scene) -> None:
    scene.account(paid=80, reservations=reservation())
    scene.funded()
    scene.session["spec"]["renderTime"] = "2h"
    scene.session["metadata"]["generation"] = 2
    found = scene.decide()
    assert found.funding["seconds"] == 7200 and found.funding["missing"] == "64.00"
    assert found.finding.reason == "AwaitingPayment"
    assert session_terms(scene.settings, scene.session, scene.node_class).seconds == 7200


def test_what_is_lowered_never_goes_below_what_is_used(scene: Scene) -> None:
    scene.account(paid=80, reservations=reservation())
    scene.funded()
    scene.session["spec"]["renderTime"] = "1m"
    scene.session["metadata"]["generation"] = 2
    assert scene.decide(used=500).funding["seconds"] == 500
    assert scene.decide(used=5).funding["seconds"] == 120
    assert is_to_be_lowered(scene.session)
    scene.funded(generation=2)
    assert not is_to_be_lowered(scene.session)  # it goes down once for each generation


@pytest.mark.parametrize("off", [True, False])
def test_free_is_for_good(scene: Scene, off: bool) -> None:
    if off:
        scene.settings = Settings()
    else:
        scene.node_class = manifest("RenderNodeClass")
    found = scene.decide()
    assert found.funding == {"state": "Free", "generation": 0}
    assert session_terms(scene.settings, scene.session, scene.node_class).seconds == 7200
    later = Scene()
    later.session["status"] = {"funding": found.funding}
    assert later.decide().funding == found.funding


def test_a_class_that_is_not_there_makes_nobody_free(scene: Scene) -> None:
    scene.node_class = None
    assert scene.decide().funding is None
    assert not session_terms(scene.settings, scene.session, None).started


def test_what_a_former_session_was_funded_for_is_not_this_ones(scene: Scene) -> None:
    """Restored with its status under another UID; what was reserved for it was given back."""
    scene.account(paid=20)
    scene.funded(sessionUid="the-former")
    scene.session["status"]["settledDays"] = [{"day": "2026-11-25", "seconds": 600}]
    assert not session_terms(scene.settings, scene.session, scene.node_class).started
    found = scene.decide()
    assert (found.funding["state"], found.funding["missing"]) == ("Awaiting", "52.00")
    kept = {"phase": "Active", "claimName": "kept"}
    scene.session["status"] |= kept
    assert own_status(scene.session) == kept
    scene.funded(sessionUid=UID)
    assert scene.decide().funding["state"] == "Funded"
    assert own_status(scene.session) == scene.session["status"]


def test_funded_outlasts_the_books_being_away(scene: Scene) -> None:
    scene.funded()
    for settings in (scene.settings, Settings()):
        scene.settings = settings
        assert scene.decide().funding["seconds"] == 7200
        scene.session["spec"]["renderTime"] = "2h"
        assert scene.decide().finding.reason == "AccountNotFound"
        scene.session["spec"]["renderTime"] = "1h"


@pytest.mark.parametrize(
    ("remaining", "reason"),
    [
        (100, "Enough"),
        (21, "Enough"),
        (20, "TwentyPercentLeft"),
        (6, "TwentyPercentLeft"),
        (5, "FivePercentLeft"),
        (1, "FivePercentLeft"),
        (0, "NoneLeft"),
    ],
)
def test_low_time_is_told_at_20_and_at_5_percent(remaining: int, reason: str) -> None:
    found = low_time(started=True, granted=100, remaining=remaining)
    assert (found.reason, found.status) == (reason, "False" if reason == "Enough" else "True")


def test_the_next_warning_is_waited_for() -> None:
    assert seconds_until_low(granted=100, remaining=60, pace=2) == 20
    assert seconds_until_low(granted=100, remaining=10, pace=1) == 5
    assert seconds_until_low(granted=100, remaining=5, pace=1) is None
    assert seconds_until_low(granted=100, remaining=60, pace=0) is None

"""Each known way in which an old read, a paused operator or a crash could spoil the books."""

from typing import Any

import pytest
from drqueue.billing.records import read_account, read_session

from tests.unit.ledger_rounds import BOOKS
from tests.unit.ledger_truth import PRICES, Truth, note_prices
from tests.unit.ledger_world import Key, Operator, Server, later, reconciled

ACCOUNT: Key = ("RenderAccount", BOOKS, "studio")
SESSION: Key = ("RenderSession", "tenant-a", "s")
PAYMENT: Key = ("RenderPayment", BOOKS, "p")
PAYOUT: Key = ("RenderPayment", BOOKS, "out")
SESSIONS_OWN = ("RenderSession", "RenderNode")
CLASS: Key = ("RenderNodeClass", "", "cpu")


class World:
    """An account, a class at 1 EUR an hour, and two operators: `paused` hears what it is told."""

    def __init__(self) -> None:
        PRICES.clear()
        self.server = Server()
        self.truth = Truth(self.server)
        self.op, self.paused = Operator(self.server), Operator(self.server)
        spec: dict[str, Any] = {"currency": "EUR", "namespaces": ["tenant-a"]}
        self.server.create(*ACCOUNT, spec=spec)
        price = {"currency": "EUR", "machinePerHour": "1"}
        self.server.create(*CLASS, spec={"price": price})

    def pay(self, amount: str, name: str = "p") -> None:
        spec = {"accountName": "studio", "amount": amount, "currency": "EUR"}
        self.server.create("RenderPayment", BOOKS, name, spec=spec)

    def order(self, nodes: int, hours: int, name: str = "s") -> None:
        spec = {"nodeClassName": "cpu", "nodes": nodes, "renderTime": f"{hours}h"}
        self.server.create("RenderSession", "tenant-a", name, spec=spec)

    def hours(self, hours: int) -> None:
        self.server.edit(SESSION, renderTime=f"{hours}h")

    def rest(self) -> None:
        """The good operator does all there is to do."""
        for _ in range(12):
            for key in list(reconciled(self.server)):
                self.op.hear_all()
                self.op.finish(key)
                self.check()

    def go(self, *keys: Key, op: Operator | None = None) -> None:
        for key in keys:
            op = op or self.op
            op.hear_all()
            op.finish(key)
            self.check()

    def check(self) -> None:
        note_prices(self.server)
        self.truth.check()

    def end(self) -> None:
        self.truth.settle_down([self.op, self.paused])

    @property
    def account(self) -> Any:
        return read_account(self.server.objects[ACCOUNT])

    @property
    def session(self) -> Any:
        return read_session(self.server.objects[SESSION])


@pytest.fixture
def world() -> World:
    return World()


def test_a_payment_that_a_cache_still_shows_as_booking_is_not_booked_again(world: World) -> None:
    world.pay("10")
    world.op.hear_all()
    world.go(PAYMENT)
    world.paused.hear_all()
    world.go(ACCOUNT, PAYMENT, ACCOUNT)
    assert not world.account.booking
    world.paused.hear("RenderAccount")
    world.paused.finish(ACCOUNT)
    world.check()
    assert world.account.balance == 10


def test_a_payment_booked_between_read_and_write_is_not_booked_again(world: World) -> None:
    world.pay("10")
    world.go(PAYMENT)
    world.paused.hear_all()
    world.paused.start(ACCOUNT)
    world.paused.step(ACCOUNT)  # the live read: it says Booking
    world.go(ACCOUNT, PAYMENT, ACCOUNT)
    while ACCOUNT in world.paused.rounds:
        world.paused.step(ACCOUNT)
    world.check()
    assert world.account.balance == 10


def test_a_payout_that_a_cache_still_shows_as_waiting_is_not_booked_again(world: World) -> None:
    world.pay("10")
    world.rest()
    world.pay("-4", "out")
    world.paused.hear_all()
    world.rest()
    assert not world.account.booking
    world.paused.hear("RenderAccount")
    world.paused.finish(ACCOUNT)
    world.check()
    world.paused.hear("RenderAccount")
    world.paused.finish(PAYOUT)
    world.check()
    assert world.account.balance == 6


def test_a_payout_that_is_deleted_after_the_account_counted_it_is_given_back(world: World) -> None:
    world.pay("10")
    world.rest()
    world.pay("-6", "out")
    world.go(ACCOUNT)
    world.paused.hear_all()  # it is in the books
    assert world.account.balance == 4
    world.server.delete(PAYOUT)
    world.check()
    world.paused.finish(PAYOUT)  # from an old view of both: it would be Booked
    world.check()
    world.rest()
    assert (world.account.balance, world.account.booking) == (10, ())
    world.end()


def test_a_crash_after_booking_books_once(world: World) -> None:
    world.pay("10")
    world.go(PAYMENT, ACCOUNT)
    world.op.restart()
    world.go(ACCOUNT, ACCOUNT, PAYMENT, PAYMENT, ACCOUNT)
    assert world.account.balance == 10
    assert not world.account.booking


def test_the_ghost_of_an_invoiced_session_is_neither_funded_nor_invoiced_again(
    world: World,
) -> None:
    world.pay("10")
    world.order(1, 3)
    world.go(PAYMENT, ACCOUNT, SESSION)
    world.paused.hear_all()  # it waits for its reservation
    world.rest()
    later(world.server, 1800)
    world.server.delete(SESSION)
    world.rest()
    assert world.server.get(SESSION) is None
    spent = world.account.invoiced
    for _ in range(40):  # event by event, as a slow watch would tell it
        world.paused.hear("RenderAccount")
        world.paused.finish(ACCOUNT)
        world.check()
        world.paused.hear("RenderSession", 1)
    assert world.account.invoiced == spent
    assert world.account.balance == 10 - spent


def funded(world: World, hours: int, money: str = "20") -> None:
    world.pay(money)
    world.order(1, hours)
    for key in (PAYMENT, ACCOUNT, PAYMENT, ACCOUNT, SESSION, ACCOUNT, SESSION):
        world.go(key)
    assert world.session.funding.seconds == hours * 3600


def test_an_old_read_of_a_reservation_that_was_lowered_raises_nothing(world: World) -> None:
    funded(world, 8)
    world.paused.hear_all()  # 8 hours are reserved
    world.hours(2)
    world.go(SESSION, ACCOUNT)
    assert world.account.balance == 18
    world.hours(6)
    world.paused.hear("RenderSession")
    world.paused.finish(SESSION)
    world.check()
    assert world.session.funding.seconds == 2 * 3600
    world.end()
    assert world.session.funding.seconds == 6 * 3600


def test_a_raise_that_was_never_seen_cannot_be_used_after_it_was_taken_back(world: World) -> None:
    funded(world, 4)
    world.hours(10)
    world.go(ACCOUNT)  # 10 hours are reserved; the session has not looked
    world.paused.hear_all()
    world.hours(8)
    world.op.hear("RenderSession")
    world.op.cache.pop(ACCOUNT)  # its operator has no account yet
    world.op.finish(SESSION)
    world.op.restart()
    world.go(ACCOUNT, SESSION, ACCOUNT)
    assert world.account.balance == 12
    world.hours(10)
    world.pay("-12", "back")
    world.go(("RenderPayment", BOOKS, "back"), ACCOUNT)
    world.paused.hear("RenderSession")
    world.paused.finish(SESSION)
    world.check()
    assert world.session.funding.seconds == 8 * 3600


def test_a_session_lowered_twice_gives_back_twice(world: World) -> None:
    funded(world, 8)
    world.hours(4)
    world.go(SESSION)
    world.hours(2)  # before the account has looked
    world.go(ACCOUNT)
    world.end()
    assert world.account.balance == 18
    assert world.session.funding.seconds == 2 * 3600


def test_lowering_and_raising_at_once_keeps_what_is_reserved(world: World) -> None:
    funded(world, 8, money="8")
    world.order(1, 4, "younger")
    world.go(("RenderSession", "tenant-a", "younger"))
    world.hours(4)
    world.go(SESSION)
    world.hours(8)
    world.go(ACCOUNT, SESSION, ACCOUNT)
    assert world.session.funding.seconds == 8 * 3600
    world.end()


def running(world: World) -> Key:
    funded(world, 4)
    world.go(SESSION)
    (node,) = world.server.all("RenderNode")
    ready = {"readyAt": world.server.now.isoformat()}
    node = world.server.write_status(node, ready)
    later(world.server, 1200)
    world.server.write_status(node, {**ready, "endedAt": world.server.now.isoformat()})
    return ("RenderNode", "tenant-a", node["metadata"]["name"])


def test_the_ghost_of_a_settled_node_is_not_added_again(world: World) -> None:
    node = running(world)
    world.paused.hear_all()  # with the ended node
    world.go(SESSION, SESSION, node, SESSION)
    assert world.server.get(node) is None
    assert world.session.used == 1200
    world.server.edit(SESSION, suspend=True)
    world.go(SESSION)
    world.paused.hear("RenderSession")
    world.paused.finish(SESSION)
    world.check()
    assert world.session.used == 1200


def test_a_node_that_a_cache_lacks_is_not_forgotten_and_added_again(world: World) -> None:
    node = running(world)
    world.go(SESSION)
    assert world.session.used == 1200
    for cached in [key for key in world.op.cache if key[0] == "RenderNode"]:
        del world.op.cache[cached]
    world.op.finish(SESSION)
    world.check()
    world.op.restart()
    world.go(SESSION, node, SESSION)
    assert world.session.used == 1200


def test_two_payouts_that_do_not_both_fit_hold_up_nobody(world: World) -> None:
    world.pay("10")
    world.go(PAYMENT, ACCOUNT, PAYMENT, ACCOUNT)
    both = [("RenderPayment", BOOKS, name) for name in ("out-1", "out-2")]
    for key in both:
        world.pay("-8", key[2])
    world.paused.hear_all()
    for op in (world.op, world.paused):
        world.go(*both, op=op)  # each alone is covered
    world.go(ACCOUNT)
    assert world.account.balance == 2
    world.order(1, 2)
    world.rest()
    assert world.session.funding.state == "Funded"
    phases = [world.server.objects[key]["status"]["phase"] for key in both]
    assert phases == ["Booked", "Waiting"]
    world.pay("8", "in")
    world.end()
    assert world.account.balance == 0
    assert world.server.objects[both[1]]["status"]["phase"] == "Booked"


def test_a_payment_being_deleted_is_not_booked(world: World) -> None:
    world.pay("10")
    obj = world.server.objects[PAYMENT]
    held = world.server.set_finalizers(obj, ["foregroundDeletion"])
    world.server.delete(PAYMENT)
    assert held is not None
    world.go(PAYMENT, ACCOUNT)
    assert world.account.balance == 0


def test_a_reservation_outlives_a_cache_without_its_session(world: World) -> None:
    funded(world, 4)
    world.op.cache.pop(SESSION)
    world.op.finish(ACCOUNT)
    world.check()
    assert world.account.balance == 16


def test_a_session_that_turned_to_another_account_may_turn_back(world: World) -> None:
    other: Key = ("RenderAccount", BOOKS, "other")
    world.server.create(*other, spec={"currency": "EUR", "namespaces": []})
    world.pay("10")
    world.go(PAYMENT, ACCOUNT, PAYMENT, ACCOUNT)
    world.order(1, 4)
    world.go(SESSION, ACCOUNT)  # reserved, and not bound yet
    world.server.edit(ACCOUNT, namespaces=[])
    world.server.edit(other, namespaces=["tenant-a"])
    world.go(SESSION)
    assert world.session.asks("other")
    world.paused.hear_all()
    world.server.edit(other, namespaces=[])
    world.server.edit(ACCOUNT, namespaces=["tenant-a"])
    world.go(SESSION, SESSION)
    assert world.session.funded_by("studio")
    world.paused.hear("RenderAccount")
    world.paused.finish(ACCOUNT)
    world.check()
    world.end()


def test_what_runs_on_after_the_grant_is_on_the_house(world: World) -> None:
    running(world)
    (node,) = world.server.all("RenderNode")
    later(world.server, 10 * 3600)
    late = {**node["status"], "endedAt": world.server.now.isoformat()}
    world.server.write_status(node, late)
    world.go(SESSION)
    assert world.session.used == world.session.funding.seconds == 4 * 3600


def test_a_grant_is_not_lowered_below_what_is_used(world: World) -> None:
    running(world)
    world.go(SESSION)
    world.server.edit(SESSION, renderTime="10m")
    world.go(SESSION, ACCOUNT)
    assert world.session.funding.seconds == world.session.used == 1200
    world.end()


def test_no_session_goes_before_its_invoice_is_there(world: World) -> None:
    running(world)
    world.server.delete(SESSION)
    for _ in range(40):
        keys = [
            key for key in reconciled(world.server) if key[0] in ("RenderSession", "RenderNode")
        ]
        world.go(*keys)
    assert world.session.settled
    world.end()
    assert world.server.get(SESSION) is None
    (invoice,) = world.server.all("RenderInvoice")
    assert invoice["spec"]["total"] == "0.33"


def test_a_restored_session_is_not_funded_by_what_was_reserved_for_its_former_self(
    world: World,
) -> None:
    running(world)
    world.go(SESSION)
    assert world.session.used == 1200
    saved = {key: world.server.objects[key] for key in (ACCOUNT, PAYMENT, SESSION)}
    # another cluster, with all that was saved under other UIDs
    again = World()
    del again.server.objects[ACCOUNT]
    for (kind, namespace, name), obj in saved.items():
        uid = f"restored-{obj['metadata']['uid']}"
        parts = {"spec": obj["spec"], "status": obj["status"], "metadata": {"uid": uid}}
        again.server.create(kind, namespace, name, **parts)
    again.truth.wrong.clear()  # it takes nodes of the former session for ones that were added
    assert (again.session.funding, again.session.used) == (None, 0)
    again.go(SESSION)
    assert again.session.asks("studio")
    assert not [key for key in again.server.objects if key[0] == "RenderNode"]
    again.rest()
    assert again.session.funded_by("studio")
    assert list(again.account.reservations) == [again.session.uid]
    assert again.account.balance == world.account.balance

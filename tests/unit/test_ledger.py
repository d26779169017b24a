"""The account's plan, case by case."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from drqueue.api.account import MAX_RESERVATIONS, RenderAccount
from drqueue.billing import ledger
from drqueue.billing.books import Account, Funding, Invoicing, Payment, Session
from drqueue.billing.check import check_books
from drqueue.billing.invoices import invoice
from drqueue.billing.ledger import Books, LedgerPlan, Ref, plan
from drqueue.billing.prices import read_terms
from drqueue.billing.records import read_account, read_funding, write_account, write_funding
from drqueue.billing.rounds import (
    UNREADABLE,
    Create,
    GetLive,
    Step,
    WriteStatus,
    account_round,
    next_phase,
)

from tests.manifests import manifest

TERMS = read_terms({"currency": "EUR", "machinePerHour": "1", "minimum": "0.5"})
HOUR = 3600


def account(paid: str = "10", **parts: Any) -> Account:
    return Account("studio", "a-1", "EUR", frozenset({"tenant"}), paid=Decimal(paid), **parts)


def session(name: str, hours: int, **parts: Any) -> Session:
    """Named by age: `a` is the oldest."""
    made = Session(
        uid=f"uid-{name}",
        namespace="tenant",
        name=name,
        created_at=f"2026-11-25T10:00:00Z {name}",
        generation=1,
        class_name="cpu",
        nodes=1,
        seconds=hours * HOUR,
        held=True,
        funding=Funding("Awaiting", "studio", "EUR"),
        live=True,
    )
    return replace(made, **parts)


def planned(of: Account, *sessions: Session, **parts: Any) -> LedgerPlan:
    found = {s.uid: s for s in sessions}
    return plan(Books(of, sessions=found, classes={"cpu": TERMS}, **parts))


def test_the_oldest_is_served_first_and_nobody_passes() -> None:
    done = planned(account(), session("c", 2), session("b", 20), session("a", 3))
    assert done.funded == ("uid-a",)
    assert done.waits["uid-b"].reason == "AwaitingPayment"
    assert done.waits["uid-b"].missing == Decimal(13)
    assert done.waits["uid-c"].reason == "BehindOthers"
    assert done.waits["uid-c"].missing == Decimal(15)
    assert [w.session_name for w in done.account.waiting] == ["b", "c"]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"suspended": True}, "Suspended"),
        ({"namespace": "elsewhere"}, "NotYourAccount"),
        ({"class_name": "unpriced"}, "ClassNotPriced"),
    ],
)
def test_one_that_waits_for_something_else_holds_nobody_up(
    parts: dict[str, Any], reason: str
) -> None:
    done = planned(account(), session("a", 3, **parts), session("b", 2))
    assert done.funded == ("uid-b",)
    assert done.waits["uid-a"].reason == reason
    assert done.account.waiting == ()


def test_currencies_are_not_mixed() -> None:
    done = planned(replace(account(), currency="USD"), session("a", 3))
    assert done.waits["uid-a"].reason == "CurrencyMismatch"
    payment = Payment("p", "p", "studio", Decimal(5), "USD", "Booking", live=True)
    assert plan(Books(account(), {"p": payment})).account.paid == 10
    step = next_phase(replace(payment, phase="Waiting"), account())
    assert step.phase == "Refused"
    assert "'USD'" in step.message
    assert "EUR" in step.message


@pytest.mark.parametrize(
    "parts",
    [
        {"deleting": True},
        {"held": False},
        {"funding": None},
        {"funding": Funding("Free")},
        {"funding": Funding("Awaiting", "other")},
        {"funding": Funding("Funded", "other")},
    ],
)
def test_who_does_not_ask_gets_nothing(parts: dict[str, Any]) -> None:
    done = planned(account(), session("a", 3, **parts))
    assert (done.account, done.funded) == (account(), ())


def test_a_first_reservation_takes_a_live_read() -> None:
    done = planned(account(), session("a", 3, live=False))
    assert done.read_live == (
        Ref("RenderSession", "tenant", "a", "uid-a"),
        Ref("RenderNodeClass", None, "cpu", ""),
    )


def test_an_account_being_deleted_takes_nothing_more() -> None:
    going = account(deleting=True)
    payment = Payment("p", "p", "studio", Decimal(5), "EUR", "Booking", live=True)
    done = planned(going, session("a", 3), payments={"p": payment})
    assert done.account == going
    assert next_phase(replace(payment, phase="Waiting"), going).phase == "Waiting"


def payout(name: str, amount: str, **parts: Any) -> Payment:
    return Payment(name, name, "studio", Decimal(amount), "EUR", live=True, **parts)


def by_uid(*payments: Payment) -> dict[str, Payment]:
    return {payment.uid: payment for payment in payments}


def test_of_two_payouts_that_do_not_both_fit_one_is_booked_and_the_other_holds_up_nobody() -> None:
    both = by_uid(payout("p", "-6"), payout("q", "-6"))
    done = planned(account(), session("a", 3), payments=both)
    assert [entry.name for entry in done.account.booking] == ["p"]
    assert done.account.balance == 1
    assert done.funded == ("uid-a",)
    first, second = (next_phase(payment, done.account) for payment in both.values())
    assert (first.phase, second.phase) == ("Booked", "Waiting")
    assert second.reason == "NotCovered"
    assert "delete" in second.message


def test_a_payout_is_counted_before_it_says_so_and_given_back_where_it_was_deleted_first() -> None:
    covered = payout("p", "-6")
    assert next_phase(covered, account()).phase == "Waiting"
    counted = planned(account(), payments=by_uid(covered)).account
    assert counted.balance == 4
    assert planned(counted, payments=by_uid(covered)).account == counted
    assert next_phase(replace(covered, deleting=True), counted).phase == "Waiting"
    ask = planned(counted)
    assert ask.read_live == (Ref("RenderPayment", None, "p", "p"),)
    assert planned(counted, gone=frozenset({"p"})).account == account()
    booked = planned(counted, payments=by_uid(replace(covered, phase="Booked"))).account
    assert booked.balance == 4
    assert not booked.booking


def test_a_payout_takes_a_live_read_of_one_that_is_not_being_deleted() -> None:
    seen = payout("p", "-6")
    ask = planned(account(), payments=by_uid(replace(seen, live=False)))
    assert ask.read_live == (Ref("RenderPayment", None, "p", "p"),)
    going = planned(account(), payments=by_uid(replace(seen, deleting=True)))
    assert going.account == account()
    uncovered = planned(account(), payments=by_uid(payout("q", "-11")))
    assert (uncovered.account, uncovered.read_live) == (account(), ())


def reserved(hours: int) -> Account:
    return planned(account(), session("a", hours)).account


def test_a_raise_keeps_the_terms_that_were_stored() -> None:
    dearer = read_terms({"currency": "EUR", "machinePerHour": "7"})
    more = session("a", 5, generation=2, funding=Funding("Funded", "studio", "EUR"))
    done = plan(Books(reserved(3), sessions={more.uid: more}, classes={"cpu": dearer}))
    assert done.account.balance == 5
    gone = plan(Books(reserved(3), sessions={more.uid: more}, classes={}))
    assert gone.account == done.account


def test_an_account_is_full_at_its_limit() -> None:
    one = reserved(1).reservations["uid-a"]
    many = {f"u-{n}": replace(one, session_uid=f"u-{n}") for n in range(MAX_RESERVATIONS)}
    full = account(paid="10000", reservations=many)
    holders = [session("x", 1, uid=uid, funding=Funding("Funded", "studio")) for uid in many]
    done = planned(full, *holders, session("a", 1))
    assert done.waits["uid-a"].reason == "AccountFull"
    raised = replace(holders[0], seconds=2 * HOUR, generation=2)
    done = planned(full, *holders[1:], raised)
    assert done.funded == ("u-0",)


def test_an_invoice_on_its_way_still_has_its_place_in_the_account() -> None:
    one = reserved(1).reservations["uid-a"]
    many = {f"u-{n}": replace(one, session_uid=f"u-{n}") for n in range(MAX_RESERVATIONS - 1)}
    coming = Invoicing(replace(one, session_uid="u-last"), "invoice-last", 0, Decimal(0))
    assert not account(reservations=many).full
    assert account(reservations=many, invoicing=(coming,)).full


def test_many_new_ones_come_in_batches() -> None:
    many = [session(f"s{n:03}", 0, seconds=36) for n in range(ledger.BATCH + 5)]
    books = account(paid="1000")
    first = planned(books, *many)
    assert len(first.funded) == ledger.BATCH
    second = planned(first.account, *many)
    assert len(second.funded) == 5


def test_a_settled_session_becomes_an_invoice_and_then_is_forgotten() -> None:
    ended = session(
        "a",
        8,
        deleting=True,
        settled=True,
        days={"2026-11-25": HOUR},
        funding=Funding("Funded", "studio", "EUR", Decimal(8), 1, 8 * HOUR),
    )
    before = reserved(8)
    first = planned(before, ended)
    assert first.account.balance == 9
    assert not first.create, "nothing is created before the account says so"
    second = planned(first.account, ended)
    assert [entry.name for entry in second.create] == ["invoice-uid-a"]
    third = planned(first.account, ended, invoices=frozenset({"uid-a"}))
    assert (third.account.invoicing, third.account.invoiced) == ((), Decimal(1))


@pytest.mark.parametrize(
    ("state", "free"),
    [(Funding("Free"), True), (Funding("Funded", "other"), True), (None, False)],
)
def test_a_reservation_that_nobody_can_use_is_given_back(state: Funding | None, free: bool) -> None:
    funding = state or Funding("Awaiting", "other")
    done = planned(reserved(4), session("a", 4, funding=funding))
    assert bool(done.released) == free
    assert done.account.balance == (10 if free else 6)


def test_a_reservation_whose_session_cannot_be_read_stays_and_holds_up_nobody() -> None:
    before = reserved(4)
    asked = planned(before, session("b", 2))
    ref = Ref("RenderSession", "tenant", "a", "uid-a")
    assert asked.read_live == (ref,)
    done = planned(before, session("b", 2), unreadable={"uid-a": ref})
    assert (done.read_live, done.released, done.unreadable) == ((), (), (ref,))
    assert done.account.reservations["uid-a"] == before.reservations["uid-a"]
    assert done.funded == ("uid-b",)


def test_nothing_new_is_reserved_for_a_session_that_cannot_be_read() -> None:
    lost = {"uid-a": Ref("RenderSession", "tenant", "a", "uid-a")}
    done = planned(account(), session("a", 3, live=False), session("b", 2), unreadable=lost)
    assert (done.read_live, done.funded) == ((), ("uid-b",))
    assert not done.waits


def stored(of: Account) -> dict[str, Any]:
    return {
        "metadata": {"name": "studio", "uid": "a-1", "namespace": "books"},
        "spec": {"currency": "EUR", "namespaces": ["tenant"], "owner": "Studio A"},
        "status": write_account(of),
    }


def carried_out(of: Account, payments: list[dict[str, Any]], refused: set[str]) -> list[Step]:
    """The steps of a round in which live reads of these sessions are refused, and find no other."""
    steps = account_round(stored(of), payments, [], {"cpu": TERMS}, ())
    live = {p["metadata"]["name"]: p for p in payments}
    done: list[Step] = []
    answer: Any = None
    try:
        while True:
            done.append(steps.send(answer))
            assert len(done) < 20, "a round that does not end"
            answer = None
            if isinstance(done[-1], GetLive):
                name = done[-1].name
                answer = UNREADABLE if name in refused else live.get(name)
    except StopIteration:
        return done


def test_a_round_books_payments_beside_a_session_that_cannot_be_read() -> None:
    payment = manifest("RenderPayment", {"spec.accountName": "studio", "spec.amount": "5.00"})
    payment["metadata"]["uid"] = "uid-p"
    payment["status"] = {"phase": "Booking"}
    steps = carried_out(reserved(4), [payment], {"a"})
    last = steps[-1]
    assert isinstance(last, WriteStatus)
    assert last.status["balance"] == "11.00"
    assert last.plan.unreadable
    assert sum(isinstance(step, GetLive) and step.name == "a" for step in steps) == 1


def test_an_invoice_whose_session_cannot_be_read_waits_and_the_others_are_made() -> None:
    one = reserved(1).reservations["uid-a"]
    coming = tuple(
        Invoicing(replace(one, session_uid=f"uid-{name}", session_name=name), name, 0, Decimal(0))
        for name in ("lost", "gone")
    )
    steps = carried_out(account(invoicing=coming), [], {"lost"})
    assert [s.obj["metadata"]["name"] for s in steps if isinstance(s, Create)] == ["gone"]
    last = steps[-1]
    assert isinstance(last, WriteStatus)
    assert [entry["sessionName"] for entry in last.status["invoicing"]] == ["lost"]
    assert [ref.name for ref in last.plan.unreadable] == ["lost"]


def test_books_survive_being_written() -> None:
    full = planned(reserved(4), session("a", 4), session("b", 40)).account
    obj = stored(full)
    assert read_account(obj) == full
    assert RenderAccount.model_validate(obj).status is not None
    funding = Funding("Funded", "studio", "EUR", Decimal("4.50"), 1, HOUR, 3, Decimal(2))
    assert read_funding(write_funding(funding)) == funding


def test_checks_find_what_is_wrong() -> None:
    """Each sum and each rule, broken one by one."""
    status = write_account(reserved(4))
    payment = {
        "metadata": {"name": "p", "uid": "p"},
        "spec": {"accountName": "studio", "amount": "10", "currency": "EUR"},
        "status": {"phase": "Booked"},
    }
    owner = {
        "metadata": {"name": "a", "namespace": "tenant", "uid": "uid-a", "generation": 1},
        "spec": {"nodeClassName": "cpu", "nodes": 1, "renderTime": "4h"},
        "status": {
            "funding": write_funding(Funding("Funded", "studio", "EUR", Decimal(4), 1, 4 * HOUR)),
            "settledDays": [{"day": "2026-11-25", "seconds": HOUR}],
        },
    }

    def check(**changed: Any) -> list[str]:
        obj = {
            "metadata": {"name": "studio", "uid": "a-1", "namespace": "books"},
            "spec": {"currency": "EUR", "namespaces": ["tenant"]},
            "status": {**status, **changed.get("status", {})},
        }
        settled = changed.get("seconds", HOUR)
        days = [{"day": "2026-11-25", "seconds": settled}]
        seen = {**owner, "status": {**owner["status"], "settledDays": days}}  # type: ignore[dict-item]
        return check_books(
            obj, changed.get("payments", [payment]), changed.get("invoices", []), [seen]
        )

    assert check() == []
    assert any("booked payments" in wrong for wrong in check(payments=[]))
    assert any("status.balance" in wrong for wrong in check(status={"balance": "7"}))
    assert any("invoices add up" in wrong for wrong in check(status={"invoiced": "1"}))
    assert any("below zero" in wrong for wrong in check(status={"paid": "3"}))
    assert any("neither reservation" in wrong for wrong in check(status={"reservations": []}))
    assert any("billed" in wrong for wrong in check(seconds=5 * HOUR))
    less = [{**status["reservations"][0], "seconds": HOUR}]
    assert any("granted" in wrong for wrong in check(status={"reservations": less}))
    cheap = [{**status["reservations"][0], "amount": "1"}]
    assert any("costs" in wrong for wrong in check(status={"reservations": cheap}))


def test_a_former_accounts_books_are_not_those_of_a_new_one_of_its_name() -> None:
    """It was closed when all was used, and made again in another currency."""
    payment: dict[str, Any] = {
        "metadata": {"name": "p", "uid": "p"},
        "spec": {"accountName": "studio", "amount": "2.40", "currency": "EUR"},
        "status": {"phase": "Booked", "accountUid": "a-1"},
    }
    entry = Invoicing(reserved(4).reservations["uid-a"], "invoice-uid-a", 4 * HOUR, Decimal(4))
    bill = invoice(account(), "books", entry, None)
    assert bill["spec"]["accountUid"] == "a-1"
    new = {
        "metadata": {"name": "studio", "uid": "a-2", "namespace": "books"},
        "spec": {"currency": "USD", "namespaces": ["tenant"]},
    }
    assert check_books(new, [payment], [bill], []) == []
    del payment["status"]["accountUid"]  # of before UIDs were kept: the name says it
    assert check_books(new, [payment], [], []) != []


def test_a_restored_account_goes_on_with_its_books() -> None:
    obj = stored(account())
    obj["metadata"]["uid"] = "a-2"
    assert read_account(obj) == account()


def test_a_payment_in_booking_whose_account_is_gone_is_booked_by_no_other() -> None:
    payment = Payment(
        "p", "p", "studio", Decimal(5), "EUR", "Booking", live=True, account_uid="a-1"
    )
    new = Account("studio", "a-2", "EUR", frozenset({"tenant"}))
    for there in (None, new):
        step = next_phase(payment, there)
        assert (step.phase, step.reason) == ("Booking", "AccountNotFound")
        assert "delete this payment" in step.message
    assert plan(Books(new, {"p": payment})).account == new
    assert plan(Books(account(), {"p": payment})).account.paid == 15
    assert next_phase(payment, account()).reason == "Booking"
    old = next_phase(replace(payment, account_uid=None), None)
    assert (old.phase, old.reason) == ("Booking", "AccountNotFound")
    assert "delete" not in old.message

"""Accounts, payments and what sessions make of them, by the real operator on a real API server."""

import signal
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from drqueue.api.values import parse_time

from tests.api.books import ACCOUNT, PRICE, RUNS, PaidFarm
from tests.api.reconciling import Object
from tests.manifests import settled_seconds


def time_of_deletion(paid: PaidFarm) -> datetime:
    """Delete the session while its nodes run; gives the instant that Kubernetes noted."""
    paid.operator.process.send_signal(signal.SIGSTOP)
    paid.delete("RenderSession", "teapots")
    found = (paid.get("RenderSession", "teapots") or {})["metadata"]["deletionTimestamp"]
    paid.operator.process.send_signal(signal.SIGCONT)
    return parse_time(found)


def test_a_paid_session_from_its_first_cent_to_its_invoice(paid: PaidFarm) -> None:
    session = paid.make("RenderSession", spec__nodes=2, spec__renderTime="1h")
    paid.make("RenderJob", **RUNS)
    paid.wait_funded("teapots", "AccountNotFound")
    paid.open_account()
    assert "72.00 EUR" in paid.wait_funded("teapots", "AwaitingPayment")["message"]
    assert paid.wait_phase("RenderSession", "teapots", "AwaitingPayment")["funding"] == {
        "state": "Awaiting",
        "accountName": ACCOUNT,
        "currency": "EUR",
        "missing": "72.00",
        "generation": 0,
        "sessionUid": session["metadata"]["uid"],
    }
    assert paid.claims() == [] and paid.kubelet.pods() == []
    paid.wait("the job says why", lambda: "72.00 EUR" in job_message(paid))
    paid.pay("50", "first")
    paid.wait("less is missing", lambda: funding(paid).get("missing") == "22.00")
    paid.pay("30.00", "second")
    paid.wait_sums(paid="80", reserved="72", balance="8")
    for payment in ("first", "second"):
        paid.wait_booked(payment)
    paid.wait_nodes(2)
    found = funding(paid)
    assert (found["state"], found["price"], found["nodes"], found["seconds"]) == (
        "Funded",
        "72.00",
        2,
        7200,
    )
    assert paid.check() == []
    paid.wait_lived(2)
    nodes = paid.all("RenderNode")
    gone_at = time_of_deletion(paid)
    paid.wait_gone("teapots")
    bill = paid.invoice(session)
    assert bill["usedSeconds"] == sum(
        int((gone_at - parse_time(node["status"]["readyAt"])).total_seconds()) for node in nodes
    )
    assert Decimal(bill["total"]) == bill["usedSeconds"] * Decimal("0.01")
    assert bill["priced"] == {"nodes": 2, "seconds": 7200, "amount": "72.00"}
    assert sum(line["seconds"] for line in bill["lines"]) == bill["usedSeconds"]
    paid.wait_sums(invoiced=bill["total"], reserved="0")
    paid.wait(
        "the account forgets what is done",
        lambda: (
            not any(
                paid.entry("RenderAccount", ACCOUNT)["status"].get(name)
                for name in ("booking", "invoicing", "reservations", "terms")
            )
        ),
    )


def funding(paid: PaidFarm, name: str = "teapots") -> Object:
    return dict(paid.status("RenderSession", name).get("funding") or {})


def job_message(paid: PaidFarm) -> str:
    return str(paid.status("RenderJob", "turntable").get("message"))


def test_raised_lowered_used_up_and_topped_up(paid: PaidFarm) -> None:
    paid.open_account()
    paid.pay("40")
    session = paid.make("RenderSession", spec__nodes=1, spec__renderTime="1h")
    paid.make("RenderJob", **RUNS)
    (node,) = paid.wait_nodes(1)
    # raised: the difference is asked for, and what was funded goes on
    paid.patch("RenderSession", "teapots", {"spec": {"renderTime": "2h"}})
    assert "32.00 EUR" in paid.wait_funded("teapots", "AwaitingPayment")["message"]
    assert paid.status("RenderSession", "teapots")["renderTime"]["granted"] == "1h"
    assert paid.status("RenderSession", "teapots")["phase"] == "Active"
    paid.pay("32")
    paid.wait_sums(reserved="72", balance="0")
    paid.wait_funded("teapots", "Funded")
    # a change of price touches nothing that is funded
    paid.patch("RenderNodeClass", paid.class_name, {"spec": {"price": {"machinePerHour": "300"}}})
    paid.patch("RenderSession", "teapots", {"spec": {"renderTime": "30m"}})
    paid.wait_sums(reserved="18", balance="54")
    (same,) = paid.all("RenderNode")
    assert same["metadata"]["uid"] == node["metadata"]["uid"]
    assert funding(paid)["sessionUid"] == node["spec"]["sessionUid"]
    # less than it has used: nothing is left
    paid.patch("RenderSession", "teapots", {"spec": {"renderTime": "1s"}})
    status = paid.wait_phase("RenderSession", "teapots", "Exhausted")
    paid.wait_reason("RenderSession", "teapots", "RenderTimeLow", "NoneLeft")
    paid.wait_nodes(0)
    granted = funding(paid)["seconds"]
    assert settled_seconds(paid.status("RenderSession", "teapots")) <= granted
    assert status["renderTime"]["remaining"] == "0s"
    paid.wait("the job says why", lambda: "render time" in job_message(paid))
    # a top-up goes on from there
    paid.patch("RenderSession", "teapots", {"spec": {"renderTime": "40m"}})
    paid.wait_sums(reserved="24")
    paid.wait_nodes(1)
    paid.delete("RenderSession", "teapots")
    paid.wait_gone("teapots")
    bill = paid.invoice(session)
    assert bill["priced"]["amount"] == "24.00"
    assert granted <= bill["usedSeconds"] <= 2400


def test_what_drains_is_on_the_house_also_when_more_is_bought(paid: PaidFarm) -> None:
    paid.patch("RenderNodeClass", paid.class_name, {"spec": {"drainGrace": "10m"}})
    paid.open_account()
    paid.pay("72")
    session = paid.make("RenderSession", spec__nodes=1, spec__renderTime="40s")
    paid.make("RenderJob", **RUNS)
    (old,) = paid.wait_nodes(1)
    paid.slave(old["metadata"]["name"], session).lease()
    status = paid.wait_phase("RenderSession", "teapots", "Exhausted")
    ready_at = parse_time(old["status"]["readyAt"])
    assert [(entry["uid"], parse_time(entry["since"])) for entry in status["unpaid"]] == [
        (old["metadata"]["uid"], ready_at + timedelta(seconds=40))
    ]
    paid.patch("RenderSession", "teapots", {"spec": {"renderTime": "1h"}})
    paid.wait("more is granted", lambda: funding(paid)["seconds"] == 3600)
    paid.wait_nodes(1, "Draining")  # there is room for one, and its block goes on
    paid.wait_lived(44)
    assert paid.status("RenderSession", "teapots")["renderTime"]["used"] == "40s"
    paid.kubelet.end(old["metadata"]["name"], 0)
    paid.wait("the next one renders", lambda: [n["metadata"]["uid"] for n in ready(paid)])
    (new,) = ready(paid)
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    status = paid.status("RenderSession", "teapots")
    assert (settled_seconds(status), status.get("unpaid")) == (40, None)
    gone_at = time_of_deletion(paid)
    paid.wait_gone("teapots")
    renewed = int((gone_at - parse_time(new["status"]["readyAt"])).total_seconds())
    assert paid.invoice(session)["usedSeconds"] == 40 + renewed


def ready(paid: PaidFarm) -> list[Object]:
    nodes = paid.all("RenderNode")
    return [node for node in nodes if (node.get("status") or {}).get("phase") == "Ready"]


def test_the_oldest_session_is_served_first(paid: PaidFarm) -> None:
    paid.open_account()
    paid.wait_booked(paid.pay("10"))
    paid.make("RenderSession", "old", spec__nodes=1, spec__renderTime="1h")
    paid.wait_funded("old", "AwaitingPayment")
    paid.wait_lived(1, paid.all("RenderSession"))  # Kubernetes notes whole seconds
    paid.make("RenderSession", "young", spec__nodes=1, spec__renderTime="15m")
    assert "35.00 EUR" in paid.wait_funded("young", "BehindOthers")["message"]
    paid.wait_sums(balance="10", reserved="0")
    paid.pay("26")
    paid.wait_funded("old", "Funded")
    paid.wait_funded("young", "AwaitingPayment")
    paid.pay("9")
    paid.wait_funded("young", "Funded")
    paid.wait_sums(balance="0", reserved="45")
    # never rendered: nothing is owed
    for name in ("old", "young"):
        paid.delete("RenderSession", name)
        paid.wait_gone(name)
    paid.wait_sums(balance="45", reserved="0", invoiced="0")


def test_who_may_not_spend_does_not_start(paid: PaidFarm) -> None:
    paid.open_account("theirs", namespaces=["somebody-else"])
    paid.enter("RenderPayment", "rich", accountName="theirs", amount="1000")
    paid.make("RenderSession", spec__accountName="theirs")
    found = paid.wait_funded("teapots", "NotYourAccount")
    assert "1000" not in found["message"]
    paid.open_account(currency="USD")
    paid.make("RenderSession", "dollars")
    paid.wait_funded("dollars", "CurrencyMismatch")
    paid.open_account("second")
    paid.make("RenderSession", "which")
    paid.wait_funded("which", "AccountAmbiguous")
    paid.make("RenderSession", "absent", spec__accountName="not-there-yet")
    paid.wait_funded("absent", "AccountNotFound")
    assert paid.kubelet.pods() == [] and paid.claims() == []
    paid.enter("RenderPayment", "wrong", accountName=ACCOUNT, amount="5", currency="EUR")
    paid.wait_booked("wrong", "Refused")
    paid.open_account("not-there-yet")
    paid.wait_funded("absent", "AwaitingPayment")


def test_a_payment_back_waits_until_the_balance_covers_it(paid: PaidFarm) -> None:
    paid.open_account()
    back = paid.pay("-5")
    paid.wait_booked(back, "Waiting")
    paid.pay("7")
    paid.wait_booked(back)
    paid.wait_sums(paid="2", balance="2")
    # a payment that is not booked yet may be deleted, and counts nowhere
    paid.pay("3", "early", accountName="nobody")
    paid.wait_booked("early", "Waiting")


def test_of_two_payouts_that_do_not_both_fit_one_is_booked_and_the_other_called_off(
    paid: PaidFarm,
) -> None:
    paid.open_account()
    paid.wait_booked(paid.pay("100"))
    paid.operator.process.send_signal(signal.SIGSTOP)
    both = [paid.pay("-60", name) for name in ("out-1", "out-2")]
    paid.operator.process.send_signal(signal.SIGCONT)  # it hears of both at once
    decided = {"Booked", "NotCovered"}
    paid.wait("both are decided on", lambda: {reason(paid, name) for name in both} == decided)
    paid.wait_sums(paid="40", balance="40")
    booked, waits = sorted(both, key=lambda name: reason(paid, name))
    paid.wait_booked(booked)
    paid.wait_booked(waits, "Waiting")
    # what is left goes to whom it covers, and the payout can be called off
    paid.make("RenderSession", spec__nodes=1, spec__renderTime="1h")
    paid.wait_funded("teapots", "Funded")
    paid.call_off(waits)
    paid.wait_sums(paid="40", balance="4", reserved="36")
    assert paid.check() == []


def reason(paid: PaidFarm, payment: str) -> str:
    """Of the condition Booked of a payment."""
    status = paid.entry("RenderPayment", payment).get("status") or {}
    found = {c["type"]: c["reason"] for c in status.get("conditions") or ()}
    return str(found.get("Booked"))


@pytest.mark.parametrize("off", [True, False])
def test_who_began_freely_stays_free(paid: PaidFarm, off: bool) -> None:
    if off:
        paid.operator.end()
        paid.start_operator(BILLING_NAMESPACE="")
    else:
        paid.patch("RenderNodeClass", paid.class_name, {"spec": {"price": None}})
    paid.make("RenderSession", spec__nodes=1)
    paid.make("RenderJob", **RUNS)
    paid.wait_nodes(1)
    assert funding(paid)["state"] == "Free"
    if off:
        paid.operator.end()
        paid.start_operator()
        paid.operator.wait_leading()
    paid.patch("RenderNodeClass", paid.class_name, {"spec": {"price": PRICE}})
    paid.open_account()
    paid.make("RenderSession", "later", spec__nodes=1)
    paid.wait_funded("later", "AwaitingPayment")
    assert funding(paid)["state"] == "Free"
    assert len(paid.wait_nodes(1)) == 1


def test_a_deleted_namespace_leaves_the_right_invoice(paid: PaidFarm) -> None:
    paid.open_account()
    paid.pay("72")
    session = paid.make("RenderSession", spec__nodes=2, spec__renderTime="1h")
    paid.make("RenderJob", **RUNS)
    paid.wait_nodes(2)
    paid.wait_lived(2)
    paid.core.delete_namespace(paid.namespace)
    paid.wait("the session is gone", lambda: paid.all("RenderSession") == [])
    bill = paid.invoice(session)
    assert bill["usedSeconds"] >= 1
    assert Decimal(bill["total"]) == bill["usedSeconds"] * Decimal("0.01")
    paid.wait_sums(invoiced=bill["total"], reserved="0")
    assert paid.check() == []


def test_a_later_session_takes_the_volume_of_one_that_is_used_up(paid: PaidFarm) -> None:
    paid.open_account()
    paid.pay("100")
    first = paid.make("RenderSession", "first", spec__nodes=1, spec__renderTime="1m")
    paid.make("RenderJob", **RUNS, spec__sessionName="first")
    # said from the 48th second to the 57th, also by an operator that is looking elsewhere a while
    paid.wait_event("first", "TwentyPercentLeft")
    paid.wait_phase("RenderSession", "first", "Exhausted")
    paid.wait_nodes(0)
    paid.delete("RenderSession", "first")
    paid.wait_gone("first")
    bill = paid.invoice(first)
    assert (bill["usedSeconds"], bill["total"]) == (60, "0.60")
    claim = paid.claims()[0]
    paid.make(
        "RenderSession",
        "second",
        spec__nodes=1,
        spec__renderTime="1h",
        spec__storage={"claimName": claim},
    )
    paid.patch("RenderJob", "turntable", {"spec": {"sessionName": "second"}})
    paid.wait_nodes(1)
    paid.wait_sums(invoiced="0.60", reserved="36", balance="63.40")


def test_the_books_are_heard_of_beside_the_sessions_of_all_namespaces(paid: PaidFarm) -> None:
    paid.operator.end()
    paid.start_operator(WATCH_NAMESPACES="")
    paid.operator.wait_leading()
    paid.make("RenderSession", spec__nodes=1, spec__renderTime="1h")
    paid.wait_funded("teapots", "AccountNotFound")
    paid.open_account()
    paid.wait_funded("teapots", "AwaitingPayment")
    paid.wait_booked(paid.pay("36"))
    paid.wait_funded("teapots", "Funded")
    assert paid.operator.metric("drqueue_watch_events_total", kind="RenderPayment") > 0


def test_what_was_paid_for_is_invoiced_also_when_billing_was_off_at_its_end(paid: PaidFarm) -> None:
    paid.open_account()
    paid.pay("36")
    session = paid.make("RenderSession", spec__nodes=1, spec__renderTime="1h")
    paid.make("RenderJob", **RUNS)
    paid.wait_nodes(1)
    paid.wait_lived(1)
    paid.operator.end()
    paid.start_operator(BILLING_NAMESPACE="")
    paid.operator.wait_leading()
    paid.delete("RenderSession", "teapots")
    paid.wait_event("teapots", "BillingOff")
    assert paid.get("RenderSession", "teapots")
    paid.operator.end()
    paid.start_operator()
    paid.wait_gone("teapots")
    assert paid.invoice(session)["usedSeconds"] >= 1

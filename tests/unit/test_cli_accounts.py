"""`drqueue account`: balances, the lines behind them, and books that do not add up."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from drqueue.billing.money import read_money
from drqueue.billing.prices import price, read_terms
from drqueue.cli import books as books_module
from drqueue.cli.books import Books
from drqueue.cli.exits import Exit
from drqueue.cli.main import cli
from drqueue.cli.statement import as_object, statement
from hypothesis import given
from hypothesis import strategies as st

from tests.exec_server import ExecServer, Script, serve

NS = "drqueue-system-billing"
TERMS = {"id": "t1", "currency": "EUR", "machinePerHour": "0.5", "servicePerHour": "0.1"}

Object = dict[str, Any]


def meta(name: str, at: str = "2026-11-01T00:00:00Z", namespace: str = NS) -> Object:
    """Build metadata with a UID that says the name."""
    made = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "creationTimestamp": at}
    return {**made, "resourceVersion": "1", "generation": 1}


def account(**status: Any) -> Object:
    """Build an account of 100.00 paid, 2.40 invoiced and 4.80 reserved."""
    reservation = {
        **{"sessionUid": "s-2", "namespace": "studio-a", "sessionName": "teapots"},
        **{"className": "cpu-small", "generation": 1, "nodes": 2, "seconds": 28_800},
        **{"amount": "4.80", "terms": "t1"},
    }
    whole = {
        "balance": "92.80",
        "paid": "100.00",
        "invoiced": "2.40",
        "reserved": "4.80",
        "reservations": [reservation],
        "terms": [TERMS],
        "observedGeneration": 1,
    }
    spec = {"owner": "Studio A", "currency": "EUR", "namespaces": ["studio-a"]}
    return {"metadata": meta("studio-a"), "spec": spec, "status": {**whole, **status}}


def payment(name: str, amount: str, phase: str = "Booked", at: str = "2026-11-02") -> Object:
    """Build a payment; `at` is the day on which it was booked."""
    spec = {"accountName": "studio-a", "amount": amount, "currency": "EUR", "reference": "bank 7"}
    status: Object = {"phase": phase}
    if phase == "Booked":
        status["bookedAt"] = f"{at}T10:00:00Z"
    return {"metadata": meta(name), "spec": spec, "status": status}


def invoice(uid: str = "s-1", total: str = "2.40", at: str = "2026-11-03") -> Object:
    """Build an invoice of four hours."""
    spec = {
        **{"accountName": "studio-a", "namespace": "studio-a", "sessionName": "kettles"},
        **{"sessionUid": uid, "className": "cpu-small", "currency": "EUR"},
        "priced": {"nodes": 1, "seconds": 14_400, "amount": total},
        "lines": [{"day": at, "text": "4h of node time", "seconds": 14_400, "amount": total}],
        **{"usedSeconds": 14_400, "total": total},
    }
    return {"metadata": meta(f"invoice-{uid}", f"{at}T12:00:00Z"), "spec": spec}


@dataclass
class Kept:
    """A server with books, and the program to run against it."""

    server: ExecServer
    kubeconfig: Path

    def run(self, *arguments: str, **environment: str) -> Result:
        """Run the program."""
        runner = CliRunner(env=environment)
        result = runner.invoke(cli, ["--kubeconfig", str(self.kubeconfig), *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """Give books that add up."""
    with serve(tmp_path, lambda *_: Script()) as (server, kubeconfig):
        server.put("renderaccounts", account())
        server.put("renderpayments", payment("november", "90.00"))
        server.put("renderpayments", payment("more", "10.00", at="2026-11-04"))
        server.put("renderpayments", payment("back", "-500.00", "Waiting"))
        server.put("renderinvoices", invoice())
        yield Kept(server, kubeconfig)


def table(text: str, title: str) -> list[list[str]]:
    """Give the rows of a table below its title, cells by two or more spaces."""
    after = text.split(f"{title}\n", 1)[1].split("\n\n", 1)[0]
    return [line.split() for line in after.splitlines()[1:]]


def test_a_statement_has_every_line_and_the_balance_after_it(kept: Kept) -> None:
    result = kept.run("account", "statement", "studio-a")
    assert result.exit_code == 0, result.output
    rows = table(result.stdout, "Lines")
    assert [row[:5] for row in rows] == [
        ["2026-11-02T10:00:00Z", "payment", "november", "90.00", "90.00"],
        ["2026-11-03T12:00:00Z", "invoice", "invoice-s-1", "-2.40", "87.60"],
        ["2026-11-04T10:00:00Z", "payment", "more", "10.00", "97.60"],
        ["now", "reservation", "teapots", "-4.80", "92.80"],
    ]
    assert "92.80 EUR" in result.stdout
    assert table(result.stdout, "Not booked: not part of the balance")[0][:3] == [
        *("back", "Waiting", "-500.00")
    ]


def test_a_statement_for_programs(kept: Kept) -> None:
    found = json.loads(kept.run("account", "statement", "studio-a", "-o", "json").stdout)
    assert (found["kind"], found["balance"], found["currency"]) == ("Statement", "92.80", "EUR")
    assert [line["balance"] for line in found["lines"]] == ["90.00", "87.60", "97.60", "92.80"]
    assert [p["name"] for p in found["openPayments"]] == ["back"]
    assert found["faults"] == []
    text = kept.run("-o", "yaml", "account", "statement", "studio-a").stdout
    assert yaml.safe_load(text) == found


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"balance": "92.81"}, "status.balance is 92.81"),
        ({"paid": "200.00", "balance": "192.80"}, "status.paid is 200.00"),
        ({"invoiced": "2.00", "balance": "93.20"}, "status.invoiced is 2.00"),
        ({"reserved": "4.79"}, "status.reserved is 4.79"),
    ],
)
def test_sums_that_do_not_agree_are_told(kept: Kept, status: Object, said: str) -> None:
    kept.server.put("renderaccounts", account(**status))
    result = kept.run("account", "statement", "studio-a")
    assert result.exit_code == Exit.BOOKS_DIFFER
    assert said in result.stderr
    # the lines stand all the same, and are added up by us
    assert table(result.stdout, "Lines")[-1][4] == "92.80"
    found = json.loads(kept.run("account", "statement", "studio-a", "-o", "json").stdout)
    assert any(said in fault for fault in found["faults"])


def test_what_a_former_account_of_the_name_had_is_not_in_its_statement(kept: Kept) -> None:
    before = kept.run("account", "statement", "studio-a").stdout
    paid, billed = payment("former", "2.40"), invoice("s-0")
    paid["status"]["accountUid"] = billed["spec"]["accountUid"] = "the-former"
    kept.server.put("renderpayments", paid)
    kept.server.put("renderinvoices", billed)
    result = kept.run("account", "statement", "studio-a")
    assert (result.exit_code, result.stdout) == (0, before)


def test_books_that_cannot_be_reckoned_with_are_told_and_no_traceback(kept: Kept) -> None:
    kept.server.put("renderaccounts", account(terms=[]))
    result = kept.run("account", "statement", "studio-a")
    assert result.exit_code == Exit.BOOKS_DIFFER
    assert "its status names 't1', which is not there" in result.stderr
    odd = account()
    odd["spec"]["currency"] = "ZZZ"
    kept.server.put("renderaccounts", odd)
    result = kept.run("account", "statement", "studio-a")
    assert result.exit_code == Exit.REFUSED
    assert "'ZZZ' is no currency of ISO 4217" in result.stderr


def test_books_that_change_while_they_are_read_are_read_again(kept: Kept) -> None:
    """The payment comes after the payments were read, and the account with it."""

    def pay_in_between() -> None:
        kept.server.on_list = lambda: None
        kept.server.put("renderpayments", payment("late", "1.00", at="2026-11-05"))
        kept.server.put("renderaccounts", account(paid="101.00", balance="93.80"))

    kept.server.on_list = pay_in_between
    result = kept.run("account", "statement", "studio-a", "--billing-namespace", NS)
    assert result.exit_code == 0, result.output
    assert "93.80" in result.stdout


def test_books_that_never_hold_still_are_told_and_no_error(kept: Kept) -> None:
    amounts = iter(range(1000))

    def change() -> None:
        kept.server.put("renderaccounts", account(balance=f"{next(amounts)}.00"))

    kept.server.on_list = change
    result = kept.run("account", "statement", "studio-a", "--billing-namespace", NS)
    assert result.exit_code == 0
    assert "was changed while it was read" in result.stderr
    assert next(amounts) <= 2 * books_module.TRIES + 1


def test_an_invoice_on_its_way_and_a_payment_being_booked_are_lines(kept: Kept) -> None:
    entry = account()["status"]["reservations"][0]
    coming = {**entry, "name": "invoice-s-2", "usedSeconds": 14_400, "total": "2.40"}
    kept.server.put(
        "renderaccounts",
        account(
            reservations=[],
            reserved="0.00",
            invoiced="4.80",
            invoicing=[coming],
            booking=[{"uid": "uid-new", "name": "new"}],
            paid="105.00",
            balance="100.20",
        ),
    )
    kept.server.put("renderpayments", payment("new", "5.00", "Booking"))
    found = json.loads(kept.run("account", "statement", "studio-a", "-o", "json").stdout)
    assert found["faults"] == []
    assert found["balance"] == "100.20"
    [line] = [line for line in found["lines"] if line["name"] == "invoice-s-2"]
    assert (line["amount"], "time" in line) == ("-2.40", False)
    assert "new" in [line["name"] for line in found["lines"]]
    shown = kept.run("account", "show", "studio-a").stdout
    assert [row[:2] for row in table(shown, "Counted already, being written")] == [
        ["payment", "new"],
        ["invoice", "invoice-s-2"],
    ]


def test_a_payout_that_was_deleted_and_is_not_given_back_yet_is_a_line(kept: Kept) -> None:
    booking = [{"uid": "uid-gone", "name": "gone", "payout": "-5.00"}]
    kept.server.put("renderaccounts", account(booking=booking, paid="95.00", balance="87.80"))
    found = json.loads(kept.run("account", "statement", "studio-a", "-o", "json").stdout)
    assert found["faults"] == []
    assert found["balance"] == "87.80"
    [line] = [line for line in found["lines"] if line["name"] == "gone"]
    assert (line["kind"], line["amount"], "time" in line) == ("payment", "-5.00", False)


def test_show_says_what_is_reserved_and_who_waits(kept: Kept) -> None:
    waiting = {**{"sessionUid": "s-3", "namespace": "studio-a", "sessionName": "big"}}
    kept.server.put("renderaccounts", account(waiting=[{**waiting, "missing": "7.20"}]))
    shown = kept.run("account", "show", "studio-a").stdout
    assert "Balance:    92.80 EUR" in shown
    assert table(shown, "Reserved")[0][:6] == [
        *("studio-a", "teapots", "cpu-small", "2", "8h", "4.80")
    ]
    assert "0.5 + 0.1 a node-hour" in shown
    assert table(shown, "Waiting for money, the first in line on top") == [
        ["studio-a", "big", "7.20"]
    ]
    whole = json.loads(kept.run("account", "show", "studio-a", "-o", "json").stdout)
    assert whole["status"]["balance"] == "92.80"


def test_list_has_a_row_for_each(kept: Kept) -> None:
    lines = kept.run("account", "list").stdout.splitlines()
    assert lines[1].split()[:6] == ["studio-a", "Studio", "A", "92.80", "4.80", "EUR"]
    assert json.loads(kept.run("account", "list", "-o", "json").stdout)["kind"] == "List"


# where the books are --------------------------------------------------------------------------


def test_the_books_are_found_where_accounts_are_seen(kept: Kept) -> None:
    elsewhere = account()
    elsewhere["metadata"] = meta("studio-a", namespace="books")
    kept.server.put("renderaccounts", elsewhere)
    kept.server.forbidden = {("list", "renderpayments", False)}
    assert "in namespace books is missing" in kept.run("account", "statement", "studio-a").stderr
    for result in (
        kept.run("account", "statement", "studio-a", "--billing-namespace", "chosen"),
        kept.run("account", "statement", "studio-a", DRQUEUE_BILLING_NAMESPACE="chosen"),
    ):
        assert "in namespace chosen is missing" in result.stderr


def test_accounts_in_two_namespaces_have_to_be_told_apart(kept: Kept) -> None:
    other = account()
    other["metadata"] = meta("studio-b", namespace="books")
    kept.server.put("renderaccounts", other)
    result = kept.run("account", "list")
    assert result.exit_code == Exit.USAGE
    assert f"there are accounts in books, {NS}" in result.stderr


def test_a_customer_may_be_given_one_account(kept: Kept) -> None:
    """They may neither list accounts anywhere, nor read payments."""
    denied = {("list", plural, False) for plural in ("renderaccounts", "renderpayments")}
    kept.server.forbidden = {*denied, ("list", "renderaccounts", True)}
    assert "92.80 EUR" in kept.run("account", "show", "studio-a").stdout
    listed = kept.run("account", "list")
    assert listed.exit_code == Exit.CLUSTER
    assert f"list renderaccounts.drqueue.org in namespace {NS} is missing" in listed.stderr
    told = kept.run("account", "statement", "studio-a").stderr
    assert f"list renderpayments.drqueue.org in namespace {NS} is missing" in told
    assert ":drqueue-operator:billing" in told


def test_a_right_that_is_missing_is_named_with_how_it_is_given(kept: Kept) -> None:
    kept.server.forbidden = {
        *(("get", "renderaccounts", False), ("list", "renderaccounts", True)),
    }
    result = kept.run("account", "show", "studio-a")
    assert result.exit_code == Exit.CLUSTER
    assert f"get renderaccounts.drqueue.org 'studio-a' in namespace {NS}" in result.stderr
    assert "--resource-name=studio-a" in result.stderr
    assert "--billing-namespace" in result.stderr


def test_an_account_that_is_not_there(kept: Kept) -> None:
    result = kept.run("account", "show", "studio-b")
    assert result.exit_code == Exit.NOT_FOUND
    assert "did you mean studio-a?" in result.stderr


def test_names_of_accounts_are_completed(kept: Kept) -> None:
    arguments = ["--kubeconfig", str(kept.kubeconfig), "account", "show"]
    complete = ShellComplete(cli, {}, "drqueue", "_DRQUEUE_COMPLETE")
    assert [c.value for c in complete.get_completions(arguments, "stu")] == ["studio-a"]
    kept.server.forbidden = {("list", "renderaccounts", False), ("list", "renderaccounts", True)}
    assert complete.get_completions(arguments, "stu") == []


# any books that add up ------------------------------------------------------------------------

cents = st.integers(1, 10**9).map(lambda n: f"{Decimal(n) / 100:.2f}")


@given(
    paid=st.lists(cents, max_size=6),
    invoiced=st.lists(cents, max_size=6),
    hours=st.lists(st.integers(1, 1000), max_size=6),
    stolen=st.integers(-100, 100),
)
def test_books_that_add_up_have_no_fault_and_a_cent_more_or_less_has_one(
    paid: list[str], invoiced: list[str], hours: list[int], stolen: int
) -> None:
    reservations = [
        {
            **account()["status"]["reservations"][0],
            "sessionUid": f"r-{n}",
            "seconds": h * 3600,
            "amount": str(price(read_terms(TERMS), h * 3600).total),
        }
        for n, h in enumerate(hours)
    ]
    come = sum((read_money(p) for p in paid), Decimal(0))
    went = sum((read_money(i) for i in invoiced), Decimal(0))
    held = sum((read_money(r["amount"]) for r in reservations), Decimal(0))
    enough = payment("enough", str(went + held + 1))
    come += went + held + 1
    books = Books(
        account(
            paid=str(come),
            invoiced=str(went),
            reserved=str(held),
            reservations=reservations,
            balance=str(come - went - held + Decimal(stolen) / 100),
        ),
        [enough, *(payment(f"p-{n}", p) for n, p in enumerate(paid))],
        [invoice(f"s-{n}", i) for n, i in enumerate(invoiced)],
        settled=True,
    )
    made = statement(books)
    assert made.balance == come - went - held
    assert sum((line.amount for line in made.lines), Decimal(0)) == made.balance
    assert bool(made.faults) == (stolen != 0)
    assert as_object(made)["balance"] == f"{made.balance:.2f}"

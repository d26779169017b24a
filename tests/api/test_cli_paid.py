"""The command line on books that the real operator keeps: it says what is reserved, and adds up."""

import json
from typing import Any

from click.testing import CliRunner
from drqueue.cli.exits import Exit
from drqueue.cli.main import cli

from tests.api.books import ACCOUNT, RUNS, PaidFarm


def run(paid: PaidFarm, *arguments: str, code: int = 0) -> str:
    """Run the program as an admin of the tenant and of the books."""
    kubeconfig = str(paid._cluster.kubeconfig)
    environment = {"DRQUEUE_BILLING_NAMESPACE": paid.billing}
    options = ["--kubeconfig", kubeconfig, "-n", paid.namespace]
    result = CliRunner(env=environment).invoke(cli, [*options, *arguments])
    assert result.exit_code == code, result.output
    return result.stdout


def statement(paid: PaidFarm) -> dict[str, Any]:
    """A statement that adds up."""
    found: dict[str, Any] = json.loads(run(paid, "account", "statement", ACCOUNT, "-o", "json"))
    assert found["faults"] == []
    return found


def lines(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(line["kind"], line["amount"], line["balance"]) for line in found["lines"]]


def test_a_session_is_quoted_paid_used_and_invoiced(paid: PaidFarm) -> None:
    asked = ("--class", paid.class_name, "--nodes", "2", "--render-time", "1h")
    quoted = json.loads(run(paid, "quote", *asked, "-o", "json"))
    assert (quoted["total"], quoted["currency"]) == ("72.00", "EUR")
    paid.open_account()
    run(paid, "session", "create", "teapots", *asked)
    paid.wait_funded("teapots", "AwaitingPayment")
    shown = run(paid, "session", "show", "teapots")
    assert "nothing is reserved yet" in shown
    assert "Missing:     72.00 EUR" in shown
    assert "72.00 EUR missing" in run(paid, "session", "list")
    paid.wait(
        "the account says who waits for what",
        lambda: (
            [paid.namespace, "teapots", "72.00"]
            in [line.split() for line in run(paid, "account", "show", ACCOUNT).splitlines()]
        ),
    )
    paid.pay("100.00", "in")
    paid.wait_funded("teapots", "Funded")
    back = paid.pay("-90.00", "back")  # before that it would be covered, and go out first
    paid.wait_booked("in")
    paid.wait_booked(back, "Waiting")
    found = statement(paid)
    assert lines(found) == [
        ("payment", "100.00", "100.00"),
        ("reservation", "-72.00", "28.00"),
    ]
    assert [payment["name"] for payment in found["openPayments"]] == ["back"]
    assert "does not cover it" in run(paid, "account", "statement", ACCOUNT)
    paid.make("RenderJob", **RUNS)
    paid.wait_nodes(2)
    paid.wait_lived(2)
    assert "72.00 EUR, reserved for 2h" in run(paid, "session", "show", "teapots")
    run(paid, "session", "delete", "teapots")
    # what it used is charged, and the rest pays the correction out
    paid.wait_sums(reserved="0")
    paid.wait_booked(back)
    made = statement(paid)
    charged = [line for line in made["lines"] if line["kind"] == "invoice"]
    assert len(charged) == 1
    assert made["balance"] == str(paid.sums()["balance"])
    assert run(paid, "session", "show", "teapots", code=Exit.NOT_FOUND) == ""

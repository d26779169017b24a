"""What `drqueue session` says about price, account and what is missing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from drqueue.cli.main import cli

from tests.exec_server import ExecServer, Script, serve

FUNDED = {
    **{"state": "Funded", "accountName": "studio-a", "currency": "EUR", "generation": 1},
    **{"price": "4.80", "nodes": 2, "seconds": 28_800},
}
AWAITING = {
    **{"state": "Awaiting", "accountName": "studio-a", "currency": "EUR", "generation": 0},
    "missing": "7.20",
}


def session(funding: dict[str, Any] | None, render_time: str = "4h") -> dict[str, Any]:
    """Build a session with two nodes."""
    status: dict[str, Any] = {"phase": "Active", "observedGeneration": 1}
    if funding is not None:
        status["funding"] = funding
    return {
        "metadata": {
            **{"name": "teapots", "namespace": "studio-a", "uid": "s-1", "generation": 1},
            "creationTimestamp": "2026-11-25T10:00:00Z",
        },
        "spec": {"nodeClassName": "cpu-small", "nodes": 2, "renderTime": render_time},
        "status": status,
    }


class Server:
    """A server, and the program to run against it."""

    def __init__(self, server: ExecServer, kubeconfig: Path) -> None:
        self.server, self.kubeconfig = server, kubeconfig

    def run(self, *arguments: str) -> str:
        """Run the program, which has to end well."""
        result = CliRunner().invoke(cli, ["--kubeconfig", str(self.kubeconfig), *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    def show(self, item: dict[str, Any]) -> str:
        """Show a session."""
        self.server.put("rendersessions", item)
        return self.run("session", "show", "teapots")

    def list_all(self, item: dict[str, Any]) -> tuple[list[str], str]:
        """List a session; give the headers, and its row."""
        self.server.put("rendersessions", item)
        header, row = self.run("session", "list").splitlines()
        return header.split(), row


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path, lambda *_: Script()) as (made, kubeconfig):
        yield Server(made, kubeconfig)


def test_a_funded_session(server: Server) -> None:
    shown = server.show(session(FUNDED))
    assert "Account:     studio-a" in shown
    assert "Price:       4.80 EUR, reserved for 8h\n" in shown
    headers, row = server.list_all(session(FUNDED))
    assert headers[6:8] == ["ACCOUNT", "PRICE"]
    assert "studio-a  4.80 EUR" in row


def test_what_the_time_used_is_worth(server: Server) -> None:
    item = session(FUNDED)
    item["status"]["renderTime"] = {"granted": "8h", "used": "3h", "remaining": "5h"}
    shown = server.show(item)
    assert "Price:       4.80 EUR, reserved for 8h; about 1.80 EUR of it used\n" in shown
    assert "3h used, 5h left of 8h" in shown


def test_a_raise_that_is_not_covered_yet(server: Server) -> None:
    asks = session({**FUNDED, "missing": "2.40"}, "6h")
    shown = server.show(asks)
    assert "4.80 EUR, reserved for 8h of the 12h asked for" in shown
    assert "Missing:     2.40 EUR" in shown
    assert "4.80 EUR, 2.40 EUR missing" in server.list_all(asks)[1]


def test_a_session_that_waits_for_money(server: Server) -> None:
    waits = session(AWAITING)
    said = {"type": "Funded", "status": "False", "message": "7.20 EUR missing in studio-a"}
    waits["status"]["conditions"] = [said]
    shown = server.show(waits)
    assert "Waits for:   7.20 EUR missing in studio-a" in shown
    assert "nothing is reserved yet" in shown
    assert "Missing:     7.20 EUR" in shown
    assert "7.20 EUR missing" in server.list_all(session(AWAITING))[1]


@pytest.mark.parametrize("funding", [None, {"state": "Free", "generation": 0}])
def test_where_nothing_is_charged_no_column_speaks_of_money(
    server: Server, funding: dict[str, Any] | None
) -> None:
    headers, _ = server.list_all(session(funding))
    assert "PRICE" not in headers
    assert "Missing" not in server.show(session(funding))


def test_a_free_session_says_so(server: Server) -> None:
    assert "free: nothing is charged" in server.show(session({"state": "Free", "generation": 0}))


def test_programs_get_the_funding_as_it_is(server: Server) -> None:
    server.server.put("rendersessions", session(FUNDED))
    found = json.loads(server.run("session", "show", "teapots", "-o", "json"))
    assert found["status"]["funding"] == FUNDED

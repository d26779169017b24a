"""`drqueue quote`: each part of the sum, before anything is bought."""

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from drqueue.billing.prices import Discount, Terms, price
from drqueue.cli.exits import Exit
from drqueue.cli.main import cli
from drqueue.cli.quote import decimal_hours, parts
from hypothesis import given
from hypothesis import strategies as st

from tests.exec_server import Script, serve

ROOT = Path(__file__).parents[2]
PRICE = {
    "currency": "EUR",
    "machinePerHour": "0.50",
    "servicePerHour": "0.10",
    "discounts": [{"fromHours": 100, "percent": "10"}],
    "minimum": "1.00",
}


class Shop:
    """A server with classes, and the program to run against it."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def quote(
        self, nodes: str, render_time: str, *more: str, node_class: str = "cpu-small"
    ) -> Result:
        """Run `drqueue quote`."""
        chosen = ["--class", node_class, "--nodes", nodes, "--render-time", render_time, *more]
        arguments = ["--kubeconfig", str(self.kubeconfig), "quote", *chosen]
        result = CliRunner().invoke(cli, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, nodes: str, render_time: str, **chosen: str) -> dict[str, Any]:
        """Give a quote as a program reads it."""
        result = self.quote(nodes, render_time, "-o", "json", **chosen)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Give a class with a price, one without, and one whose currency is none."""
    with serve(tmp_path, lambda *_: Script()) as (server, kubeconfig):
        for name, given_price in (
            ("cpu-small", PRICE),
            ("kept", {**PRICE, "unused": "Keep"}),
            ("free", None),
            ("odd", {**PRICE, "currency": "XQQ"}),
        ):
            spec = {} if given_price is None else {"price": given_price}
            server.put("rendernodeclasses", {"metadata": {"name": name}, "spec": spec})
        example = ROOT / "examples" / "billing" / "10-priced-class.yaml"
        server.put("rendernodeclasses", yaml.safe_load(example.read_text("utf-8")))
        yield Shop(kubeconfig)


# worked out by hand
TABLE = [
    # 8 h: 4.00 + 0.80
    ("2", "4h", [("machine", "4.00"), ("service", "0.80")], "4.80"),
    # 1 h costs 0.60, the least charge is 1.00
    ("1", "1h", [("machine", "0.50"), ("service", "0.10"), ("minimum", "0.40")], "1.00"),
    # 100 h: 50 + 10, a tenth off
    ("10", "10h", [("machine", "50.00"), ("service", "10.00"), ("discount", "-6.00")], "54.00"),
    # 95 h would cost 57.00; 100 h cost 54.00
    ("19", "5h", [("machine", "47.50"), ("service", "9.50"), ("cap", "-3.00")], "54.00"),
    # 90 h cost as much as 100 h: nothing to cut
    ("9", "10h", [("machine", "45.00"), ("service", "9.00")], "54.00"),
]


@pytest.mark.parametrize(("nodes", "render_time", "expected", "total"), TABLE)
def test_each_part_of_the_sum(
    shop: Shop, nodes: str, render_time: str, expected: list[tuple[str, str]], total: str
) -> None:
    found = shop.json(nodes, render_time)
    assert [(part["part"], part["amount"]) for part in found["parts"]] == expected
    assert (found["total"], found["currency"]) == (total, "EUR")
    assert sum(Decimal(part["amount"]) for part in found["parts"]) == Decimal(total)


def test_for_people(shop: Shop) -> None:
    text = shop.quote("19", "5h").stdout
    assert "Node time:   95h (19 × 5h)" in text
    assert "Price:       54.00 EUR" in text
    assert "95 h × 0.50" in text
    assert "100 h cost less (10 % off): never more than that" in text
    assert "is paid back" in text
    assert text.splitlines()[-1].split() == ["total", "54.00"]
    assert "is not paid back" in shop.quote("1", "1h", node_class="kept").stdout


def test_the_page_on_billing_shows_what_it_prints(shop: Shop) -> None:
    page = (ROOT / "docs" / "billing.md").read_text("utf-8")
    assert shop.quote("19", "5h", node_class="cpu-paid").stdout in page


def test_a_class_without_a_price_is_free(shop: Shop) -> None:
    assert "free: the class has no price" in shop.quote("2", "4h", node_class="free").stdout
    found = shop.json("2", "4h", node_class="free")
    assert (found["free"], found["total"], found["nodeSeconds"]) == (True, "0", 28_800)


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (("0", "4h", "cpu-small"), Exit.REFUSED, "nodes: "),
        (("2", "4 hours", "cpu-small"), Exit.REFUSED, "renderTime: '4 hours' is no duration"),
        (("2", "0s", "cpu-small"), Exit.REFUSED, "zero is no time"),
        (("two", "4h", "cpu-small"), Exit.USAGE, "'two' is not a valid integer"),
        (("2", "4h", "cpu-smal"), Exit.NOT_FOUND, "did you mean cpu-small"),
        (("2", "4h", "odd"), Exit.REFUSED, "node class odd: spec.price: 'XQQ' is no currency"),
    ],
)
def test_what_cannot_be_priced(
    shop: Shop, asked: tuple[str, str, str], code: Exit, said: str
) -> None:
    nodes, render_time, node_class = asked
    result = shop.quote(nodes, render_time, node_class=node_class)
    assert result.exit_code == code
    assert said in result.stderr


amounts = st.integers(0, 10**6).map(lambda n: Decimal(n) / 1000)


@given(
    fees=st.tuples(amounts, amounts, amounts),
    brackets=st.dictionaries(st.integers(1, 500), st.integers(0, 100), max_size=4),
    seconds=st.integers(1, 10**7),
    currency=st.sampled_from(["EUR", "JPY", "KWD"]),
)
def test_the_parts_add_up_to_the_total(
    fees: tuple[Decimal, Decimal, Decimal], brackets: dict[int, int], seconds: int, currency: str
) -> None:
    machine, service, minimum = fees
    discounts = tuple(Discount(h, Decimal(p)) for h, p in sorted(brackets.items()))
    made = price(Terms(currency, machine, service, discounts, minimum=minimum), seconds)
    assert sum((amount for *_, amount in parts(made)), Decimal(0)) == made.total


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (Fraction(8), "8"),
        (Fraction(3, 2), "1.5"),
        (Fraction(1000), "1000"),
        (Fraction(1, 3), "~0.3333"),
        (Fraction(1, 3600), "~0.0003"),
    ],
)
def test_hours(hours: Fraction, text: str) -> None:
    assert decimal_hours(hours) == text

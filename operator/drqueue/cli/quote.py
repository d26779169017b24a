"""`drqueue quote`: what a session would cost, part by part, before it is bought."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import click
from pydantic import ValidationError

from drqueue.api import API_VERSION
from drqueue.api.session import RenderSessionSpec
from drqueue.api.values import format_duration
from drqueue.billing.money import write_money
from drqueue.billing.prices import Quote, Terms, price, read_terms, write_terms
from drqueue.cli.context import Command, Run, pass_run
from drqueue.cli.exits import refused
from drqueue.cli.kinds import NODE_CLASS
from drqueue.cli.manifest import explain_validation
from drqueue.cli.objects import find, name_completer, nodes_option, render_time_option
from drqueue.cli.output import dig, output_option, print_fields, print_object, print_table, section


@click.command("quote", cls=Command)
@click.option(
    "--class",
    "node_class",
    required=True,
    metavar="NAME",
    help="Node class to take nodes from.",
    shell_complete=name_completer(NODE_CLASS),
)
@nodes_option
@render_time_option
@output_option
@pass_run
def quote(run: Run, *, node_class: str, nodes: int, render_time: str, form: str) -> None:
    """Price a session before it is bought: nodes × render time, with each part of the sum.

    The class's price as it is now. A session keeps the price at which it was funded, whatever
    becomes of the class's. Only the class is read: no account is needed.
    """
    seconds = _node_seconds(node_class, nodes, render_time)
    item = find(run.cluster, NODE_CLASS, None, node_class)
    data = dig(item, "spec", "price")
    try:
        made = price(read_terms(data), seconds) if data else None
        found = as_object(node_class, nodes, seconds, made)
    except ValueError as problem:
        raise refused(f"node class {node_class}: spec.price: {problem}") from problem
    if form != "table":
        print_object(form, found)
        return
    total = f"{found['total']} {found['currency']}" if made else "free: the class has no price"
    print_fields(
        [
            ("Node class", node_class),
            ("Node time", f"{found['nodeTime']} ({nodes} × {render_time})"),
            ("Price", total),
            ("Unused time", _unused(made.terms) if made else None),
        ]
    )
    if made is not None:
        section("Parts")
        rows = [[part["part"], part["text"], part["amount"]] for part in found["parts"]]
        rows.append(["total", "", found["total"]])
        print_table(["PART", "HOW", "AMOUNT"], rows, "")


def _node_seconds(node_class: str, nodes: int, render_time: str) -> int:
    """Node-seconds, within the limits of a session. Raises CliError by field."""
    spec = {"nodeClassName": node_class, "nodes": nodes, "renderTime": render_time}
    try:
        checked = RenderSessionSpec.model_validate(spec)
    except ValidationError as problem:
        raise refused("no such session can be bought", explain_validation(problem)) from problem
    return nodes * int(checked.render_time.total_seconds())


def as_object(node_class: str, nodes: int, seconds: int, made: Quote | None) -> dict[str, Any]:
    """Write a quote for programs; one without `currency` is free."""
    common = {
        "apiVersion": API_VERSION,
        "kind": "Quote",
        "nodeClassName": node_class,
        "nodes": nodes,
        "nodeTime": format_duration(timedelta(seconds=seconds)),
        "nodeSeconds": seconds,
    }
    if made is None:
        return {**common, "free": True, "parts": [], "total": "0"}
    currency = made.terms.currency
    return {
        **common,
        "free": False,
        "currency": currency,
        "terms": write_terms(made.terms),
        "parts": [
            {"part": name, "text": text, "amount": write_money(amount, currency)}
            for name, text, amount in parts(made)
        ],
        "total": write_money(made.total, currency),
    }


def parts(made: Quote) -> Iterator[tuple[str, str, Decimal]]:
    """Name each part of the sum, how it comes about, and its amount; they add up to the total."""
    terms, hours = made.terms, decimal_hours(made.hours)
    yield "machine", f"{hours} h × {terms.machine_per_hour:f}", made.machine
    if made.service or terms.service_per_hour:
        yield "service", f"{hours} h × {terms.service_per_hour:f}", made.service
    if made.bracket is not None:
        bracket = made.bracket
        yield "discount", f"{bracket.percent:f} % off from {bracket.from_hours} h on", made.discount
    if made.next_bracket is not None:
        after = made.next_bracket
        text = f"{after.from_hours} h cost less ({after.percent:f} % off): never more than that"
        yield "cap", text, made.cut
    if made.minimum_added:
        yield "minimum", f"the least charge is {terms.minimum:f}", made.minimum_added


def decimal_hours(hours: Fraction) -> str:
    """Write hours plainly: `8`, `1.5`, and a third with four decimals and a sign that it is one."""
    exact = hours * 10_000
    text = f"{Decimal(round(exact)) / 10_000:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text if exact.denominator == 1 else f"~{text}"


def _unused(terms: Terms) -> str:
    kept = "is not paid back when the session is deleted"
    return kept if terms.unused == "Keep" else "is paid back when the session is deleted"

"""`drqueue account`: prepaid money, and what became of it."""

from datetime import timedelta
from typing import Any

import click

from drqueue.api.values import format_duration
from drqueue.billing.money import write_money
from drqueue.cli.books import (
    account_argument,
    billing_namespace,
    billing_namespace_option,
    list_accounts,
    read_account,
    read_books,
)
from drqueue.cli.context import Group, Run, note, pass_run
from drqueue.cli.describe import print_conditions, print_events, unseen, why_not_ready
from drqueue.cli.exits import CliError, Exit
from drqueue.cli.kinds import Object
from drqueue.cli.output import (
    age,
    dig,
    output_option,
    print_fields,
    print_object,
    print_objects,
    print_table,
    section,
)
from drqueue.cli.statement import Statement, as_object, phase, statement


@click.group("account", cls=Group)
def account() -> None:
    """Accounts: what was paid in, what is reserved for sessions, what is left.

    They are in the namespace of the books, not in yours (-n changes nothing here): see
    --billing-namespace of each command.
    """


@account.command("list")
@billing_namespace_option
@output_option
@pass_run
def list_all(run: Run, chosen: str | None, form: str) -> None:
    """List accounts with their balances. Takes the right to list them."""
    items = list_accounts(run, billing_namespace(run, chosen))
    if form != "table":
        print_objects(form, items)
        return
    rows = [
        [
            dig(item, "metadata", "name"),
            dig(item, "spec", "owner"),
            dig(item, "status", "balance"),
            dig(item, "status", "reserved"),
            dig(item, "spec", "currency"),
            len(dig(item, "status", "reservations") or ()),
            len(dig(item, "status", "waiting") or ()),
            age(dig(item, "metadata", "creationTimestamp"), run.now),
            unseen(item) or why_not_ready(item),
        ]
        for item in items
    ]
    headers = [
        *("NAME", "OWNER", "BALANCE", "RESERVED", "CURRENCY"),
        *("SESSIONS", "WAITING", "AGE", "WHY"),
    ]
    print_table(headers, rows, "no accounts")


@account.command("show")
@account_argument
@billing_namespace_option
@output_option
@pass_run
def show(run: Run, name: str, chosen: str | None, form: str) -> None:
    """Show an account: its balance, what is reserved for which session, and who waits.

    Balance = payments booked - invoices - reservations. The right to get this one account is
    enough.
    """
    item = read_account(run, billing_namespace(run, chosen), name)
    if form != "table":
        print_object(form, item)
        return
    _print_summary(item, run)
    _print_reservations(item)
    _print_waiting(item)
    _print_under_way(item)
    print_conditions(item, run.now)
    print_events(run.cluster, item, run.now)


def _print_summary(item: Object, run: Run) -> None:
    meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    currency = spec.get("currency")

    def money(name: str) -> str | None:
        return f"{status[name]} {currency}" if name in status else None

    print_fields(
        [
            ("Account", f"{meta['namespace']}/{meta['name']}"),
            ("Owner", spec.get("owner")),
            ("Why", unseen(item) or why_not_ready(item)),
            ("Balance", money("balance")),
            ("Paid", money("paid")),
            ("Invoiced", money("invoiced")),
            ("Reserved", money("reserved")),
            ("Namespaces", ", ".join(spec.get("namespaces") or ()) or "none may spend from it"),
            ("Age", age(meta.get("creationTimestamp"), run.now)),
        ]
    )


def _print_reservations(item: Object) -> None:
    entries = dig(item, "status", "reservations") or []
    if not entries:
        return
    terms = {entry["id"]: entry for entry in dig(item, "status", "terms") or ()}
    section("Reserved")
    print_table(
        ["NAMESPACE", "SESSION", "CLASS", "NODES", "NODE TIME", "AMOUNT", "TERMS"],
        [
            [
                entry["namespace"],
                entry["sessionName"],
                entry["className"],
                entry["nodes"],
                format_duration(timedelta(seconds=int(entry["seconds"]))),
                entry["amount"],
                _terms(terms.get(entry["terms"])),
            ]
            for entry in entries
        ],
        "",
    )


def _terms(entry: dict[str, Any] | None) -> str:
    """The price that was agreed for a session, in short."""
    if entry is None:
        return ""
    parts = [f"{entry['machinePerHour']} + {entry.get('servicePerHour', '0')} a node-hour"]
    for bracket in entry.get("discounts") or ():
        parts.append(f"{bracket['percent']} % off from {bracket['fromHours']} h")
    if entry.get("unused") == "Keep":
        parts.append("unused time is kept")
    return ", ".join(parts)


def _print_waiting(item: Object) -> None:
    entries = dig(item, "status", "waiting") or []
    if not entries:
        return
    section("Waiting for money, the first in line on top")
    print_table(
        ["NAMESPACE", "SESSION", "MISSING"],
        [[entry["namespace"], entry["sessionName"], entry["missing"]] for entry in entries],
        "",
    )


def _print_under_way(item: Object) -> None:
    rows = [
        *(["payment", e["name"], ""] for e in dig(item, "status", "booking") or ()),
        *(["invoice", e["name"], e["total"]] for e in dig(item, "status", "invoicing") or ()),
    ]
    if rows:
        section("Counted already, being written")
        print_table(["WHAT", "NAME", "AMOUNT"], rows, "")


@account.command("statement")
@account_argument
@billing_namespace_option
@output_option
@pass_run
def show_statement(run: Run, name: str, chosen: str | None, form: str) -> None:
    """Print the lines behind a balance, and check that they add up to it.

    Booked payments and invoices by time, then what is reserved now, each with the balance after
    it. Takes the rights to get the account, and to list payments and invoices. Where the sums do
    not agree, it says where, and ends in exit code 7.
    """
    books = read_books(run, billing_namespace(run, chosen), name)
    try:
        made = statement(books)
        found = as_object(made)
    except ValueError as problem:
        raise CliError(Exit.REFUSED, f"account {name}: {problem}") from problem
    except KeyError as problem:
        raise CliError(
            Exit.BOOKS_DIFFER, f"account {name}: its status names {problem}, which is not there"
        ) from problem
    if form == "table":
        _print_statement(made)
    else:
        print_object(form, found)
    if not made.faults:
        return
    if books.settled:
        raise CliError(Exit.BOOKS_DIFFER, f"account {name}: the sums do not agree:", made.faults)
    note(f"account {name} was changed while it was read, so sums may differ: run it again")
    for fault in made.faults:
        note(f"  {fault}")


def _print_statement(made: Statement) -> None:
    meta, spec = made.account["metadata"], made.account["spec"]

    def money(text: str) -> str:
        return f"{text} {made.currency}"

    print_fields(
        [
            ("Account", f"{meta['namespace']}/{meta['name']}"),
            ("Owner", spec.get("owner")),
            ("Balance", money(write_money(made.balance, made.currency))),
        ]
    )
    section("Lines")
    print_table(
        ["TIME", "WHAT", "NAME", "AMOUNT", "BALANCE", "TEXT"],
        [
            [
                line.time or "now",
                line.kind,
                line.name,
                write_money(line.amount, made.currency),
                write_money(line.balance, made.currency),
                line.text,
            ]
            for line in made.lines
        ],
        "nothing was paid in yet",
    )
    if made.open_payments:
        section("Not booked: not part of the balance")
        print_table(
            ["NAME", "PHASE", "AMOUNT", "CURRENCY", "REFERENCE", "WHY"],
            [
                [
                    payment["metadata"]["name"],
                    phase(payment),
                    payment["spec"]["amount"],
                    payment["spec"]["currency"],
                    payment["spec"].get("reference"),
                    why_not_booked(payment),
                ]
                for payment in made.open_payments
            ],
            "",
        )


def why_not_booked(payment: Object) -> str:
    """What the Booked condition says, or the Ready one."""
    conditions = {c.get("type"): c for c in dig(payment, "status", "conditions") or ()}
    said = conditions.get("Booked") or conditions.get("Ready") or {}
    return str(said.get("message") or said.get("reason") or "") or unseen(payment)

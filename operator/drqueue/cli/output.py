"""Output: tables for people, JSON and YAML for programs."""

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import yaml
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from drqueue.api.values import parse_time
from drqueue.cli.context import FORMS, Run
from drqueue.cli.kinds import Object

COLOURS = {
    **dict.fromkeys(("Succeeded", "Ready", "True", "Active", "Done", "Booked"), "green"),
    **dict.fromkeys(("Running", "Launching", "Accepted", "Booking"), "cyan"),
    **dict.fromkeys(("Failed", "Killed", "Refused", "Exhausted"), "red"),
    **dict.fromkeys(("Pending", "Waiting", "Suspended", "Draining", "Warning", "False"), "yellow"),
    **dict.fromkeys(("AwaitingPayment", "Parked"), "yellow"),
}

MIN_LAST_WIDTH = 16
COLOURS |= {word.lower(): colour for word, colour in COLOURS.items()}
"""Phases are written large, states of frames small."""


def _form(ctx: click.Context, _: click.Parameter, value: str | None) -> str:
    return value or ctx.ensure_object(Run).form_option or "table"


output_option = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(FORMS),
    callback=_form,
    help="A table for people, or the objects themselves for programs.  [default: table]",
)


def print_objects(form: str, objects: Sequence[Object]) -> None:
    """Write a list of objects as a Kubernetes List, in JSON or YAML."""
    print_object(
        form, {"apiVersion": "v1", "kind": "List", "items": [_stripped(item) for item in objects]}
    )


def print_object(form: str, item: Object) -> None:
    """Write one object in JSON or YAML."""
    if form == "json":
        click.echo(json.dumps(_stripped(item), indent=2, ensure_ascii=False))
    else:
        text = yaml.safe_dump(_stripped(item), sort_keys=False, allow_unicode=True, width=100)
        click.echo(text, nl=False)


def _stripped(item: Object) -> Object:
    metadata = item.get("metadata")
    if not isinstance(metadata, dict):
        return item
    kept = {key: value for key, value in metadata.items() if key != "managedFields"}
    return {**item, "metadata": kept}


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Write a table: fitted to a terminal, or whole and without colours where it is piped."""
    cells = [[clean(str(cell if cell is not None else ""), " ") for cell in row] for row in rows]
    if not cells:
        click.echo(empty, err=True)
    elif sys.stdout.isatty():
        _print_fitted(headers, cells)
    else:
        _print_whole(headers, cells)


def _print_fitted(headers: Sequence[str], rows: list[list[str]]) -> None:
    console = Console(file=sys.stdout)
    *fixed, _ = _widths([list(headers), *rows])
    if sum(fixed) + 2 * len(fixed) + MIN_LAST_WIDTH > console.width:
        # too narrow: lines that the terminal breaks are better than columns cut to nothing
        _print_whole(headers, rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, header in enumerate(headers):
        # only the last column, which holds sentences, may be broken into lines
        table.add_column(header, no_wrap=index < len(headers) - 1, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    console.print(table)


def _print_whole(headers: Sequence[str], rows: list[list[str]]) -> None:
    lines = [list(headers), *rows]
    widths = _widths(lines)
    for line in lines:
        padded = [
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def _widths(lines: list[list[str]]) -> list[int]:
    return [max(cell_len(line[column]) for line in lines) for column in range(len(lines[0]))]


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Write names and values below each other; what is None or empty is left out."""
    present = [(name, value) for name, value in fields if value not in (None, "", [])]
    width = max((len(name) for name, _ in present), default=0) + 2
    for name, value in present:
        first, *rest = clean(str(value)).splitlines() or [""]
        click.echo(f"{name + ':':<{width}}{coloured(first)}")
        for line in rest:
            click.echo(" " * width + line)


def coloured(text: str) -> str:
    """Colour a word that has one, where the output is a terminal that wants colours."""
    colour = COLOURS.get(text)
    return click.style(text, fg=colour) if colour and wants_colour() else text


def wants_colour() -> bool:
    """Whether stdout is a terminal that takes colours, and NO_COLOR is not set."""
    console = Console(file=sys.stdout)
    return console.is_terminal and not console.no_color and console.color_system is not None


def clean(text: str, newline: str = "\n") -> str:
    """Take out control characters: text from a renderer must not command a terminal."""
    kept = (char if char.isprintable() or char in "\n\t" else "" for char in text)
    return "".join(kept).replace("\n", newline)


def age(moment: object, now: Callable[[], datetime]) -> str:
    """Write how long ago a time was, in its two largest units: `3d4h`, `12m`."""
    if not moment:
        return ""
    return short_duration((now().astimezone(UTC) - parse_time(moment)).total_seconds())


def short_duration(seconds: float) -> str:
    """Write seconds in their two largest units: `3d4h`, `12m5s`, `0s`."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if parts or count or unit == "s":
            parts.append(f"{count}{unit}" if count or not parts else "")
    return "".join(parts[:2])


def bytes_text(count: float) -> str:
    """Write a number of bytes for people: `12.3 MiB`."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def section(title: str) -> None:
    """Begin a part of a longer text."""
    click.echo("")
    click.echo(click.style(title, bold=True) if wants_colour() else title)


def dig(item: Any, *path: str) -> Any:
    """Look a value up along keys; None where the way ends."""
    for key in path:
        if not isinstance(item, dict):
            return None
        item = item.get(key)
    return item

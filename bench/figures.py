"""What a measure gives, and how it is printed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One number. `aim` says in words what is aimed at; it is never asserted."""

    measure: str
    name: str
    value: float
    unit: str
    aim: str = ""


def show(figures: Sequence[Figure], where: Path) -> None:
    """Print the figures as a table, and write them to a JSON file."""
    table = Table("measure", "what", "value", "unit", "aim")
    for figure in figures:
        table.add_row(
            figure.measure,
            figure.name,
            f"{figure.value:,.4g}" if abs(figure.value) < 10 else f"{figure.value:,.1f}",
            figure.unit,
            figure.aim,
        )
    Console().print(table)
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")

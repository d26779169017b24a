"""`python -m bench [MEASURE ...]`: run measures, print a table, write out/bench.json."""

import importlib
import tempfile
from pathlib import Path

import click

from bench.figures import Figure, show

MEASURES = ("dispatch", "overhead", "scaleup", "writes", "planning", "memory")


@click.command()
@click.argument("measures", nargs=-1, type=click.Choice(MEASURES))
@click.option("--to", default="out/bench.json", show_default=True, type=click.Path(path_type=Path))
def main(measures: tuple[str, ...], to: Path) -> None:
    """Run the MEASURES named (default: all), one after the other."""
    figures: list[Figure] = []
    for name in measures or MEASURES:
        click.echo(f"measuring: {name}", err=True)
        with tempfile.TemporaryDirectory(prefix=f"drqueue-bench-{name}-") as scratch:
            figures += importlib.import_module(f"bench.{name}").measure(Path(scratch))
    show(figures, to)


if __name__ == "__main__":
    main()

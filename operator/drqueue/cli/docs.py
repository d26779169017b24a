"""Writes docs/cli.md from the commands' own help: `python -m drqueue.cli.docs docs/cli.md`.

With --check nothing is written, and a difference ends in exit code 1.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from drqueue.cli.exits import MEANINGS
from drqueue.cli.main import PROGRAM, cli

WIDTH = 96

INTRODUCTION = f"""\
# The command line

<!-- Written by `python -m drqueue.cli.docs docs/cli.md` from the program's own help: edit that. -->

`{PROGRAM}` is also found as `kubectl drqueue`, for the package installs `kubectl-{PROGRAM}` beside
it. Everything goes through the Kubernetes API of your kubeconfig context with your own rights;
nothing else has to be reachable from a laptop. The role `view` is enough to list and show, `edit`
to do all the rest (frames, logs and downloads are read by pods/exec). Accounts are in the
namespace of the books, which takes a right of its own: see [billing](billing.md).

Tables are for people: fitted and coloured on a terminal (`NO_COLOR` turns colours off), whole and
plain where the output is piped. `-o json` and `-o yaml` give the objects themselves. `-n`,
`--context`, `--kubeconfig` and `-o` may stand before or behind the name of a command.

```sh
drqueue quote --class cpu-small --nodes 2 --render-time 4h   # what it would cost, part by part
drqueue session create teapots --class cpu-small --nodes 2 --render-time 4h
drqueue job submit turntable --session teapots --renderer povray --scene scene.pov --frames 1-24
drqueue job watch turntable               # exit code 0 when all frames are there, 5 when not
drqueue job show turntable                # why it waits, what failed
drqueue job logs turntable                # of the frame that failed last; --frame 7 --follow
drqueue job download turntable --to out   # again: fetches only what is missing
drqueue job rerun turntable --failed
drqueue session show teapots              # render time used and left, price, what is missing
drqueue account statement studio-a        # each line behind a balance; exit code 7 if sums differ
```

Frames and logs are read through the session's master while it runs. While it is asleep (no job
has frames left), a small reader pod is asked for, which takes some seconds and goes again after
ten idle minutes.

## Exit codes

| code | meaning |
|---|---|
"""


def render() -> str:
    """Write the whole page."""
    codes = "".join(f"| {int(code)} | {meaning} |\n" for code, meaning in MEANINGS.items())
    parts = [INTRODUCTION + codes]
    parts += [
        f"\n## {path}\n\n```text\n{help_text}\n```\n" for path, help_text in _pages(cli, PROGRAM)
    ]
    return "".join(parts)


def _pages(
    command: click.Command, path: str, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    name = path.rpartition(" ")[2]
    # as the program makes its own: click keeps a command's help option from the first context
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    ctx = click.Context(command, info_name=name, parent=parent, **settings)
    # without the epilog: the codes stand in a table of their own already
    epilog, command.epilog = command.epilog, None
    try:
        lines = command.get_help(ctx).splitlines()
    finally:
        command.epilog = epilog
    yield path, "\n".join(line.rstrip() for line in lines)
    if isinstance(command, click.Group):
        for child in command.list_commands(ctx):
            found = command.get_command(ctx, child)
            if found is not None:
                yield from _pages(found, f"{path} {child}", ctx)


@click.command()
@click.argument("page", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Only say whether the page is up to date.")
def main(page: Path, check: bool) -> None:
    """Write the page on the command line, or check it."""
    text = render()
    if not check:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, "utf-8")
    elif not page.is_file() or page.read_text("utf-8") != text:
        click.echo(f"{page} is not up to date: run python -m drqueue.cli.docs {page}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

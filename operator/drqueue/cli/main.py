"""The program: `drqueue`, also found as `kubectl drqueue`."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

import click

from drqueue.cli.accounts import account
from drqueue.cli.completion import completion
from drqueue.cli.context import Program
from drqueue.cli.download import download
from drqueue.cli.exits import MEANINGS
from drqueue.cli.frames import frames
from drqueue.cli.jobs import job
from drqueue.cli.logs import logs
from drqueue.cli.nodes import node
from drqueue.cli.quote import quote
from drqueue.cli.sessions import session
from drqueue.cli.submit import submit
from drqueue.cli.watching import watch

PROGRAM = "drqueue"

_EPILOG = "\b\nExit codes:\n" + "\n".join(
    f"  {int(code):>3}  {meaning}" for code, meaning in MEANINGS.items()
)


@click.group(
    PROGRAM,
    cls=Program,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("drqueue"), message="%(prog)s %(version)s")
def cli() -> None:
    """Render frames on a Kubernetes cluster with DrQueue.

    A session is what you buy: nodes × render time of a node class. Jobs render on it. All of it
    goes through the Kubernetes API of your kubeconfig context, with your own rights.
    """


for _command in (submit, frames, logs, download, watch):
    job.add_command(_command)
for _noun in (session, job, node, account, quote, completion):
    cli.add_command(_noun)


def _open_streams() -> None:
    """One that the caller shut is None; a legacy encoding has not every letter of a message."""
    nowhere = Path(os.devnull)
    sys.stdin = sys.stdin or nowhere.open()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or nowhere.open("w")
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)


def main() -> None:
    """Run the program under the name it was called by."""
    _open_streams()
    called = Path(sys.argv[0]).name
    cli(prog_name="kubectl drqueue" if called.startswith("kubectl-") else PROGRAM)

"""Runs one short command and turns its failure into an error that can be read."""

import subprocess
from collections.abc import Sequence

from devcluster.errors import DevclusterError


def run(*command: str, stdin: str | None = None) -> str:
    """Run a command and give its standard output; raises DevclusterError with its complaint."""
    try:
        done = subprocess.run(
            list(command), input=stdin, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise DevclusterError(f"no `{command[0]}` on this machine: install it first") from error
    if done.returncode:
        raise DevclusterError(
            f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


def try_run(command: Sequence[str]) -> bool:
    """Run a command whose failure means no; tells whether it succeeded."""
    try:
        return subprocess.run(list(command), capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False

"""Exit codes, and the error that carries one to the end of the program."""

from enum import IntEnum
from typing import IO, Any

import click


class Exit(IntEnum):
    """What the program's exit code says."""

    OK = 0
    CLUSTER = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    JOB_FAILED = 5
    TIMEOUT = 6
    BOOKS_DIFFER = 7
    INTERRUPTED = 130
    PIPE = 141


MEANINGS = {
    Exit.OK: "done",
    Exit.CLUSTER: (
        "the cluster or its API failed, cannot be reached, or a right is missing; "
        "or input or output here"
    ),
    Exit.USAGE: "wrong usage of the command line",
    Exit.NOT_FOUND: "no such job, session, node, account, frame or file",
    Exit.REFUSED: "refused: invalid input, a name that is taken, or a request that was turned down",
    Exit.JOB_FAILED: "the job watched or waited for failed or was killed",
    Exit.TIMEOUT: "not finished within the time given; what was asked for may still happen",
    Exit.BOOKS_DIFFER: "the sums in the books of an account do not agree; the statement says where",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
    Exit.PIPE: "whoever read the output went away, as `head` does",
}


class CliError(click.ClickException):
    """An error for a person: one message, lines for details, and an exit code."""

    def __init__(self, exit_code: Exit, message: str, details: list[str] | None = None) -> None:
        super().__init__(message)
        # the base class has it as a class variable; click reads it from the instance
        self.__dict__["exit_code"] = int(exit_code)
        self.details = details or []

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message and its details to stderr."""
        click.echo(f"Error: {self.format_message()}", file=file, err=file is None)
        for line in self.details:
            click.echo(f"  {line}", file=file, err=file is None)


def not_found(message: str) -> CliError:
    """Nothing such is there."""
    return CliError(Exit.NOT_FOUND, message)


def refused(message: str, details: list[str] | None = None) -> CliError:
    """Wrong input, or something that the operator turned down."""
    return CliError(Exit.REFUSED, message, details)


def timed_out(message: str) -> CliError:
    """It may still happen, but was not seen in time."""
    return CliError(Exit.TIMEOUT, message)


def usage(message: str) -> click.UsageError:
    """Options that do not go together."""
    return click.UsageError(message)

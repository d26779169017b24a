"""`drqueue completion`: what makes a shell complete commands, options and names of objects."""

import click
from click.shell_completion import get_completion_class

from drqueue.cli.context import Group

VARIABLE = "_DRQUEUE_COMPLETE"


@click.group("completion", cls=Group)
def completion() -> None:
    """Shell completion of commands, options and names of objects in the cluster.

    \b
    bash:  eval "$(drqueue completion bash)"          in ~/.bashrc
    zsh:   eval "$(drqueue completion zsh)"           in ~/.zshrc
    fish:  drqueue completion fish > ~/.config/fish/completions/drqueue.fish
    """


def _print_source(shell: str) -> None:
    from drqueue.cli.main import PROGRAM, cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    complete = found(cli, {}, PROGRAM, VARIABLE)
    # not source(): it runs the shell to ask for its version, and the user may be on another one
    click.echo(complete.source_template % complete.source_vars())


@completion.command("bash")
def bash() -> None:
    """Print the script for bash (4.4 or newer)."""
    _print_source("bash")


@completion.command("zsh")
def zsh() -> None:
    """Print the script for zsh."""
    _print_source("zsh")


@completion.command("fish")
def fish() -> None:
    """Print the script for fish."""
    _print_source("fish")

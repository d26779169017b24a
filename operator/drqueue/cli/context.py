"""What every command needs: where to ask, and the options that say so."""

import os
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from drqueue.cli.cluster import Cluster
from drqueue.cli.connect import Connection, connect
from drqueue.cli.errors import ApiError, UnreachableError, explain
from drqueue.cli.exits import CliError, Exit

FORMS = ("table", "json", "yaml")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Run:
    """One run of the program: its choice of cluster, its clocks, and its source of ids."""

    namespace_option: str | None = None
    context_option: str | None = None
    kubeconfig_option: str | None = None
    form_option: str | None = None
    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = time.monotonic
    new_id: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)

    @cached_property
    def _connection(self) -> Connection:
        return connect(self.kubeconfig_option, self.context_option)

    @cached_property
    def cluster(self) -> Cluster:
        """The API server of the chosen context."""
        return Cluster(self._connection, self.monotonic, say=note)

    @property
    def namespace(self) -> str:
        """The chosen namespace, or the context's."""
        return self.namespace_option or self._connection.namespace


pass_run = click.make_pass_decorator(Run, ensure=True)


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> Any:
        if value is not None:
            setattr(ctx.ensure_object(Run), name, value)
        return value

    return callback


def _where_options() -> list[click.Option]:
    # eager, so that completion of a name further on knows the namespace already
    return [
        click.Option(
            ["-n", "--namespace"],
            metavar="NAME",
            help="Namespace to work in. Default: the kubeconfig context's.",
            expose_value=False,
            is_eager=True,
            callback=_remember("namespace_option"),
        ),
        click.Option(
            ["--context"],
            metavar="NAME",
            help="Context of the kubeconfig. Default: its current one.",
            expose_value=False,
            is_eager=True,
            callback=_remember("context_option"),
        ),
        click.Option(
            ["--kubeconfig"],
            metavar="FILE",
            help="Kubeconfig to use. Default: KUBECONFIG, else ~/.kube/config.",
            expose_value=False,
            is_eager=True,
            callback=_remember("kubeconfig_option"),
        ),
    ]


def _form_option() -> click.Option:
    return click.Option(
        ["-o", "--output"],
        type=click.Choice(FORMS),
        help="How commands that give objects write them; may also stand behind these.",
        expose_value=False,
        callback=_remember("form_option"),
    )


class Command(click.Command):
    """A command that takes the options for the cluster itself, not only before its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _where_options()


class Group(click.Group):
    """A noun: a group of commands."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _where_options()


class Program(Group):
    """The whole program: turns what went wrong into one message and an exit code."""

    group_class = Group

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [_form_option()]

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and explain failures."""
        try:
            return super().invoke(ctx)
        except ApiError as error:
            raise explain(error) from error
        except UnreachableError as problem:
            raise CliError(
                Exit.CLUSTER, f"{problem}: is the cluster up, and the context the right one?"
            ) from problem
        except BrokenPipeError:
            _say_no_more()
            ctx.exit(Exit.PIPE)
        except OSError as problem:
            _say_no_more()
            raise CliError(Exit.CLUSTER, f"input or output failed: {problem}") from problem
        except (KeyboardInterrupt, click.Abort) as interrupt:
            raise CliError(Exit.INTERRUPTED, "interrupted") from interrupt


def _say_no_more() -> None:
    """Send what is still kept for stdout nowhere: Python would fail on it again as it ends."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def note(message: str) -> None:
    """Say something to a person beside the output: on stderr."""
    click.echo(message, file=sys.stderr)

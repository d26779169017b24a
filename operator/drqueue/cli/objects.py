"""What all nouns share: listing, finding one, waiting until it is gone, completing its name."""

import difflib
from collections.abc import Callable
from math import isfinite
from typing import Any

import click
from click.shell_completion import CompletionItem

from drqueue.cli.cluster import Cluster
from drqueue.cli.context import Run
from drqueue.cli.errors import ApiError
from drqueue.cli.exits import not_found, timed_out
from drqueue.cli.kinds import Kind, Object
from drqueue.cli.output import dig

all_namespaces_option = click.option(
    "-A", "--all-namespaces", is_flag=True, help="Of all namespaces."
)
delete_wait_option = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until it is gone."
)
nodes_option = click.option(
    "--nodes", type=int, required=True, help="Nodes that may render at the same time."
)
render_time_option = click.option(
    "--render-time",
    required=True,
    metavar="DURATION",
    help="Time granted for each node, as in 4h or 1h30m.",
)


class Seconds(click.FloatRange):
    """A time to wait: above 0, and not without end."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no number to count with."""
        seconds = super().convert(value, param, ctx)
        if not isfinite(seconds):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return seconds


def find(cluster: Cluster, kind: Kind, namespace: str | None, name: str) -> Object:
    """Read one object; when it is not there, name those that nearly are."""
    if not name.strip(".") or not name.isascii():
        # in a path these would be other things, or nothing that can be sent
        raise not_found(f"no {kind.word} {name!r}: that is no name")
    try:
        return cluster.get(kind, namespace, name)
    except ApiError as error:
        if error.status != 404 or not error.is_status:
            raise
        where = f" in namespace {namespace}" if kind.namespaced else ""
        raise not_found(
            f"no {kind.word} {name!r}{where}{_near(cluster, kind, namespace, name)}"
        ) from error


def _near(cluster: Cluster, kind: Kind, namespace: str | None, name: str) -> str:
    try:
        names = [item["metadata"]["name"] for item in cluster.list_all(kind, namespace)]
    except ApiError:
        return ""
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f": there are {', '.join(names[:10])}" if 0 < len(names) <= 10 else ""


def wait_gone(run: Run, kind: Kind, namespace: str, item: Object, seconds: float) -> None:
    """Wait until an object (this very one) is gone. Raises CliError at the deadline."""
    name, uid = item["metadata"]["name"], item["metadata"]["uid"]
    deadline = run.monotonic() + seconds
    for known in run.cluster.changes(
        kind, namespace, fields=f"metadata.name={name}", deadline=deadline
    ):
        if dig(known, name, "metadata", "uid") != uid:
            return
    raise timed_out(
        f"{kind.word} {name} is being deleted, and still there after {seconds:g} s: "
        "its finalizer waits for the operator to take away what it holds; does the operator run?"
    )


def name_completer(kind: Kind) -> Callable[..., list[CompletionItem]]:
    """Complete the names of objects by asking the API; silent when it cannot be asked."""

    def complete(ctx: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
        run = ctx.ensure_object(Run)
        try:
            namespace = run.namespace if kind.namespaced else None
            items = run.cluster.list_all(kind, namespace)
        except Exception:  # a shell's completion must not print errors
            return []
        names = (item["metadata"]["name"] for item in items)
        return [CompletionItem(name) for name in names if name.startswith(typed)]

    return complete


def name_argument(kind: Kind, **attributes: Any) -> Callable[..., Any]:
    """The argument NAME of a command, completed from the cluster."""
    attributes.setdefault("metavar", "NAME")
    return click.argument("name", shell_complete=name_completer(kind), **attributes)

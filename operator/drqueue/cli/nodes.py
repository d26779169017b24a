"""`drqueue node`: the slaves."""

import click

from drqueue.cli.context import Group, Run, pass_run
from drqueue.cli.kinds import NODE, SESSION
from drqueue.cli.objects import all_namespaces_option, find, name_argument, name_completer
from drqueue.cli.output import dig, output_option, print_objects, print_table
from drqueue.cli.requests import answer_options, ask
from drqueue.cli.rows import NODE_HEADERS, node_row


@click.group("node", cls=Group)
def node() -> None:
    """Render nodes: the slaves of sessions."""


@node.command("list")
@click.option(
    "--session",
    metavar="NAME",
    help="Only nodes of this session.",
    shell_complete=name_completer(SESSION),
)
@all_namespaces_option
@output_option
@pass_run
def list_nodes(run: Run, session: str | None, all_namespaces: bool, form: str) -> None:
    """List render nodes, with the block that each renders."""
    items = run.cluster.list_all(NODE, None if all_namespaces else run.namespace)
    if session is not None:
        items = [item for item in items if dig(item, "spec", "sessionName") == session]
    if form != "table":
        print_objects(form, items)
        return
    rows = [node_row(item, run.now) for item in items]
    headers = list(NODE_HEADERS)
    if all_namespaces:
        headers.insert(0, "NAMESPACE")
        rows = [[dig(i, "metadata", "namespace"), *r] for i, r in zip(items, rows, strict=True)]
    print_table(headers, rows, "no nodes")


@node.command("drain")
@name_argument(NODE)
@answer_options
@pass_run
def drain(run: Run, name: str, no_wait: bool, seconds: float) -> None:
    """Let a node finish its block, take no new one, and end.

    The block may go on for the drainGrace of its node class; then it is tried on another node,
    which costs it no retry. The session may start another node in its place.
    """
    item = find(run.cluster, NODE, run.namespace, name)
    session = str(item["spec"]["sessionName"])
    ask(run, SESSION, session, {"verb": "drain", "node": name}, wait=not no_wait, seconds=seconds)

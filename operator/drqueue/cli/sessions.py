"""`drqueue session`: what a customer buys."""

import sys
from typing import Any

import click

from drqueue.api.session import RenderSession
from drqueue.cli.books import complete_account
from drqueue.cli.context import Group, Run, pass_run
from drqueue.cli.describe import (
    print_conditions,
    print_events,
    print_requests,
    unseen,
    why_not_ready,
)
from drqueue.cli.exits import refused
from drqueue.cli.funding import account_of, funding_fields, paid_for, price_of
from drqueue.cli.kinds import JOB, NODE, NODE_CLASS, SESSION, Object
from drqueue.cli.manifest import check, without_empty
from drqueue.cli.objects import (
    all_namespaces_option,
    delete_wait_option,
    find,
    name_argument,
    name_completer,
    nodes_option,
    render_time_option,
    wait_gone,
)
from drqueue.cli.output import (
    age,
    dig,
    output_option,
    print_fields,
    print_object,
    print_objects,
    print_table,
    section,
)
from drqueue.cli.rows import JOB_HEADERS, NODE_HEADERS, job_row, node_row

DELETE_SECONDS = 120.0


@click.group("session", cls=Group)
def session() -> None:
    """Render sessions: nodes × render time of a node class, on a volume of their own."""


@session.command("list")
@all_namespaces_option
@output_option
@pass_run
def list_sessions(run: Run, all_namespaces: bool, form: str) -> None:
    """List render sessions."""
    items = run.cluster.list_all(SESSION, None if all_namespaces else run.namespace)
    if form != "table":
        print_objects(form, items)
        return
    priced = any(paid_for(item) for item in items)
    rows = [
        [
            *([dig(item, "metadata", "namespace")] if all_namespaces else []),
            dig(item, "metadata", "name"),
            dig(item, "status", "phase") or "Pending",
            dig(item, "spec", "nodeClassName"),
            f"{dig(item, 'status', 'nodes', 'ready') or 0}/{dig(item, 'spec', 'nodes')}",
            dig(item, "status", "activeJobs") or 0,
            dig(item, "status", "renderTime", "remaining"),
            *([account_of(item), price_of(item)] if priced else []),
            age(dig(item, "metadata", "creationTimestamp"), run.now),
            unseen(item) or why_not_ready(item),
        ]
        for item in items
    ]
    headers = ["NAME", "PHASE", "CLASS", "READY", "JOBS", "REMAINING", "AGE", "WHY"]
    if priced:
        headers[-2:-2] = ["ACCOUNT", "PRICE"]
    if all_namespaces:
        headers.insert(0, "NAMESPACE")
    print_table(headers, rows, "no sessions")


@session.command("show")
@name_argument(SESSION)
@output_option
@pass_run
def show(run: Run, name: str, form: str) -> None:
    """Show a session: its phase, nodes, render time, jobs, conditions and events."""
    namespace = run.namespace
    item = find(run.cluster, SESSION, namespace, name)
    if form != "table":
        print_object(form, item)
        return
    _print_summary(item, run)
    jobs = _of_session(run.cluster.list_all(JOB, namespace), name)
    if jobs:
        section("Jobs")
        print_table(JOB_HEADERS, [job_row(job, run.now) for job in jobs], "")
    nodes = _of_session(run.cluster.list_all(NODE, namespace), name)
    if nodes:
        section("Nodes")
        print_table(NODE_HEADERS, [node_row(node, run.now) for node in nodes], "")
    print_conditions(item, run.now)
    print_requests(item, run.now)
    print_events(run.cluster, item, run.now)


def _of_session(items: list[Object], name: str) -> list[Object]:
    return [item for item in items if dig(item, "spec", "sessionName") == name]


def _print_summary(item: Object, run: Run) -> None:
    nodes = dig(item, "status", "nodes") or {}
    time = dig(item, "status", "renderTime") or {}
    spec = item["spec"]
    print_fields(
        [
            ("Session", f"{item['metadata']['namespace']}/{item['metadata']['name']}"),
            ("Phase", dig(item, "status", "phase") or "Pending"),
            ("Why", unseen(item) or why_not_ready(item)),
            ("Node class", spec.get("nodeClassName")),
            (
                "Nodes",
                f"{spec.get('nodes')} at most, {nodes.get('desired', 0)} wanted, "
                f"{nodes.get('ready', 0)} ready, {nodes.get('running', 0)} rendering, "
                f"{nodes.get('draining', 0)} draining, {nodes.get('parked', 0)} parked",
            ),
            (
                "Render time",
                f"{time.get('used', '0s')} used, {time.get('remaining', '?')} left of "
                f"{time.get('granted', '?')} ({spec.get('nodes')} × {spec.get('renderTime')})",
            ),
            *funding_fields(item),
            ("When idle", spec.get("idlePolicy")),
            ("Priority", spec.get("priority")),
            ("Jobs", f"{dig(item, 'status', 'activeJobs') or 0} with frames left"),
            ("Master", dig(item, "status", "master")),
            ("Reader", _until(dig(item, "status", "readerUntil"))),
            ("Claim", dig(item, "status", "claimName")),
            ("Volume", _volume(spec.get("storage") or {})),
            ("Age", age(dig(item, "metadata", "creationTimestamp"), run.now)),
        ]
    )


def _until(moment: str | None) -> str | None:
    return f"until {moment} at the latest" if moment else None


def _volume(storage: dict[str, Any]) -> str:
    keeps = "kept" if storage.get("retain", True) else "deleted"
    parts = [storage.get("size"), storage.get("accessMode"), storage.get("storageClassName")]
    return f"{', '.join(part for part in parts if part)}; {keeps} when the session is deleted"


@session.command("create")
@click.argument("name")
@click.option(
    "--class",
    "node_class",
    required=True,
    metavar="NAME",
    help="Node class to use.",
    shell_complete=name_completer(NODE_CLASS),
)
@nodes_option
@render_time_option
@click.option("--size", metavar="QUANTITY", help="Size of the volume, as in 50Gi.")
@click.option("--storage-class", metavar="NAME", help="Storage class of the volume.")
@click.option(
    "--access-mode",
    type=click.Choice(["ReadWriteMany", "ReadWriteOnce"]),
    help="ReadWriteOnce holds all pods of the session on one machine.",
)
@click.option("--claim", metavar="NAME", help="Take over this claim of an earlier session.")
@click.option(
    "--retain/--no-retain",
    default=None,
    help="Keep the volume when the session is deleted. Default: keep.",
)
@click.option(
    "--account",
    metavar="NAME",
    shell_complete=complete_account,
    help="Account that pays. Default: the one that lists the namespace.",
)
@click.option(
    "--idle-policy",
    type=click.Choice(["Shutdown", "ShutdownWithDelay", "Park"]),
    help="What becomes of nodes with nothing to render. Default: the node class's.",
)
@click.option(
    "--priority",
    type=click.IntRange(0, 100),
    help="Before the namespace's other sessions where nodes are scarce: 100 first. Default: 50.",
)
@click.option("--dry-run", is_flag=True, help="Let the server check it, and make nothing.")
@output_option
@pass_run
def create(
    run: Run,
    *,
    name: str,
    node_class: str,
    nodes: int,
    render_time: str,
    size: str | None,
    storage_class: str | None,
    access_mode: str | None,
    claim: str | None,
    retain: bool | None,
    account: str | None,
    idle_policy: str | None,
    priority: int | None,
    dry_run: bool,
    form: str,
) -> None:
    """Create a render session."""
    spec = {
        "nodeClassName": node_class,
        "nodes": nodes,
        "renderTime": render_time,
        "accountName": account,
        "idlePolicy": idle_policy,
        "priority": priority,
        "storage": {
            "size": size,
            "storageClassName": storage_class,
            "accessMode": access_mode,
            "claimName": claim,
            "retain": retain,
        },
    }
    item: Object = {
        **RenderSession.type_meta(),
        "metadata": {"name": name},
        "spec": without_empty(spec),
    }
    check(RenderSession, item)
    item["metadata"]["namespace"] = run.namespace
    made = run.cluster.create(SESSION, run.namespace, item, dry_run=dry_run)
    if form == "table":
        click.echo(f"session {name} {'would be created' if dry_run else 'created'}")
    else:
        print_object(form, made)


def _suspend(run: Run, name: str, value: bool) -> None:
    find(run.cluster, SESSION, run.namespace, name)
    run.cluster.patch(SESSION, run.namespace, name, {"spec": {"suspend": value}})
    click.echo(f"session {name} {'stopped: its nodes end' if value else 'goes on'}")


@session.command("stop")
@name_argument(SESSION)
@pass_run
def stop(run: Run, name: str) -> None:
    """Stop a session's nodes (spec.suspend); its jobs keep their frames."""
    _suspend(run, name, True)


@session.command("continue")
@name_argument(SESSION)
@pass_run
def go_on(run: Run, name: str) -> None:
    """Let a stopped session go on."""
    _suspend(run, name, False)


@session.command("delete")
@name_argument(SESSION)
@delete_wait_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask where frames would be lost.")
@pass_run
def delete(run: Run, name: str, wait: bool, yes: bool) -> None:
    """Delete a session: blocks being rendered are cancelled, jobs and the volume stay.

    With storage.retain=false the volume is deleted too, and every frame in it; that is asked for.
    """
    item = find(run.cluster, SESSION, run.namespace, name)
    if dig(item, "spec", "storage", "retain") is False and not yes:
        _ask_before_frames_go(name)
    run.cluster.delete(SESSION, run.namespace, name, item["metadata"]["uid"])
    if wait:
        wait_gone(run, SESSION, run.namespace, item, DELETE_SECONDS)
    click.echo(f"session {name} {'deleted' if wait else 'is being deleted'}")


def _ask_before_frames_go(name: str) -> None:
    """Raises CliError unless a person says yes."""
    question = f"The volume of {name} and all frames in it go too. Delete?"
    try:
        if click.confirm(question, err=True):
            return
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise refused("nothing was deleted: say --yes where nobody can be asked") from None
    raise refused("nothing was deleted")

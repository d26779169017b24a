"""What is asked for once: an annotation on a job or session, answered in its status."""

import json
from collections.abc import Callable
from typing import TypeVar

import click

from drqueue.api.base import HandledRequest
from drqueue.api.names import REQUEST_PREFIX
from drqueue.cli.cluster import Cluster
from drqueue.cli.context import Run
from drqueue.cli.exits import CliError, Exit, not_found, refused, timed_out
from drqueue.cli.kinds import Kind, Object
from drqueue.cli.objects import Seconds
from drqueue.cli.output import dig

DEFAULT_SECONDS = 60.0

_F = TypeVar("_F", bound=Callable[..., object])


def answer_options(command: _F) -> _F:
    """Add --no-wait and --timeout to a command that asks for something."""
    command = click.option(
        "--timeout",
        "seconds",
        type=Seconds(),
        default=DEFAULT_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for the operator's answer.",
    )(command)
    return click.option("--no-wait", is_flag=True, help="Do not wait for the operator's answer.")(
        command
    )


def send(run: Run, kind: Kind, name: str, namespace: str, request: dict[str, object]) -> str:
    """Put a request on an object, and give its id."""
    request_id = f"cli-{run.new_id()}"
    annotations = {REQUEST_PREFIX + request_id: json.dumps(request)}
    run.cluster.patch(kind, namespace, name, {"metadata": {"annotations": annotations}})
    return request_id


def answer(
    cluster: Cluster,
    kind: Kind,
    name: str,
    namespace: str,
    *,
    request_id: str,
    deadline: float,
) -> HandledRequest:
    """Wait until the status answers a request. Raises CliError when it is refused, or too late."""
    seen_asked = False
    for known in cluster.changes(
        kind, namespace, fields=f"metadata.name={name}", deadline=deadline
    ):
        item = known.get(name)
        if item is None:
            raise not_found(f"{kind.word} {name} was deleted before it answered")
        found = _find(item, request_id)
        if found is not None and found.result == "Refused":
            raise refused(f"{kind.word} {name}: {found.verb} was refused: {found.message}")
        if found is not None:
            return found
        asked = REQUEST_PREFIX + request_id in (dig(item, "metadata", "annotations") or {})
        if seen_asked and not asked:
            raise CliError(
                Exit.CLUSTER,
                f"{kind.word} {name}: the request was taken off, and its answer is not among the "
                f"latest: see `drqueue {kind.word} show {name}`",
            )
        seen_asked = asked
    raise timed_out(
        f"{kind.word} {name}: no answer to the request yet. It stays asked for, as the annotation "
        f"{REQUEST_PREFIX}{request_id}: does the operator run?"
    )


def _find(item: Object, request_id: str) -> HandledRequest | None:
    for raw in dig(item, "status", "handledRequests") or []:
        if raw.get("id") == request_id:
            return HandledRequest.model_validate(raw)
    return None


def ask(
    run: Run,
    kind: Kind,
    name: str,
    request: dict[str, object],
    *,
    wait: bool,
    seconds: float,
) -> None:
    """Send a request, wait for its answer and print it."""
    namespace = run.namespace
    request_id = send(run, kind, name, namespace, request)
    verb = request["verb"]
    if not wait:
        click.echo(f"{kind.word} {name}: {verb} asked for ({request_id})")
        return
    deadline = run.monotonic() + seconds
    found = answer(run.cluster, kind, name, namespace, request_id=request_id, deadline=deadline)
    click.echo(
        f"{kind.word} {name}: {verb} {found.result.lower()}"
        f"{': ' + found.message if found.message else ''}"
    )

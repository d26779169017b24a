"""Parts of `show` that all kinds share: conditions, answered requests, events."""

from collections.abc import Callable
from datetime import datetime

import click

from drqueue.cli.cluster import Cluster
from drqueue.cli.errors import ApiError
from drqueue.cli.kinds import EVENT, Object
from drqueue.cli.output import age, dig, print_table, section

MAX_EVENTS = 12


def why_not_ready(item: Object) -> str:
    """What the Ready condition says while it is not True, unless the phase says that already."""
    for condition in dig(item, "status", "conditions") or []:
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            reason = str(condition.get("reason") or "")
            said = reason if reason != dig(item, "status", "phase") else ""
            return str(condition.get("message") or said)
    return ""


def unseen(item: Object) -> str:
    """Say so when the operator has not yet looked at the object's newest spec."""
    if not dig(item, "status", "observedGeneration"):
        return "the operator has not seen it yet"
    if dig(item, "status", "observedGeneration") != dig(item, "metadata", "generation"):
        return "the operator has not seen its newest edit yet"
    return ""


def print_conditions(item: Object, now: Callable[[], datetime]) -> None:
    """Write the conditions as a table, if there are any."""
    conditions = dig(item, "status", "conditions") or []
    if conditions:
        section("Conditions")
        print_table(
            ["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"],
            [
                [
                    entry.get("type"),
                    entry.get("status"),
                    age(entry.get("lastTransitionTime"), now),
                    entry.get("reason"),
                    entry.get("message"),
                ]
                for entry in conditions
            ],
            "",
        )


def print_requests(item: Object, now: Callable[[], datetime]) -> None:
    """Write the requests that were answered last, if there are any."""
    handled = dig(item, "status", "handledRequests") or []
    if handled:
        section("Requests answered")
        print_table(
            ["VERB", "RESULT", "AGE", "MESSAGE"],
            [
                [e.get("verb"), e.get("result"), age(e.get("time"), now), e.get("message")]
                for e in handled
            ],
            "",
        )


def print_events(cluster: Cluster, item: Object, now: Callable[[], datetime]) -> None:
    """Write the newest events on an object; without the right to read them, say that."""
    metadata = item["metadata"]
    try:
        found = cluster.list_all(
            EVENT, metadata.get("namespace"), fields=f"involvedObject.uid={metadata['uid']}"
        )
    except ApiError as error:
        if error.status != 403:
            raise
        section("Events")
        click.echo("(you may not read events in this namespace)")
        return
    if found:
        section("Events")
        newest = sorted(found, key=_moment)[-MAX_EVENTS:]
        print_table(
            ["AGE", "TYPE", "REASON", "MESSAGE"],
            [
                [age(_moment(e), now), e.get("type"), e.get("reason"), _with_count(e)]
                for e in newest
            ],
            "",
        )


def _moment(event: Object) -> str:
    moments = (
        dig(event, "series", "lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        dig(event, "metadata", "creationTimestamp"),
    )
    return next((str(moment) for moment in moments if moment), "")


def _with_count(event: Object) -> str:
    count = dig(event, "series", "count") or event.get("count") or 1
    message = str(event.get("message") or "")
    return f"{message} (×{count})" if count > 1 else message

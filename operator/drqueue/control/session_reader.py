"""The reader: a small pod on request that shows frames and logs while the master sleeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from drqueue.api.names import reader_name
from drqueue.api.values import format_time, parse_time
from drqueue.control import pods
from drqueue.control.children import SessionId
from drqueue.control.context import Context
from drqueue.control.errors import REFUSALS, AlreadyExists
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.session_volume import Volume
from drqueue.providers.pod_status import has_ended

LIFE = timedelta(seconds=pods.READER_SECONDS)


@dataclass(frozen=True)
class Opened:
    """How opening a reader went."""

    done: bool
    message: str


def reader_of(ctx: Context, session: SessionId) -> Object | None:
    """The reader's pod, whatever its state."""
    name = reader_name(session.name, session.uid)
    return ctx.store.get(Key("Pod", session.namespace, name))


async def open_reader(ctx: Context, session: SessionId, volume: Volume) -> Opened | None:
    """See that a reader runs; None while a former one still goes away."""
    if volume.claim is None:
        return Opened(False, f"the session has no volume to read: {volume.finding.message}")
    pod = reader_of(ctx, session)
    if pod is None:
        manifest = pods.reader_pod(session, ctx.settings, volume.claim, volume.one_machine)
        try:
            pod = await ctx.client.create(manifest)
        except AlreadyExists:
            return None
        except REFUSALS as error:
            return Opened(False, f"its pod is refused: {error.message}")
    if has_ended(pod) or "deletionTimestamp" in pod["metadata"]:
        return None
    minutes = pods.READER_IDLE_SECONDS // 60
    return Opened(
        True,
        f"pod {pod['metadata']['name']} reads the volume; it ends after {minutes} idle minutes",
    )


async def clear_reader(ctx: Context, session: SessionId) -> None:
    """Take away a reader that has ended."""
    pod = reader_of(ctx, session)
    if pod is None or "deletionTimestamp" in pod["metadata"]:
        return
    if has_ended(pod) or reader_until(pod) <= ctx.clock():
        await ctx.client.delete(key_of(pod), uid=pod["metadata"]["uid"])


def reader_until(pod: Mapping[str, Any]) -> datetime:
    """When a reader ends at the latest."""
    return parse_time(pod["metadata"]["creationTimestamp"]) + LIFE


def reader_status(ctx: Context, session: SessionId) -> str | None:
    """`status.readerUntil`."""
    pod = reader_of(ctx, session)
    if pod is None or has_ended(pod) or "deletionTimestamp" in pod["metadata"]:
        return None
    return format_time(reader_until(pod))

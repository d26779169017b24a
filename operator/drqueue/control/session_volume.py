"""The session's claim: made, taken over from an earlier session, or grown."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from drqueue.api.names import claim_name
from drqueue.api.session import Storage
from drqueue.api.values import parse_quantity, parse_time
from drqueue.control import children
from drqueue.control.children import SessionId
from drqueue.control.conditions import Finding
from drqueue.control.context import Context
from drqueue.control.errors import REFUSALS, REFUSED_AGAIN, Forbidden, NotFound
from drqueue.control.kinds import Key, Object, key_of

log = logging.getLogger(__name__)

DEFAULT_SIZE = str(Storage.model_fields["size"].default)
GROW_AGAIN = timedelta(minutes=5)
PATIENCE = timedelta(seconds=20)
"""How long a pod may wait for its claim before the provisioner is asked why."""


@dataclass(frozen=True)
class Volume:
    """The claim, if it can be mounted, and what is to be said of it."""

    claim: str | None
    finding: Finding
    one_machine: bool = False
    wrong: bool = False
    """It waits for somebody to mend something."""
    look_again: float | None = None


@dataclass
class Growth:
    """A growth that was refused, so that it is not asked for at each look."""

    size: str = ""
    why: str = ""
    again_at: datetime | None = None


def not_yet() -> Volume:
    """What there is of a volume before its session is paid for: nothing is made until then."""
    return Volume(None, Finding("VolumeReady", "False", "AwaitingPayment"))


async def ensure_volume(
    ctx: Context, session: SessionId, obj: Object, node_class: Object | None, growth: Growth
) -> Volume:
    """Make or find the session's claim; where that is refused, say so."""
    storage = obj["spec"].get("storage") or {}
    try:
        if storage.get("claimName"):
            held = (obj.get("status") or {}).get("claimName") == storage["claimName"]
            found = await _take_over(ctx, session, storage["claimName"], held)
        else:
            found = await _own(ctx, session, storage, node_class)
    except REFUSALS as error:
        log.warning("%s: its volume: %s", key_of(obj), error)
        return _wrong("VolumeRefused", error.message, REFUSED_AGAIN.total_seconds())
    if isinstance(found, Volume):
        return found
    size = str(storage.get("size", DEFAULT_SIZE))
    if not storage.get("claimName") or size != DEFAULT_SIZE:
        await _grow(ctx, found, size, growth)
    return await _judge(ctx, session, found, growth.why)


async def _take_over(ctx: Context, session: SessionId, name: str, held: bool) -> Object | Volume:
    other = user_of(ctx, session, name)
    if other is not None:
        return _wrong(
            "ClaimInUse",
            f"spec.storage.claimName {name!r} is in use by session {other!r}: it is taken over "
            "once that session is deleted",
        )
    key = Key("PersistentVolumeClaim", session.namespace, name)
    claim = ctx.store.get(key)
    try:
        if claim is None:
            claim = await ctx.client.get(key)
    except NotFound:
        return _wrong(
            "ClaimNotFound",
            f"spec.storage.claimName {name!r}: there is no such claim in namespace "
            f"{session.namespace!r}: create it, or create a session that names another",
        )
    if "deletionTimestamp" in claim["metadata"]:
        # one that is mounted goes only when its pods do: what renders on it may finish
        gone = _wrong("ClaimNotFound", f"claim {name!r} is being deleted: name another")
        return claim if held else gone
    marks = children.claim_marks(session, claim)
    return claim if marks is None else await ctx.client.patch(key, marks)


def user_of(ctx: Context, session: SessionId, claim: str) -> str | None:
    """The session that has the claim, or comes before this one."""
    mine = ctx.store.get(Key("RenderSession", session.namespace, session.name))
    my_turn = _turn(mine) if mine else ("", "")
    for other in ctx.store.list("RenderSession", session.namespace):
        meta, spec = other["metadata"], other["spec"]
        if meta["uid"] == session.uid:
            continue
        named = (spec.get("storage") or {}).get("claimName")
        wanted = named or claim_name(meta["name"], meta["uid"])
        holds = (other.get("status") or {}).get("claimName") == claim
        if holds or (wanted == claim and (not named or _turn(other) < my_turn)):
            return str(meta["name"])
    return None


def _turn(session: Object) -> tuple[str, str]:
    return session["metadata"].get("creationTimestamp", ""), session["metadata"]["uid"]


async def _own(
    ctx: Context, session: SessionId, storage: dict[str, Any], node_class: Object | None
) -> Object | Volume:
    key = Key("PersistentVolumeClaim", session.namespace, claim_name(session.name, session.uid))
    claim = ctx.store.get(key)
    if claim is not None:
        return claim
    named = storage.get("storageClassName")
    if named is None and node_class is None:
        waits = Finding("VolumeReady", "False", "NodeClassNotFound", "The class may name storage.")
        return Volume(None, waits)
    of_class = (node_class or {"spec": {}})["spec"].get("storageClassName")
    storage_class = named or of_class or ctx.settings.storage_class
    if storage_class is not None:
        try:
            await ctx.client.get(Key("StorageClass", None, storage_class))
        except NotFound:
            source = "spec.storage.storageClassName" if named else "storage class"
            return _wrong(
                "StorageClassNotFound",
                f"{source} {storage_class!r} does not exist in this cluster: have it created, or "
                "create a session that names another (kubectl get storageclass lists them)",
            )
    size, mode = storage.get("size", "10Gi"), storage.get("accessMode", "ReadWriteMany")
    return await ctx.client.apply(children.claim(session, str(size), mode, storage_class))


async def _grow(ctx: Context, claim: Object, size: str, growth: Growth) -> None:
    """Ask for more where the session wants more; notes why it was refused."""
    asked = claim["spec"]["resources"]["requests"]["storage"]
    if parse_quantity(size) <= _bytes(asked):
        growth.why = ""
        return
    now, meta = ctx.clock(), claim["metadata"]
    refused = growth.size == size and growth.again_at is not None and now < growth.again_at
    if refused or (claim.get("status") or {}).get("phase") != "Bound":
        return
    key = Key("PersistentVolumeClaim", meta["namespace"], meta["name"])
    try:
        await ctx.client.patch(key, {"spec": {"resources": {"requests": {"storage": size}}}})
    except REFUSALS as error:
        growth.size, growth.again_at = size, now + GROW_AGAIN
        growth.why = f"It cannot grow to {size}: {error.message}"
    else:
        growth.why = ""


def _bytes(quantity: str) -> Any:
    # Kubernetes may write a claim's size in a form that we do not take, such as 1e9
    try:
        return parse_quantity(quantity)
    except ValueError:
        return parse_quantity(int(float(quantity)))


async def _judge(ctx: Context, session: SessionId, claim: Object, growth: str) -> Volume:
    name, phase = claim["metadata"]["name"], (claim.get("status") or {}).get("phase")
    one_machine = "ReadWriteMany" not in (claim["spec"].get("accessModes") or ())

    def volume(finding: Finding, wrong: bool = False, again: float | None = None) -> Volume:
        return Volume(name, finding, one_machine, wrong, again)

    if "deletionTimestamp" in claim["metadata"]:
        message = f"claim {name!r} was deleted by somebody and goes when no pod mounts it"
        return volume(Finding("VolumeReady", "False", "ClaimDeleted", message), wrong=True)
    if phase == "Bound":
        again = GROW_AGAIN.total_seconds() if growth else None
        return volume(Finding("VolumeReady", "True", "Bound", growth), again=again)
    if phase == "Lost":
        message = f"claim {name!r} lost its volume"
        return volume(Finding("VolumeReady", "False", "ClaimLost", message), wrong=True)
    pod = ctx.store.get(Key("Pod", session.namespace, session.master))
    now = ctx.clock()
    if pod is None:
        return volume(Finding("VolumeReady", "Unknown", "NotBoundYet", "No pod has needed it yet."))
    waited = now - parse_time(pod["metadata"]["creationTimestamp"])
    if waited < PATIENCE:
        again = (PATIENCE - waited).total_seconds()
        return volume(Finding("VolumeReady", "False", "Binding", ""), again=again)
    told = await _provisioner_says(ctx, claim, now)
    message = f"claim {name!r} is not bound yet: {told or 'its provisioner has said nothing'}"
    return volume(Finding("VolumeReady", "False", "ClaimPending", message), wrong=True, again=30.0)


async def _provisioner_says(ctx: Context, claim: Object, now: datetime) -> str:
    """The newest event on the claim."""
    meta = claim["metadata"]
    selector = f"regarding.kind=PersistentVolumeClaim,regarding.uid={meta['uid']}"
    try:
        events = await ctx.client.list("Event", meta["namespace"], fields=selector)
    except Forbidden:
        return ""

    def last_seen(event: Object) -> str:
        series = event.get("series") or {}
        return str(
            series.get("lastObservedTime")
            or event.get("deprecatedLastTimestamp")
            or event.get("eventTime")
            or ""
        )

    newest = max(events, key=last_seen, default=None)
    return str(newest.get("note") or "").strip() if newest else ""


def _wrong(reason: str, message: str, look_again: float = 30.0) -> Volume:
    finding = Finding("VolumeReady", "False", reason, message)
    return Volume(None, finding, wrong=True, look_again=look_again)

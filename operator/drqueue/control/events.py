"""Kubernetes Events on our objects: what a person would want to know, once."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from drqueue.api.names import FIELD_MANAGER
from drqueue.control.client import Client
from drqueue.control.errors import AlreadyExists, OperatorError
from drqueue.control.kinds import Object

log = logging.getLogger(__name__)

ONCE_IN = 600.0
"""Seconds for which the same event on the same object is told once."""
MAX_QUEUED = 1000
MAX_MESSAGE_BYTES = 1024
_REMEMBERED = 10_000


class EventRecorder:
    """Posts events in the background, best effort. Call it on transitions only; the same
    (object, reason, message) within ten minutes is posted once."""

    def __init__(
        self,
        client: Client,
        identity: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._client = client
        self._identity = identity
        self._clock = clock
        self._monotonic = monotonic
        self._queue: asyncio.Queue[Object] = asyncio.Queue(MAX_QUEUED)
        self._told: dict[str, float] = {}

    def event(
        self, obj: Object, type: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Queue an event; never blocks, never raises. No secrets in the message."""
        meta = obj["metadata"]
        digest = hashlib.sha256("\0".join((meta["uid"], type, reason, message)).encode())
        mark, now = digest.hexdigest()[:16], self._monotonic()
        if now - self._told.get(mark, float("-inf")) < ONCE_IN:
            return
        self._told.pop(mark, None)
        self._told[mark] = now
        if len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]
        try:
            self._queue.put_nowait(self._build(obj, type, reason, message, mark))
        except asyncio.QueueFull:
            log.warning("Too many events: %s on %s is not posted", reason, meta["name"])

    def _build(self, obj: Object, type: str, reason: str, message: str, mark: str) -> Object:
        meta = obj["metadata"]
        now = self._clock()
        regarding = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": meta["name"],
            "uid": meta["uid"],
        }
        if meta.get("namespace"):
            regarding["namespace"] = meta["namespace"]
        stamp = f"{mark[:8]}{int(now.timestamp() * 1000):x}"
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name'][:200]}.{stamp}",
                # Events on cluster-scoped objects live in `default`.
                "namespace": meta.get("namespace") or "default",
            },
            "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "type": type,
            "reason": reason[:128],
            "action": "Reconcile",
            "note": _cut(message),
            "reportingController": f"drqueue.org/{FIELD_MANAGER}",
            "reportingInstance": self._identity[:128],
            "regarding": regarding,
        }

    async def run(self) -> None:
        """Post what is queued until cancelled. What cannot be posted is dropped."""
        while True:
            event = await self._queue.get()
            try:
                await self._client.create(event)
            except AlreadyExists:
                pass
            except OperatorError as error:
                log.info("An event was not posted: %s", error)


def _cut(message: str) -> str:
    """The message within the API server's bound, which is one of bytes."""
    encoded = message.encode()
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return message
    return encoded[: MAX_MESSAGE_BYTES - len("…".encode())].decode(errors="ignore") + "…"

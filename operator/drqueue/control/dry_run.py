"""The dry run: all is decided and asked for as ever, and nothing is done.

Every request that would write carries `dryRun=All`, so that the API server says what it would have
said, refusals included, and stores nothing. What would have been done is logged, and told by events
on the object that it is about: each thing once.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

from drqueue.api import API_VERSION
from drqueue.api.names import LABEL_SESSION, LABEL_SESSION_UID
from drqueue.control import conditions
from drqueue.control.kinds import Object

log = logging.getLogger(__name__)

PACE_SECONDS: Final = 60.0
"""How soon a key that waits for what was decided is looked at again: nothing will have changed."""
REASON: Final = "DryRun"
_TOLD: Final = 10_000
_WORTH_AN_EVENT: Final = ("Pod", "PersistentVolumeClaim", "RenderNode", "RenderInvoice")
_DELETE_OPTIONS: Final = {"apiVersion": "v1", "kind": "DeleteOptions"}
REALLY_WRITTEN: Final = ("Event", "Lease")
"""They start and stop nothing, and without them nobody would hear of the rest."""


class Events(Protocol):
    """Where reconcilers tell of transitions."""

    def event(
        self, obj: Object, type: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Tell of one; never blocks, never raises."""


def rehearsed(
    verb: str, query: Mapping[str, str] | None, body: Any
) -> tuple[Mapping[str, str] | None, Any]:
    """Query and body of the same request, to which the API server only says what it would do.

    A delete's options are read from its body alone where there is one.
    """
    if verb == "delete":
        return query, {**(body or _DELETE_OPTIONS), "dryRun": ["All"]}
    return {**(query or {}), "dryRun": "All"}, body


class Rehearsal:
    """Tells what would have been done."""

    def __init__(self) -> None:
        self.recorder: Events | None = None
        """Set once there is a client to post them with."""
        self._told: dict[tuple[str, str], str] = {}

    def would(self, verb: str, obj: Object, change: Mapping[str, Any] | None = None) -> None:
        """A write other than a status's: `create`, `apply`, `patch` or `delete`."""
        kind, meta = obj["kind"], obj["metadata"]
        if kind in REALLY_WRITTEN:
            return
        what = f"{kind} {meta['name']}"
        spec = sorted((change or {}).get("spec") or {})
        message = f"would {verb} {what}" + (f": spec.{', spec.'.join(spec)}" if spec else "")
        small = verb == "patch" and not spec  # finalizers and annotations: housekeeping
        concerned = None if small or kind not in _WORTH_AN_EVENT else concerning(obj, verb)
        self._tell(concerned, f"{meta.get('namespace')}/{what}", f"{verb} {what}", message)

    def status(self, obj: Object, status: Mapping[str, Any]) -> None:
        """A status that would have been written: told when its phase or its Ready is another."""
        summary = _summary(status)
        if summary == _summary(obj.get("status") or {}):
            return
        message = conditions.find({"status": status}, "Ready").get("message")
        said = f"would say: {summary or 'its status'}" + (f": {message}" if message else "")
        self._tell(obj, obj["metadata"]["uid"], "status", said, mark=summary)

    def event(
        self, obj: Object, type: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """A transition that reconcilers tell of, and that does not come to pass."""
        told = f"would tell of {reason}: {message}"
        self._tell(obj, obj["metadata"]["uid"], f"{type} {reason}", told, mark=reason)

    def nodes(self, session: Object, blocks: int) -> None:
        """How many nodes a session would have now, for so many blocks that are left."""
        spec = session["spec"]
        nodes = 0 if spec.get("suspend") else min(spec["nodes"], blocks)
        message = (
            f"would have {nodes} of {spec['nodes']} nodes of class {spec['nodeClassName']} for "
            f"{blocks} blocks, as far as its funding, the class's limits and other sessions let it"
        )
        self._tell(session, session["metadata"]["uid"], "nodes", message)

    def _tell(
        self, obj: Object | None, whose: str, topic: str, message: str, mark: str | None = None
    ) -> None:
        key, mark = (whose, topic), message if mark is None else mark
        if self._told.get(key) == mark:
            return
        self._told.pop(key, None)
        self._told[key] = mark
        if len(self._told) > _TOLD:
            del self._told[next(iter(self._told))]
        log.info("Dry run: %s %s", whose, message)
        if obj is not None and self.recorder is not None:
            self.recorder.event(obj, "Normal", REASON, message)


def concerning(obj: Object, verb: str) -> Object | None:
    """The object that an event about this one belongs to: what people look at, and what exists."""
    meta = obj["metadata"]
    if verb in ("patch", "delete") and obj["apiVersion"] == API_VERSION:
        return obj
    for owner in meta.get("ownerReferences") or ():
        if owner["apiVersion"] == API_VERSION:
            return _reference(owner["kind"], owner["name"], owner["uid"], meta)
    marks = meta.get("labels") or {}
    if marks.get(LABEL_SESSION) and marks.get(LABEL_SESSION_UID):
        return _reference("RenderSession", marks[LABEL_SESSION], marks[LABEL_SESSION_UID], meta)
    return None  # it is not there, so that nobody would find the event


def _reference(kind: str, name: str, uid: str, meta: Mapping[str, Any]) -> Object:
    where = {"name": name, "namespace": meta.get("namespace"), "uid": uid}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": where}


def _summary(status: Mapping[str, Any]) -> str:
    ready = conditions.find({"status": status}, "Ready")
    parts = [status["phase"]] if status.get("phase") else []
    if ready:
        parts.append(f"Ready={ready['status']} ({ready['reason']})")
    return ", ".join(parts)

"""What people ask for once: annotations `request.drqueue.org/<id>`, and the answers in status."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from drqueue.api.names import REQUEST_PREFIX
from drqueue.api.values import format_time
from drqueue.control.client import Client
from drqueue.control.kinds import Object, key_of

KEPT = 10
_FORMS = {
    "RenderJob": '{"verb": "rerun", "frames": "failed"} or {"verb": "kill"}',
    "RenderSession": '{"verb": "drain", "node": "<name>"} or {"verb": "reader"}',
}
_VERBS = {"RenderJob": ("rerun", "kill"), "RenderSession": ("drain", "reader")}

Answer = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request that has no answer yet. `wrong` says why it can be none."""

    id: str
    verb: str
    frames: str | None = None
    node: str | None = None
    wrong: str = ""


def pending(obj: Mapping[str, Any]) -> list[Request]:
    """Requests on a job or session that its status does not answer yet, by id.

    No more at a time than the status keeps answers: an answer has to outlive its annotation.
    """
    answered = {entry["id"] for entry in handled(obj)}
    annotations = obj["metadata"].get("annotations") or {}
    return [
        _parse(obj["kind"], name.removeprefix(REQUEST_PREFIX), text)
        for name, text in sorted(annotations.items())
        if name.startswith(REQUEST_PREFIX) and name.removeprefix(REQUEST_PREFIX) not in answered
    ][:KEPT]


def handled(obj: Mapping[str, Any]) -> list[Answer]:
    """The answers in the status."""
    return list((obj.get("status") or {}).get("handledRequests") or ())


def _parse(kind: str, request_id: str, text: str) -> Request:
    remedy = f"write JSON, as in {_FORMS[kind]}"
    try:
        value = json.loads(text)
    except ValueError:
        return Request(request_id, "unknown", wrong=f"{text[:100]!r} is no request: {remedy}")
    verb = value.get("verb") if isinstance(value, dict) else None
    if not isinstance(value, dict) or verb not in _VERBS[kind]:
        return Request(request_id, "unknown", wrong=f"{text[:100]!r} has no such verb: {remedy}")
    frames, node = value.get("frames"), value.get("node")
    if frames is not None and not isinstance(frames, str):
        return Request(request_id, verb, wrong=f"frames {frames!r} is no text: {remedy}")
    if verb == "drain" and not (isinstance(node, str) and node):
        return Request(request_id, verb, wrong=f"node {node!r} names none: {remedy}")
    return Request(request_id, verb, frames=frames, node=node)


def answer(
    request: Request,
    result: Literal["Accepted", "Done", "Refused"],
    message: str,
    now: datetime,
) -> Answer:
    """One entry of status.handledRequests."""
    return {
        "id": request.id,
        "verb": request.verb,
        "result": result,
        "message": message,
        "time": format_time(now),
    }


def with_answers(old: Iterable[Answer], new: Iterable[Answer]) -> list[Answer]:
    """The answers, the newest last, as many as are kept."""
    merged = {entry["id"]: entry for entry in old}
    for entry in new:
        merged.setdefault(entry["id"], entry)
    return list(merged.values())[-KEPT:]


async def take_off_answered(client: Client, obj: Object) -> Object:
    """Remove the annotations whose answer is written; gives the object without them.

    Before more is asked of it, too: later answers push out those of annotations that are still
    there, as after a crash, and what they ask for would be done again.
    """
    answered = {entry["id"] for entry in handled(obj)}
    annotations = obj["metadata"].get("annotations") or {}
    done = [
        name
        for name in annotations
        if name.startswith(REQUEST_PREFIX) and name.removeprefix(REQUEST_PREFIX) in answered
    ]
    if not done:
        return obj
    patch = {"metadata": {"annotations": dict.fromkeys(done, None)}}
    return await client.patch(key_of(obj), patch)

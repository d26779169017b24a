"""Conditions in the Kubernetes form: Ready sums up; Reconciling and Stalled are kstatus's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from drqueue.api.values import format_time

Truth = Literal["True", "False", "Unknown"]
Json = dict[str, Any]

MESSAGE_LIMIT = 2000


@dataclass(frozen=True)
class Finding:
    """What was found about one matter now."""

    type: str
    status: Truth
    reason: str
    message: str = ""


def truth(holds: bool) -> Truth:
    """True or False, as a condition has it."""
    return "True" if holds else "False"


def merge(
    old: Iterable[Mapping[str, Any]],
    findings: Iterable[Finding],
    generation: int,
    now: datetime,
) -> list[Json]:
    """Bring conditions up to date; a time moves only with its status. Others' types are kept."""
    before = {condition["type"]: condition for condition in old}
    merged: dict[str, Json] = {kind: dict(condition) for kind, condition in before.items()}
    for finding in findings:
        known = before.get(finding.type)
        since = (
            known["lastTransitionTime"]
            if known is not None and known["status"] == finding.status
            else format_time(now)
        )
        merged[finding.type] = {
            "type": finding.type,
            "status": finding.status,
            "reason": finding.reason,
            "message": shortened(finding.message),
            "lastTransitionTime": since,
            "observedGeneration": generation,
        }
    return list(merged.values())


def find(obj: Mapping[str, Any] | None, kind: str) -> Mapping[str, Any]:
    """A condition of an object; empty when there is none."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind), {})


def changed_reason(old: Mapping[str, Any], status: Mapping[str, Any], kind: str) -> Json | None:
    """The condition of that kind in a new status, if its status or reason differs from before."""
    now = next((c for c in status.get("conditions") or () if c["type"] == kind), None)
    before = find(old, kind)
    if now is None or (now["status"], now["reason"]) == (
        before.get("status"),
        before.get("reason"),
    ):
        return None
    return dict(now)


def shortened(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """A text that fits; the rest is cut with a sign."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

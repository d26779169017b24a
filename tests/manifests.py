"""Manifests that hold, and changes to them: the raw material of tests."""

import copy
from typing import Any

from drqueue.api import API_VERSION

Manifest = dict[str, Any]


class _Gone:
    def __repr__(self) -> str:  # names tests, the same in each of xdist's workers
        return "GONE"


GONE = _Gone()
"""As a change's value: the field is left out."""

_BASES: dict[str, Manifest] = {
    "RenderSession": {
        "metadata": {"name": "teapots"},
        "spec": {"nodeClassName": "cpu-small", "nodes": 2, "renderTime": "4h"},
    },
    "RenderJob": {
        "metadata": {"name": "turntable"},
        "spec": {"sessionName": "teapots", "renderer": "povray", "frames": "1-24"},
    },
    "RenderNodeClass": {
        "metadata": {"name": "cpu-small"},
        "spec": {"provider": {"kubernetes": {}}},
    },
    "RenderNode": {
        "metadata": {"name": "teapots-12345-0"},
        "spec": {
            "sessionName": "teapots",
            "sessionUid": "0b7e8a6a-3f0e-4b55-9a55-1d6f6a7f0c11",
            "nodeClassName": "cpu-small",
            "provider": {"kubernetes": {}},
            "startupDeadline": "10m",
            "drainGrace": "30m",
        },
    },
    "RenderAccount": {
        "metadata": {"name": "studio-a"},
        "spec": {"owner": "Studio A", "currency": "EUR", "namespaces": ["studio-a"]},
    },
    "RenderPayment": {
        "metadata": {"name": "payment-1"},
        "spec": {
            "accountName": "studio-a",
            "amount": "250.00",
            "currency": "EUR",
            "reference": "bank transfer 4711",
        },
    },
    "RenderInvoice": {
        "metadata": {"name": "invoice-0b7e8a6a-3f0e-4b55-9a55-1d6f6a7f0c11"},
        "spec": {
            "accountName": "studio-a",
            "namespace": "studio-a",
            "sessionName": "teapots",
            "sessionUid": "0b7e8a6a-3f0e-4b55-9a55-1d6f6a7f0c11",
            "className": "cpu-small",
            "currency": "EUR",
            "priced": {"nodes": 2, "seconds": 28800, "amount": "8.00"},
            "lines": [
                {"day": "2026-11-25", "text": "4h of node time", "seconds": 14400, "amount": "4.00"}
            ],
            "usedSeconds": 14400,
            "total": "4.00",
        },
    },
}
PLURALS = {kind: f"{kind.lower()}{'es' if kind.endswith('s') else 's'}" for kind in _BASES}


def manifest(kind: str, changes: dict[str, Any] | None = None, name: str | None = None) -> Manifest:
    """Build a manifest that holds, with values at dotted paths changed or left `GONE`."""
    made = {"apiVersion": API_VERSION, "kind": kind, **copy.deepcopy(_BASES[kind])}
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        part = made
        for parent in parents:
            part = part.setdefault(parent, {})
        if value is GONE:
            part.pop(last, None)
        else:
            part[last] = value
    if name is not None:
        made["metadata"]["name"] = name
    return made


def settled_seconds(session_status: Manifest) -> int:
    """All node-seconds that a session's status has settled."""
    return sum(entry["seconds"] for entry in session_status.get("settledDays") or ())

"""An account with as many reservations as there may be, on the real API server."""

import json
import uuid
from typing import Any

import pytest
from drqueue.api.account import MAX_RESERVATIONS, RenderAccount
from drqueue.api.names import invoice_name

from tests.admission import Admission
from tests.manifests import Manifest, manifest

ETCD_LIMIT = 1_572_864
"""Bytes that etcd takes in one request, by default."""
PRICE = {
    "currency": "EUR",
    "machinePerHour": "999999999999.999999",
    "servicePerHour": "999999999999.999999",
    "discounts": [{"fromHours": n, "percent": "99.999999"} for n in range(1, 17)],
    "rounding": "HalfEven",
    "minimum": "999999999999.999999",
    "unused": "Refund",
}


def reservation(number: int) -> dict[str, Any]:
    """One whose every field is as long as it gets, but the class's name (that of people is)."""
    return {
        "sessionUid": str(uuid.UUID(int=number)),
        "namespace": f"{number:063}",
        "sessionName": f"{number:046}",
        "className": "c" * 63,
        "generation": 10**9,
        "nodes": 10_000,
        "seconds": 10_000 * 999_999 * 3600,
        "amount": "1" * 24 + ".999999",
        "terms": f"{number % 20:016}",
    }


def full_status() -> Manifest:
    """As many reservations as there may be, at 20 different prices."""
    return {
        "balance": "0.00",
        "reserved": "1" * 33 + ".99",
        "reservations": [reservation(n) for n in range(MAX_RESERVATIONS)],
        "terms": [{"id": f"{n:016}", **PRICE} for n in range(20)],
        "booking": [
            {"uid": str(uuid.UUID(int=n)), "name": f"p{n:062}", "payout": "-" + "1" * 33 + ".99"}
            for n in range(100)
        ],
        "invoicing": [],
        "waiting": [
            {
                "sessionUid": str(uuid.UUID(int=n)),
                "namespace": f"{n:063}",
                "sessionName": f"{n:046}",
                "missing": "1" * 33 + ".99",
            }
            for n in range(20)
        ],
    }


def test_a_full_account_is_taken_with_room_to_spare(admission: Admission) -> None:
    made = manifest("RenderAccount", {"spec.namespaces": [f"{n:063}" for n in range(500)]})
    assert admission.create(made) == ""
    status = full_status()
    assert admission.patch("RenderAccount", "studio-a", {"status": status}, "status") == ""
    # a second write, of one changed entry, as another manager's would be
    status["reservations"][7]["amount"] = "1.00"
    assert admission.patch("RenderAccount", "studio-a", {"status": status}, "status") == ""
    stored = admission.get("RenderAccount", "studio-a")
    assert stored["status"] == status
    assert RenderAccount.model_validate(stored).status is not None
    size = len(json.dumps(stored, separators=(",", ":")))
    assert size < 0.75 * ETCD_LIMIT, f"{size} bytes, managedFields included"


def test_all_of_its_sessions_may_end_at_once(admission: Admission) -> None:
    assert admission.create(manifest("RenderAccount")) == ""
    status = full_status()
    ended = [
        {
            **entry,
            "name": invoice_name(entry["sessionUid"]),
            "usedSeconds": entry["seconds"],
            "total": entry["amount"],
        }
        for entry in status.pop("reservations")
    ]
    status |= {"reservations": [], "invoicing": ended}
    assert admission.patch("RenderAccount", "studio-a", {"status": status}, "status") == ""
    assert admission.get("RenderAccount", "studio-a")["status"] == status


@pytest.mark.parametrize("part", ["reservations", "waiting"])
def test_one_more_is_refused(admission: Admission, part: str) -> None:
    assert admission.create(manifest("RenderAccount")) == ""
    status = full_status()
    status[part] = [*status[part], status[part][0]]
    said = admission.patch("RenderAccount", "studio-a", {"status": status}, "status")
    assert f"status.{part}" in said
    assert f"at most {len(status[part]) - 1} items" in said

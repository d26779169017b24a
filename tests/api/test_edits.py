"""Which edits the real API server refuses, with which words, and which it takes."""

import uuid
from typing import Any

import pytest
from drqueue.api.crds import KINDS
from drqueue.api.schema import structural_schema

from tests.admission import Admission
from tests.manifests import PLURALS, Manifest, manifest

BY_KIND = {kind.kind: kind for kind in KINDS}

JOB_EDITS: dict[str, Any] = {
    "renderer": "blender",
    "scene": {"path": "other.pov"},
    "frames": "1-25",
    "blockSize": 5,
    "limits": {"cores": 2},
    "dependsOn": ["other"],
    "parameters": {"Width": "640"},
    "output": {"folder": "elsewhere"},
    "timeouts": {"frame": "1h"},
}
SESSION_EDITS: dict[str, Any] = {
    "nodeClassName": "gpu",
    "accountName": "others",
    "storage.storageClassName": "fast",
    "storage.accessMode": "ReadWriteOnce",
    "storage.claimName": "another",
    "storage.retain": False,
}
NODE_EDITS: dict[str, Any] = {
    "sessionName": "others",
    "sessionUid": "1",
    "nodeClassName": "gpu",
    "provider": {"kubernetes": {"image": "other"}},
    "renderers": ["blender"],
    "pools": ["night"],
    "os": "darwin",
    "startupDeadline": "1h",
    "drainGrace": "1h",
    "parkedTime": "Free",
}
CLASS_EDITS: dict[str, Any] = {"provider": {"kubernetes": {"image": "other"}}}
PAYMENT_EDITS: dict[str, Any] = {
    "accountName": "others",
    "amount": "250.0",
    "currency": "USD",
    "reference": "other",
}
IMMUTABLE = [
    *(("RenderJob", field, value) for field, value in JOB_EDITS.items()),
    *(("RenderSession", field, value) for field, value in SESSION_EDITS.items()),
    *(("RenderNode", field, value) for field, value in NODE_EDITS.items()),
    *(("RenderNodeClass", field, value) for field, value in CLASS_EDITS.items()),
    *(("RenderPayment", field, value) for field, value in PAYMENT_EDITS.items()),
    ("RenderAccount", "currency", "USD"),
]


@pytest.mark.parametrize("kind", PLURALS)
def test_every_immutable_field_is_edited_below(kind: str) -> None:
    schema = structural_schema(BY_KIND[kind])["properties"]["spec"]
    parts = {"": schema, "storage.": schema["properties"].get("storage", {})}
    declared = {
        prefix + rule["fieldPath"].removeprefix(".")
        for prefix, part in parts.items()
        for rule in part.get("x-kubernetes-validations", [])
        if "cannot be changed" in rule["message"] and "fieldPath" in rule
    }
    edited = {field for other, field, _ in IMMUTABLE if other == kind}
    assert declared - {"template"} == edited  # the template's edits have a test of their own


def _nested(path: str, value: Any) -> Manifest:
    for part in reversed(path.split(".")):
        value = {part: value}
    return {"spec": value}


@pytest.fixture
def stored(admission: Admission, request: pytest.FixtureRequest) -> Manifest:
    """One stored object of the kind that the test names."""
    made = manifest(request.param)
    if request.param == "RenderNodeClass":
        made["metadata"]["name"] = f"class-{uuid.uuid4().hex[:10]}"
        request.addfinalizer(lambda: admission.delete("RenderNodeClass", made["metadata"]["name"]))
    assert admission.create(made) == ""
    return made


@pytest.mark.parametrize(("stored", "field", "value"), IMMUTABLE, indirect=["stored"])
def test_immutable_fields_stay(
    admission: Admission, stored: Manifest, field: str, value: Any
) -> None:
    said = admission.patch(stored["kind"], stored["metadata"]["name"], _nested(field, value))
    name = field.rpartition(".")[2]
    assert f"spec.{field}: Invalid value" in said
    assert f"{name} cannot be changed: " in said


@pytest.mark.parametrize(
    ("stored", "edits"),
    [
        (
            "RenderJob",
            [
                {"priority": 90},
                {"retries": 1},
                {"suspend": True},
                {"ttlSecondsAfterFinished": 60},
                {"ttlSecondsAfterFinished": None},
                {"sessionName": "others"},
            ],
        ),
        (
            "RenderSession",
            [
                {"nodes": 200},
                {"nodes": 1},
                {"renderTime": "90m"},
                {"suspend": True},
                {"priority": 100},
                {"idlePolicy": "Park"},
                {"idlePolicy": None},
                {"storage": {"size": "10Gi"}},
                {"storage": {"size": "10737418241"}},
                {"storage": {"size": 20737418240}},
                {"storage": {"size": "1Ti"}},
            ],
        ),
        (
            "RenderNode",
            [
                {"idleSince": "2026-11-25T12:00:00Z"},
                {"idleSince": None},
                {"drain": True, "patient": True},
            ],
        ),
        (
            "RenderAccount",
            [{"owner": "Studio B"}, {"namespaces": ["b", "a"]}, {"namespaces": None}],
        ),
        (
            "RenderNodeClass",
            [
                {"renderers": ["blender"]},
                {"pools": ["day"]},
                {"os": "darwin"},
                {"storageClassName": "fast"},
                {"startupDeadline": "1h"},
                {"drainGrace": "0s"},
                {"price": {"currency": "EUR", "machinePerHour": "1.00"}},
                {"price": {"currency": "USD", "discounts": [{"fromHours": 9, "percent": "5"}]}},
                {"price": None},
                {"limits": {"nodes": 5, "weights": [{"namespace": "a", "weight": 2}]}},
                {"limits": None},
                {"idle": {"policy": "Park", "allowed": ["Shutdown"], "parkTime": "1h"}},
                {"idle": {"billingPeriod": "1m", "shutdownBefore": "10s"}},
            ],
        ),
    ],
    indirect=["stored"],
)
def test_mutable_fields_can_be_edited(
    admission: Admission, stored: Manifest, edits: list[dict[str, Any]]
) -> None:
    for edit in edits:
        assert admission.patch(stored["kind"], stored["metadata"]["name"], {"spec": edit}) == ""


@pytest.mark.parametrize("stored", ["RenderSession"], indirect=True)
@pytest.mark.parametrize("size", ["9Gi", "1", 10737418239])
def test_a_volume_never_shrinks(admission: Admission, stored: Manifest, size: str | int) -> None:
    said = admission.patch("RenderSession", "teapots", {"spec": {"storage": {"size": size}}})
    assert "spec.storage.size: Invalid value" in said
    assert "size can only grow" in said


@pytest.mark.parametrize("removed", ["template", "scene", "output"])
def test_a_part_cannot_be_taken_out_or_changed_inside(admission: Admission, removed: str) -> None:
    steps = [{"name": "render", "script": {"actions": {"onRun": {"command": "true"}}}}]
    made = manifest(
        "RenderJob",
        {"spec.template": {"steps": steps}, "spec.scene.path": "a.pov", "spec.output.folder": "x"},
    )
    del made["spec"]["renderer"]
    assert admission.create(made) == ""
    said = admission.patch("RenderJob", "turntable", {"spec": {removed: None}})
    assert f"spec.{removed}: Invalid value" in said
    steps[0]["name"] = "other"
    said = admission.patch("RenderJob", "turntable", {"spec": {"template": {"steps": steps}}})
    assert "spec.template: Invalid value" in said


@pytest.mark.parametrize("stored", ["RenderJob"], indirect=True)
def test_a_job_moves_only_while_no_block_runs(admission: Admission, stored: Manifest) -> None:
    counts = {"total": 24, "waiting": 22, "running": 2, "succeeded": 0, "failed": 0}
    move: Manifest = {"spec": {"sessionName": "others"}}
    status: Manifest = {"status": {"frames": counts}}
    assert admission.patch("RenderJob", "turntable", status, "status") == ""
    said = admission.patch("RenderJob", "turntable", move)
    assert "spec.sessionName: Invalid value" in said
    assert "set suspend" in said
    counts["running"] = 0
    assert admission.patch("RenderJob", "turntable", status, "status") == ""
    assert admission.patch("RenderJob", "turntable", move) == ""


@pytest.mark.parametrize("stored", ["RenderJob"], indirect=True)
def test_a_status_can_only_be_written_through_its_subresource(
    admission: Admission, stored: Manifest
) -> None:
    assert admission.patch("RenderJob", "turntable", {"status": {"phase": "Failed"}}) == ""
    assert "status" not in admission.get("RenderJob", "turntable")
    assert (
        admission.patch("RenderJob", "turntable", {"status": {"phase": "Waiting"}}, "status") == ""
    )
    assert admission.get("RenderJob", "turntable")["status"]["phase"] == "Waiting"


INVOICE_EDITS: list[Manifest] = [
    {"total": "0.00"},
    {"total": "4.0"},
    {"priced": {"amount": "9.00"}},
    {"lines": []},
    {"lines": None},
    {"usedSeconds": 0},
    {"currency": "USD"},
    {"accountName": "others"},
]


@pytest.mark.parametrize("stored", ["RenderInvoice"], indirect=True)
def test_an_invoice_is_never_changed(admission: Admission, stored: Manifest) -> None:
    name = stored["metadata"]["name"]
    for edit in INVOICE_EDITS:
        said = admission.patch("RenderInvoice", name, {"spec": edit})
        assert "spec: Invalid value" in said, edit
        assert "an invoice cannot be changed: a RenderPayment corrects" in said
    assert admission.get("RenderInvoice", name)["spec"] == stored["spec"]


@pytest.mark.parametrize(("before", "after"), [(None, "a"), ("a", None)])
def test_a_session_neither_gets_nor_loses_its_account(
    admission: Admission, before: str | None, after: str | None
) -> None:
    made = manifest("RenderSession", {"spec.accountName": before} if before else {})
    assert admission.create(made) == ""
    said = admission.patch("RenderSession", "teapots", {"spec": {"accountName": after}})
    assert "spec.accountName: Invalid value" in said
    assert "accountName cannot be changed" in said


def test_the_times_of_idle_nodes_are_held_against_each_other_in_edits(
    admission: Admission, request: pytest.FixtureRequest
) -> None:
    name = f"class-{uuid.uuid4().hex[:10]}"
    assert admission.create(manifest("RenderNodeClass", name=name)) == ""
    request.addfinalizer(lambda: admission.delete("RenderNodeClass", name))
    said = admission.patch("RenderNodeClass", name, {"spec": {"idle": {"billingPeriod": "5m"}}})
    assert "spec.idle.shutdownBefore: Invalid value" in said
    assert "write a shorter time, or a longer period" in said

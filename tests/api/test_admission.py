"""What the real API server refuses at admission, with which words, and what it takes."""

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from drqueue.api import GROUP, VERSION
from drqueue.api.crds import KINDS
from drqueue.api.frames import FramesError, count_frames
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kubernetes import client
from pydantic import ValidationError

from tests.admission import Admission
from tests.bad_input import BAD_INPUT, GOOD_INPUT
from tests.control_plane import Cluster
from tests.manifests import PLURALS, manifest

BY_KIND = {kind.kind: kind for kind in KINDS}
EXAMPLES = Path(__file__).parents[2] / "examples"
KUBECTL = str(Path(sys.executable).parent / "kubectl")


@pytest.mark.parametrize(("kind", "changes", "field", "remedy"), BAD_INPUT)
def test_refuses_naming_field_and_remedy(
    dry_run: Admission, kind: str, changes: dict[str, Any], field: str, remedy: str
) -> None:
    said = dry_run.create(manifest(kind, changes), dry_run="All")
    assert field in said
    assert remedy in said


@pytest.mark.parametrize(("kind", "changes"), GOOD_INPUT)
def test_takes_good_input(dry_run: Admission, kind: str, changes: dict[str, Any]) -> None:
    made = manifest(kind, changes)
    if kind == "RenderNodeClass":
        made["metadata"]["name"] = f"class-{uuid.uuid4().hex[:10]}"
    assert dry_run.create(made, dry_run="All") == ""


_numbers = st.sampled_from([0, 1, 2, 3, 9, 50, 999_999, 1_000_000, 99_999_999, 100_000_000])
_signed = st.tuples(st.sampled_from(["", "", "-"]), _numbers).map(
    lambda pair: f"{pair[0]}{pair[1]}"
)
_steps = st.tuples(st.sampled_from("xyxyz:"), _signed).map("".join)
_parts = st.one_of(
    _signed,
    st.tuples(_signed, _signed).map("-".join),
    st.tuples(_signed, _signed, _steps).map(lambda part: f"{part[0]}-{part[1]}{part[2]}"),
)
_texts = st.one_of(
    st.lists(_parts, min_size=1, max_size=4).map(",".join),
    st.text("0123456789-,xy: ", max_size=12),
)


@settings(max_examples=300)
@given(_texts)
@example("1-10x2,20-15y0")
@example("1-1000000,-1")
def test_frames_get_one_verdict_from_model_and_api_server(dry_run: Admission, text: str) -> None:
    said = dry_run.create(manifest("RenderJob", {"spec.frames": text}), dry_run="All")
    try:
        count_frames(text)
    except FramesError as refusal:
        assert refusal.why in said
    else:
        assert said == ""


_FIELDS = {
    "spec.scene.path": ("RenderJob", st.text("a./~\\ \n\x7fé", max_size=6)),
    "spec.output.folder": ("RenderJob", st.text("a./~\\-", max_size=6)),
    "spec.timeouts.frame": ("RenderJob", st.text("0123hms-. ", max_size=5)),
    "spec.limits.memory": ("RenderJob", st.text("015.-mkMGi ", max_size=6) | st.integers(-9, 9)),
    "spec.storage.size": ("RenderSession", st.text("015.mGi", max_size=5) | st.integers(-9, 9)),
    "spec.sessionName": ("RenderJob", st.text("aZ0-._\n", max_size=5)),
    "spec.nodeClassName": ("RenderSession", st.text("aZ0-._\n", max_size=5)),
    "metadata.name": ("RenderSession", st.text("a0-.", max_size=5)),
    "spec.amount": ("RenderPayment", st.text("019-+.e ,\n", max_size=5) | st.integers(-2, 2)),
    "spec.reference": ("RenderPayment", st.text("a \t\n\x7f\x85\u2028\ud7ff", max_size=4)),
    "spec.currency": ("RenderAccount", st.text("AZaz0\n", max_size=4)),
    "spec.namespaces": ("RenderAccount", st.lists(st.text("a0-.", max_size=3), max_size=3)),
    "spec.total": ("RenderInvoice", st.text("019-.e\n", max_size=5)),
    "spec.idle.shutdownBefore": ("RenderNodeClass", st.text("0156hms", max_size=4)),
    "spec.idle.billingPeriod": ("RenderNodeClass", st.text("0156hms", max_size=4)),
    "spec.price.minimum": ("RenderNodeClass", st.text("01.-", max_size=5)),
    "spec.nodes": ("RenderSession", st.integers(-2, 2) | st.sampled_from(["1", True, None])),
}


_NEEDED: dict[str, dict[str, Any]] = {
    "spec.price.minimum": {"spec.price": {"currency": "EUR", "machinePerHour": "1"}}
}


@pytest.mark.parametrize("field", _FIELDS)
@settings(max_examples=60)
@given(data=st.data())
def test_fields_get_one_verdict_from_model_and_api_server(
    dry_run: Admission, field: str, data: st.DataObject
) -> None:
    kind, values = _FIELDS[field]
    made = manifest(kind, {**_NEEDED.get(field, {}), field: data.draw(values)})
    said = dry_run.create(made, dry_run="All")
    try:
        BY_KIND[kind].model_validate(made)
    except ValidationError as refusal:
        assert said, refusal
    else:
        assert said == ""


@pytest.mark.parametrize("kind", PLURALS)
def test_strict_clients_are_refused_unknown_fields(dry_run: Admission, kind: str) -> None:
    body = manifest(kind, {"spec.colour": "red"})
    said = dry_run.create(body, dry_run="All", field_validation="Strict")
    assert 'unknown field "spec.colour"' in said


def test_kubectl_refuses_unknown_fields(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(manifest("RenderJob", {"spec.framse": "1-5"})), "utf-8")
    kubectl = [KUBECTL, "--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace]
    for way in ("--server-side=false", "--server-side"):
        command = [*kubectl, "apply", "-f", str(path), way]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "spec.framse" in done.stderr


def test_other_clients_are_warned_of_unknown_fields(api_client: client.ApiClient) -> None:
    """No schema or policy can refuse them: they are dropped before admission sees the object."""
    _, status, headers = client.CustomObjectsApi(
        api_client
    ).create_namespaced_custom_object_with_http_info(
        GROUP,
        VERSION,
        "default",
        PLURALS["RenderJob"],
        manifest("RenderJob", {"spec.colour": "red"}),
        dry_run="All",
    )
    assert status == 201
    assert 'unknown field \\"spec.colour\\"' in headers["Warning"]


def test_kubectl_applies_the_examples(cluster: Cluster, admission: Admission) -> None:
    kubectl = [KUBECTL, "--kubeconfig", str(cluster.kubeconfig)]
    applied = subprocess.run(
        [*kubectl, "apply", "-f", str(EXAMPLES)], capture_output=True, text=True, check=False
    )
    try:
        assert applied.returncode == 0, applied.stderr
        listed = subprocess.run(
            [*kubectl, "get", "drqueue", "--all-namespaces", "--output", "name"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "renderjob.drqueue.org/turntable" in listed.stdout
        assert "rendersession.drqueue.org/teapots" in listed.stdout
    finally:
        # waits, so that a cluster that is used again has no namespace still going
        removal = [*kubectl, "delete", "--ignore-not-found", "-f", str(EXAMPLES)]
        subprocess.run(removal, capture_output=True, check=True)


def test_defaults_are_filled_in(admission: Admission) -> None:
    assert admission.create(manifest("RenderSession")) == ""
    spec = admission.get("RenderSession", "teapots")["spec"]
    assert spec["storage"] == {"size": "10Gi", "accessMode": "ReadWriteMany", "retain": True}
    assert admission.create(manifest("RenderJob")) == ""
    spec = admission.get("RenderJob", "turntable")["spec"]
    assert (spec["blockSize"], spec["priority"], spec["retries"]) == (1, 50, 3)
    assert spec["suspend"] is False

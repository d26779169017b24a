"""What the real API server refuses at admission, with which words, and what it takes."""

import json
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

from tests.bad_input import BAD_INPUT, GOOD_INPUT
from tests.control_plane import Cluster
from tests.manifests import PLURALS, Manifest, manifest

BY_KIND = {kind.kind: kind for kind in KINDS}
EXAMPLES = Path(__file__).parents[2] / "examples"
KUBECTL = str(Path(sys.executable).parent / "kubectl")


class Admission:
    """Creates and edits our kinds, and tells what the API server said."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._objects = client.CustomObjectsApi(api)
        self._namespace = namespace

    def _where(self, kind: str) -> tuple[str, ...]:
        if kind == "RenderNodeClass":
            return (GROUP, VERSION, PLURALS[kind])
        return (GROUP, VERSION, self._namespace, PLURALS[kind])

    def _call(self, verb: str, kind: str) -> Any:
        scope = "cluster" if kind == "RenderNodeClass" else "namespaced"
        first, _, rest = verb.partition("_")
        return getattr(self._objects, f"{first}_{scope}_custom_object{'_' + rest if rest else ''}")

    def create(self, body: Manifest, **options: Any) -> str:
        """Create an object; gives nothing, or the refusal's message."""
        try:
            self._call("create", body["kind"])(*self._where(body["kind"]), body, **options)
        except client.ApiException as error:
            return _refusal(error)
        return ""

    def patch(self, kind: str, name: str, change: Manifest, subresource: str = "") -> str:
        """Merge a change into an object; gives nothing, or the refusal's message."""
        verb = f"patch_{subresource}" if subresource else "patch"
        try:
            self._call(verb, kind)(*self._where(kind), name, change)
        except client.ApiException as error:
            return _refusal(error)
        return ""

    def get(self, kind: str, name: str) -> Manifest:
        """Read an object as the API server stored it."""
        found: Manifest = self._call("get", kind)(*self._where(kind), name)
        return found

    def delete(self, kind: str, name: str) -> None:
        """Delete an object."""
        self._call("delete", kind)(*self._where(kind), name)


def _refusal(error: client.ApiException) -> str:
    if error.status not in (400, 422):
        raise error
    message: str = json.loads(error.body)["message"]
    return message


@pytest.fixture
def admission(api_client: client.ApiClient, namespace: str) -> Admission:
    return Admission(api_client, namespace)


@pytest.fixture(scope="module")
def dry_run(api_client: client.ApiClient) -> Admission:
    return Admission(api_client, "default")


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


@settings(max_examples=300, deadline=None)
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
    "spec.nodes": ("RenderSession", st.integers(-2, 2) | st.sampled_from(["1", True, None])),
}


@pytest.mark.parametrize("field", _FIELDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_fields_get_one_verdict_from_model_and_api_server(
    dry_run: Admission, field: str, data: st.DataObject
) -> None:
    kind, values = _FIELDS[field]
    made = manifest(kind, {field: data.draw(values)})
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
    "pools": ["night"],
    "startupDeadline": "1h",
    "drainGrace": "1h",
}
CLASS_EDITS: dict[str, Any] = {"provider": {"kubernetes": {"image": "other"}}}
IMMUTABLE = [
    *(("RenderJob", field, value) for field, value in JOB_EDITS.items()),
    *(("RenderSession", field, value) for field, value in SESSION_EDITS.items()),
    *(("RenderNode", field, value) for field, value in NODE_EDITS.items()),
    *(("RenderNodeClass", field, value) for field, value in CLASS_EDITS.items()),
]


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
                {"storage": {"size": "10Gi"}},
                {"storage": {"size": "10737418241"}},
                {"storage": {"size": 20737418240}},
                {"storage": {"size": "1Ti"}},
            ],
        ),
        ("RenderNode", [{"drain": True}]),
        (
            "RenderNodeClass",
            [
                {"renderers": ["blender"]},
                {"pools": ["day"]},
                {"os": "darwin"},
                {"storageClassName": "fast"},
                {"startupDeadline": "1h"},
                {"drainGrace": "0s"},
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


def test_defaults_are_filled_in(admission: Admission) -> None:
    assert admission.create(manifest("RenderSession")) == ""
    spec = admission.get("RenderSession", "teapots")["spec"]
    assert spec["storage"] == {"size": "10Gi", "accessMode": "ReadWriteMany", "retain": True}
    assert admission.create(manifest("RenderJob")) == ""
    spec = admission.get("RenderJob", "turntable")["spec"]
    assert (spec["blockSize"], spec["priority"], spec["retries"]) == (1, 50, 3)
    assert spec["suspend"] is False


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

"""Submitting to a real API server: scenes, manifests, and its refusals in its own words."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from drqueue.cli import submit
from drqueue.cli.exits import Exit
from kubernetes import client

from tests.bad_input import BAD_INPUT
from tests.cli_tenant import BASE, Tenant
from tests.control_plane import Cluster, wait_until
from tests.manifests import manifest


@pytest.fixture
def tenant(api_client: client.ApiClient, cluster: Cluster, namespace: str) -> Tenant:
    """Give a fresh namespace."""
    return Tenant(api_client, cluster.kubeconfig, namespace)


@pytest.mark.parametrize("content", [b"#version 3.7;\n", bytes(range(256)) * 100])
def test_a_scene_goes_with_its_job(tenant: Tenant, tmp_path: Path, content: bytes) -> None:
    scene = tmp_path / "scene.pov"
    scene.write_bytes(content)
    tenant.ok("job", "submit", "turntable", *BASE, "--scene", str(scene))
    source = tenant.get("RenderJob", "turntable")["spec"]["scene"]["configMap"]
    found = tenant.core.read_namespaced_config_map(source["name"], tenant.namespace)
    text, binary = (found.data or {}), (found.binary_data or {})
    stored = text[source["key"]].encode() if text else base64.b64decode(binary[source["key"]])
    assert stored == content
    [owner] = found.metadata.owner_references
    assert (owner.kind, owner.name) == ("RenderJob", "turntable")
    tenant.ok("job", "delete", "turntable")
    wait_until(lambda: not scenes(tenant), "the scene goes with its job")


def scenes(tenant: Tenant) -> list[str]:
    """Give the names of ConfigMaps that hold scenes."""
    items = tenant.core.list_namespaced_config_map(tenant.namespace).items
    return [item.metadata.name for item in items if "-scene-" in item.metadata.name]


def test_a_refused_job_leaves_no_scene(tenant: Tenant, tmp_path: Path) -> None:
    scene = tmp_path / "scene.pov"
    scene.write_text("sphere {}")
    tenant.apply("RenderJob")
    result = tenant.run("job", "submit", "turntable", *BASE, "--scene", str(scene))
    assert result.exit_code == Exit.REFUSED
    assert "exists already" in result.stderr
    assert scenes(tenant) == []
    assert tenant.ok("job", "submit", "new", *BASE, "--scene", str(scene), "--dry-run")
    assert scenes(tenant) == []


def test_a_scene_left_by_an_interrupted_submit_is_replaced_and_a_strangers_is_not(
    tenant: Tenant, tmp_path: Path
) -> None:
    scene = tmp_path / "scene.pov"
    scene.write_text("sphere {}")
    tenant.ok("job", "submit", "turntable", *BASE, "--scene", str(scene))
    [name] = scenes(tenant)
    left = tenant.core.read_namespaced_config_map(name, tenant.namespace)
    # the job goes and its scene stays, as when the submit was killed between the two
    no_owner = {"metadata": {"ownerReferences": None}}
    tenant.core.patch_namespaced_config_map(name, tenant.namespace, no_owner)
    tenant.ok("job", "delete", "turntable")
    tenant.ok("job", "submit", "turntable", *BASE, "--scene", str(scene))
    again = tenant.core.read_namespaced_config_map(name, tenant.namespace)
    assert again.metadata.uid != left.metadata.uid
    assert len(again.metadata.owner_references) == 1
    tenant.ok("job", "delete", "turntable")
    wait_until(lambda: not scenes(tenant), "the scene goes with its job")
    tenant.core.create_namespaced_config_map(tenant.namespace, {"metadata": {"name": name}})
    result = tenant.run("job", "submit", "turntable", *BASE, "--scene", str(scene))
    assert result.exit_code == Exit.REFUSED
    assert f"ConfigMap {name} is somebody else's" in result.stderr


def test_a_manifest_is_submitted_into_its_namespace(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(manifest("RenderJob")))
    made = yaml.safe_load(tenant.ok("job", "submit", "-f", str(path), "-o", "yaml"))
    assert made["metadata"]["namespace"] == tenant.namespace
    assert made["spec"]["blockSize"] == 1
    path.write_text(yaml.safe_dump(manifest("RenderJob", {"metadata.namespace": "other"})))
    result = tenant.run("job", "submit", "-f", str(path))
    assert result.exit_code == Exit.REFUSED
    assert "metadata.namespace: 'other'" in result.stderr


JOB_ROWS = [row for row in BAD_INPUT if row[0] == "RenderJob"]


@pytest.mark.parametrize(
    "row", JOB_ROWS, ids=[f"{row[2]}-{list(row[1].values())!r:.40}" for row in JOB_ROWS]
)
def test_the_servers_refusals_are_shown_as_its_own_words(
    tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Any
) -> None:
    kind, changes, field, words = row
    # a client of another version, whose models let it pass
    monkeypatch.setattr(submit, "check", lambda *_: None)
    path = tmp_path / "job.json"
    path.write_text(json.dumps(manifest(kind, changes)))
    result = tenant.run("job", "submit", "-f", str(path))
    if not manifest(kind, changes)["metadata"].get("name"):
        assert result.exit_code != 0
        return
    assert result.exit_code == Exit.REFUSED, result.output
    assert "Traceback" not in result.output
    said = result.stderr.replace("\\n", "\n")
    assert words in said or field.rpartition(".")[2] in said, said


def test_unknown_fields_are_refused_by_the_server(
    tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "check", lambda *_: None)
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(manifest("RenderJob", {"spec.framez": "1"})))
    result = tenant.run("job", "submit", "-f", str(path))
    assert result.exit_code == Exit.REFUSED
    assert "spec.framez: there is no such field" in result.stderr

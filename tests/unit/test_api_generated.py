"""The CRDs and the reference: up to date, structural, bounded, described."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from drqueue.api import GROUP, crds, docs, generated
from drqueue.api.base import Resource
from drqueue.api.schema import structural_schema

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "drqueue-operator" / "templates" / "crds"
REFERENCE = ROOT / "docs" / "reference.md"
kinds = pytest.mark.parametrize("kind", crds.KINDS, ids=lambda kind: kind.kind)


def test_committed_files_are_up_to_date() -> None:
    texts = crds.outputs(ROOT / "crds", CHART) | {REFERENCE: docs.reference()}
    assert generated.stale(texts) == []


def _fields(part: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, part
    for name, field in part.get("properties", {}).items():
        yield from _fields(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in part:
            yield from _fields(part[key], f"{path}[]")


@kinds
def test_every_field_is_described(kind: type[Resource]) -> None:
    schema = structural_schema(kind)
    for part in ("spec", "status"):
        for path, field in _fields(schema["properties"][part], part):
            if not path.endswith("]"):
                assert field.get("description"), path


@kinds
def test_specs_are_bounded_so_that_rules_stay_within_their_budget(kind: type[Resource]) -> None:
    for path, field in _fields(structural_schema(kind)["properties"]["spec"], "spec"):
        if "enum" in field or field.get("format") == "date-time":
            continue
        bound = {"string": "maxLength", "array": "maxItems"}.get(field.get("type", ""))
        if field.get("x-kubernetes-int-or-string"):
            bound = "maxLength"
        if "additionalProperties" in field:
            bound = "maxProperties"
        assert bound is None or bound in field, path


@kinds
def test_schemas_hold_nothing_that_kubernetes_does_not_take(kind: type[Resource]) -> None:
    for path, field in _fields(structural_schema(kind), ""):
        assert not field.keys() & {"$ref", "anyOf", "allOf", "oneOf", "title", "nullable"}, path
        assert "type" in field or field.get("x-kubernetes-int-or-string"), path
        assert not {"properties", "additionalProperties"} <= field.keys(), path


@kinds
def test_a_crd_stays_small_and_says_the_same_in_the_chart(kind: type[Resource]) -> None:
    plain = crds.manifest(kind)
    assert len(plain.encode()) < 60_000
    definition = yaml.safe_load(plain)
    assert definition["metadata"]["name"] == f"{kind.plural}.{GROUP}"
    definition["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    lines = crds.chart_template(kind).splitlines()
    assert lines[1] == "{{- if .Values.crds.install }}"
    assert lines[-1] == "{{- end }}"
    body = "\n".join(lines[2:-1])
    assert "{{" not in body.replace('{{ "{{" }}', "")
    assert yaml.safe_load(body.replace('{{ "{{" }}', "{{")) == definition


def test_braces_survive_the_chart() -> None:
    assert crds.escape("a {{ b }} {{") == 'a {{ "{{" }} b }} {{ "{{" }}'


def test_check_names_what_differs_and_the_command_that_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, chart = tmp_path / "crds", tmp_path / "chart"
    command = [str(folder), "--chart", str(chart)]
    assert crds.main([*command, "--check"]) == 1
    assert "renderjobs.drqueue.org.yaml is missing: run `make crds`" in capsys.readouterr().err
    assert crds.main(command) == 0
    assert crds.main([*command, "--check"]) == 0
    (chart / "renderjobs.yaml").write_text("kind: Other\n", "utf-8")
    (folder / "old.yaml").write_text(crds.HEADER, "utf-8")
    (folder / "someone-elses.yaml").write_text("kind: Other\n", "utf-8")
    assert crds.main([*command, "--check"]) == 1
    said = capsys.readouterr().err
    assert "renderjobs.yaml differs from the models" in said
    assert "old.yaml is of no kind" in said
    assert "someone-elses" not in said
    assert crds.main(command) == 0
    assert crds.main([*command, "--check"]) == 0
    assert not (folder / "old.yaml").exists()
    assert (folder / "someone-elses.yaml").exists()


def test_the_reference_is_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "reference.md"
    assert docs.main([str(path), "--check"]) == 1
    assert "is missing: run `make docs`" in capsys.readouterr().err
    assert docs.main([str(path)]) == 0
    assert docs.main([str(path), "--check"]) == 0


def test_the_reference_says_what_can_be_edited() -> None:
    lines = [line.split(" | ") for line in docs.reference().splitlines()]
    edits = {row[0].strip("| `"): row[3] for row in lines if len(row) == 5}
    assert edits["priority"] == "yes"
    assert edits["frames"] == "no"
    assert edits["storage.accessMode"] == "no"
    assert edits["storage.size"] == "see below"
    assert edits["scene.configMap.name"] == "no"
    assert edits["drain"] == "yes"
    assert edits["accountName"] == "no"
    assert edits["price.discounts[].percent"] == "yes"
    assert edits["amount"] == "no"
    assert edits["lines[].text"] == "no"


def test_the_reference_calls_money_an_amount() -> None:
    lines = [line.split(" | ") for line in docs.reference().splitlines()]
    types = {row[0].strip("| `"): row[1] for row in lines if len(row) == 5}
    for field in ("price.machinePerHour", "price.minimum", "amount", "lines[].amount", "total"):
        assert types[field] == "amount"

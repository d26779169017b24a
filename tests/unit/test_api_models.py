"""The models refuse what the CRDs refuse, and take what the CRDs take."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from drqueue.api.base import Model
from drqueue.api.crds import KINDS
from drqueue.api.job import RenderJob
from drqueue.api.session import RenderSession
from drqueue.api.values import format_duration, parse_duration, parse_quantity
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.bad_input import BAD_INPUT, GOOD_INPUT
from tests.manifests import manifest

BY_KIND = {kind.kind: kind for kind in KINDS}
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(("kind", "changes", "field", "remedy"), BAD_INPUT)
def test_models_refuse_bad_input(
    kind: str, changes: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(ValidationError):
        BY_KIND[kind].model_validate(manifest(kind, changes))


@pytest.mark.parametrize(("kind", "changes"), GOOD_INPUT)
def test_models_take_good_input(kind: str, changes: dict[str, Any]) -> None:
    BY_KIND[kind].model_validate(manifest(kind, changes))


@pytest.mark.parametrize("field", ["spec.output.folder", "spec.scene"])
def test_names_in_a_path_are_measured_in_bytes(field: str) -> None:
    def read(path: str) -> None:
        value = {"path": path} if field == "spec.scene" else path
        RenderJob.model_validate(manifest("RenderJob", {field: value}))

    read(f"a/{'畫' * 85}/b")
    with pytest.raises(ValidationError, match=r"255 bytes.*write a shorter one"):
        read(f"a/{'畫' * 86}/b")


@pytest.mark.parametrize("kind", BY_KIND)
def test_unknown_fields_are_refused_by_name(kind: str) -> None:
    with pytest.raises(ValidationError, match=r"spec\.colour\n.*not permitted"):
        BY_KIND[kind].model_validate(manifest(kind, {"spec.colour": "red"}))


def test_examples_hold() -> None:
    parts = [p for f in sorted(EXAMPLES.rglob("*.yaml")) for p in yaml.safe_load_all(f.read_text())]
    ours = [part for part in parts if part["kind"] in BY_KIND]
    assert {part["kind"] for part in ours} >= {
        "RenderNodeClass",
        "RenderSession",
        "RenderJob",
        "RenderAccount",
    }
    for part in ours:
        BY_KIND[part["kind"]].model_validate(part)


def test_a_spec_survives_writing_and_reading() -> None:
    for kind, changes in GOOD_INPUT:
        read: Any = BY_KIND[kind].model_validate(manifest(kind, changes))
        spec: Model = read.spec
        assert type(spec).model_validate(spec.dump()) == spec


def test_what_status_says_is_read_leniently() -> None:
    written = manifest("RenderSession", {"status.invented": 1, "status.phase": "Active"})
    session = RenderSession.model_validate(written)
    assert session.status is not None
    assert session.status.phase == "Active"


def test_sums_of_durations_outgrow_what_a_person_may_write() -> None:
    total = timedelta(hours=10_000 * 999_999)
    written = manifest("RenderSession", {"status.renderTime.granted": format_duration(total)})
    session = RenderSession.model_validate(written)
    assert session.status is not None
    assert session.status.render_time.granted == total


def test_an_edit_is_validated_too() -> None:
    job = RenderJob.model_validate(manifest("RenderJob"))
    with pytest.raises(ValidationError, match="frames"):
        job.spec.frames = "10-1"


@given(st.integers(1, 10**9))
def test_durations_read_back(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", "0.5"), ("4", "4"), (4, "4"), ("1.5Gi", "1610612736"), ("2k", "2000"), ("0", "0")],
)
def test_quantities_are_exact(text: str | int, value: str) -> None:
    assert str(parse_quantity(text).normalize() + 0) == value

"""Templates, their checks, and what they are told."""

import sys
from pathlib import Path
from typing import Any

import pytest
from drqueue.api.frames import parse_frames
from drqueue.renderers import (
    RENDERERS,
    SUPPLIED,
    JobFacts,
    ParametersError,
    TemplateError,
    output_files,
    prepare,
    template_of,
    validate,
)
from drqueue.renderers.prepare import EXTENSIONS
from drqueue.renderers.progress import frame_done_of, progress_of
from hypothesis import given
from hypothesis import strategies as st


def facts(frames: str = "1-24", scene: str | None = "/work/scene.pov") -> JobFacts:
    return JobFacts(
        name="teapot",
        owner="studio-a",
        frames=frames,
        scene=scene,
        output_folder="/tmp/session/output",
        work_folder="/work",
    )


def own(**changes: Any) -> dict[str, Any]:
    """A template of a customer's own."""
    template: dict[str, Any] = {
        "specificationVersion": "jobtemplate-2023-09",
        "name": "own",
        "steps": [{"name": "S", "script": {"actions": {"onRun": {"command": "true"}}}}],
    }
    return template | changes


def space(*parameters: dict[str, Any]) -> dict[str, Any]:
    step = own()["steps"][0] | {"parameterSpace": {"taskParameterDefinitions": list(parameters)}}
    return own(steps=[step], extensions=["TASK_CHUNKING"])


REQUIRED = {"general": {"Command": "true"}}


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("frames", ["1-24", "5", "-5--1", "-3-12x3,40", "1-1000000", "1-100y3"])
def test_each_renderer_takes_any_frames(renderer: str, frames: str) -> None:
    prepared = prepare(template_of(renderer), REQUIRED.get(renderer, {}), facts(frames))
    assert prepared.frame_parameter is not None
    assert prepared.chunked == (renderer == "blender")


def test_a_template_is_the_callers_own() -> None:
    template_of("povray")["steps"].clear()
    assert template_of("povray")["steps"]


def test_an_unknown_renderer_is_told_which_there_are() -> None:
    with pytest.raises(KeyError, match="blender, general, povray") as caught:
        template_of("maya")
    assert str(caught.value).startswith("renderer 'maya'")


@pytest.mark.parametrize(
    ("renderer", "parameters", "patterns"),
    [
        ("povray", {}, ("teapot_####.png",)),
        ("povray", {"Format": "EXR"}, ("teapot_####.exr",)),
        ("blender", {"Format": "OPEN_EXR"}, ("teapot_####.exr",)),
        ("blender", {"Format": "JPEG"}, ("teapot_####.jpg",)),
        ("general", {}, ()),
        (None, {"Format": "PNG"}, ()),
    ],
)
def test_output_files(
    renderer: str | None, parameters: dict[str, str], patterns: tuple[str, ...]
) -> None:
    assert output_files(renderer, "teapot", parameters) == patterns


@pytest.mark.parametrize("renderer", ["povray", "blender"])
def test_every_format_has_a_file_name(renderer: str) -> None:
    definitions = {d["name"]: d for d in template_of(renderer)["parameterDefinitions"]}
    names = {
        output_files(renderer, "j", {"Format": f}) for f in definitions["Format"]["allowedValues"]
    }
    assert len(names) == len(definitions["Format"]["allowedValues"])


@pytest.mark.parametrize(
    ("renderer", "parameters", "scene", "field", "words"),
    [
        ("povray", {"Widht": "8"}, "/s", "spec.parameters.Widht", "Height"),
        ("povray", {"Width": "0"}, "/s", "spec.parameters", "Width"),
        ("povray", {"Width": "big"}, "/s", "spec.parameters", "Width"),
        ("povray", {"Antialias": "maybe"}, "/s", "spec.parameters", "Antialias"),
        ("povray", {"SceneFile": "/x"}, "/s", "spec.parameters.SceneFile", "spec.scene"),
        ("povray", {"OutputFolder": "/x"}, "/s", "spec.parameters.OutputFolder", "leave it out"),
        ("povray", {}, None, "spec.scene", "needs a scene"),
        ("blender", {"Engine": "LUXCORE"}, "/s", "spec.parameters", "Engine"),
        ("general", {}, None, "spec.parameters.Command", "set a value"),
        ("general", {"Command": ""}, None, "spec.parameters", "Command"),
    ],
)
def test_wrong_parameters(
    renderer: str, parameters: dict[str, str], scene: str | None, field: str, words: str
) -> None:
    with pytest.raises(ParametersError) as caught:
        validate(template_of(renderer), parameters, facts(scene=scene))
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert words in str(caught.value)


INT = {"name": "Frame", "type": "INT", "range": "1-3"}
CHUNK = {
    "name": "Frames",
    "type": "CHUNK[INT]",
    "range": "1-3",
    "chunks": {"defaultTaskCount": 1, "rangeConstraint": "CONTIGUOUS"},
}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({}, "specificationVersion"),
        ({"specificationVersion": "jobtemplate-1999-01"}, "jobtemplate-2023-09"),
        ({"specificationVersion": ["x"]}, ""),
        (own(steps=[]), "steps"),
        (own(steps=own()["steps"] * 2), ""),
        (own(steps=[own()["steps"][0], own()["steps"][0] | {"name": "T"}]), "spec.dependsOn"),
        (own(nonsense=1), "nonsense"),
        (own(extensions=["WRAP_ACTIONS"]), "WRAP_ACTIONS"),
        (space(INT, INT | {"name": "Other"}), "one task parameter"),
        (space({"name": "X", "type": "STRING", "range": ["a"]}), "one task parameter"),
        (space(INT | {"range": "nonsense"}), "range"),
    ],
)
def test_wrong_templates(template: dict[str, Any], words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        validate(template, {}, facts())
    assert caught.value.field.startswith("spec.template")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1100


def test_own_templates() -> None:
    plain = prepare(own(), {}, facts())
    assert (plain.frame_parameter, plain.chunked) == (None, False)
    frame = prepare(space(INT), {}, facts())
    assert (frame.frame_parameter, frame.chunked) == ("Frame", False)
    chunk = prepare(space(CHUNK), {}, facts())
    assert (chunk.frame_parameter, chunk.chunked, chunk.contiguous) == ("Frames", True, True)
    with_expressions = own(extensions=["EXPR"])
    assert prepare(with_expressions, {}, facts()).symbols is not None


def test_only_what_a_template_declares_is_supplied() -> None:
    names = [{"name": name, "type": "STRING"} for name in SUPPLIED]
    values = prepare(own(parameterDefinitions=names), {}, facts("1-9x2,20")).parameter_values
    assert {name: value.value for name, value in values.items()} == {
        "SceneFile": "/work/scene.pov",
        "OutputFolder": "/tmp/session/output",
        "WorkFolder": "/work",
        "JobName": "teapot",
        "Owner": "studio-a",
        "Frames": "1-9:2,20",
        "FirstFrame": "1",
        "LastFrame": "20",
    }
    optional = own(parameterDefinitions=[{"name": "SceneFile", "type": "STRING", "default": ""}])
    assert prepare(optional, {}, facts(scene=None)).parameter_values["SceneFile"].value == ""


def test_paths_in_parameters_are_relative_to_the_volume() -> None:
    template = own(parameterDefinitions=[{"name": "Textures", "type": "PATH"}])
    values = prepare(template, {"Textures": "shared/wood"}, facts()).parameter_values
    assert values["Textures"].value == "/work/shared/wood"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(["name", "steps", "parameterDefinitions", "jobEnvironments", "extensions"]),
    json_values,
)
def test_a_strangers_template_is_refused_in_words(part: str, value: Any) -> None:
    try:
        validate(own(**{part: value}), {}, facts())
    except (TemplateError, ParametersError) as error:
        assert str(error)


@given(st.sampled_from(["parameterSpace", "script", "name", "stepEnvironments"]), json_values)
def test_a_strangers_step_is_refused_in_words(part: str, value: Any) -> None:
    try:
        validate(own(steps=[own()["steps"][0] | {part: value}]), {}, facts())
    except (TemplateError, ParametersError) as error:
        assert str(error)


def test_frames_longer_than_openjd_takes_become_first_to_last() -> None:
    many = facts(",".join(str(n * n) for n in range(1, 90)))
    assert len(many.openjd_frames) <= 1024
    long = facts("1-300y7,1001-1999y3")
    assert long.openjd_frames == "2-1999"
    assert long.span == (2, 1999)
    assert len(parse_frames(long.frames)) > 600


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("Rendered 8192 of 76800 pixels (10%)", 0.1),
        ("Rendered 76800 of 76800 pixels (100%)", 1.0),
        (
            "Fra:1 Mem:8.5M (Peak 9M) | Time:00:01.2 | Mem:1M | Scene, ViewLayer | Sample 16/64",
            0.25,
        ),
        ("Fra:-3 Mem:1M | Rendering 3 / 4 samples", 0.75),
        ("Fra:1 | Sample 1/0", None),
        ("Sample 1/2", None),
        ("Rendered quickly", None),
        ("", None),
    ],
)
def test_progress(line: str, part: float | None) -> None:
    assert progress_of(line) == part


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        ("drqueue_frame_done: 17", 17),
        ("drqueue_frame_done: -3", -3),
        ("drqueue_frame_done: 17 of 20", None),
        (" drqueue_frame_done: 17", None),
        ("drqueue_frame_done: 999999999", None),
    ],
)
def test_frame_done(line: str, frame: int | None) -> None:
    assert frame_done_of(line) == frame


@given(st.text())
def test_any_line_is_read(line: str) -> None:
    part = progress_of(line)
    assert part is None or 0 <= part <= 1
    frame_done_of(line)


class _Anything:
    """A stand-in for Blender's data: takes any attribute, remembers what is set."""

    def __getattr__(self, name: str) -> Any:
        value = _Anything()
        object.__setattr__(self, name, value)
        return value


def _run_in_blender(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[Any, list[tuple[int, str]], str]:
    """Run the Blender template's script with a stand-in for Blender's own module."""
    rendered: list[tuple[int, str]] = []
    bpy = _Anything()
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    at: list[int] = []
    scene.frame_set = at.append

    def render(write_still: bool) -> set[str]:
        assert write_still
        rendered.append((at[-1], scene.render.filepath))
        return {"FINISHED"}

    bpy.ops.render.render = render
    monkeypatch.setitem(sys.modules, "bpy", bpy)
    monkeypatch.setattr(sys, "argv", ["blender", "--background", "--", *arguments])
    script = template_of("blender")["steps"][0]["script"]["embeddedFiles"][0]["data"]
    exec(compile(script, "render.py", "exec"), {})  # noqa: S102
    return scene, rendered, capsys.readouterr().out


def test_blender_renders_its_chunk_and_reports_each_frame(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene, rendered, out = _run_in_blender(
        monkeypatch,
        capsys,
        "/out",
        "cube",
        "-2,1-7:3,12",
        "SCENE",
        "OPEN_EXR",
        "64",
        "0",
        "8",
        "off",
        "",
        "",
    )
    assert rendered == [
        (frame, f"/out/cube_{name}.exr")
        for frame, name in ((-2, "-002"), (1, "0001"), (4, "0004"), (7, "0007"), (12, "0012"))
    ]
    assert [frame_done_of(line) for line in out.splitlines() if "drqueue" in line] == [
        -2,
        1,
        4,
        7,
        12,
    ]
    assert (scene.render.resolution_x, scene.cycles.samples) == (64, 8)
    assert scene.cycles.use_denoising is False
    assert scene.render.image_settings.file_format == "OPEN_EXR"


def test_blender_stops_at_a_frame_that_did_not_finish(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = template_of("blender")["steps"][0]["script"]["embeddedFiles"][0]["data"]
    monkeypatch.setitem(sys.modules, "bpy", _Anything())
    monkeypatch.setattr(_Anything, "__call__", lambda self, *_, **__: {"CANCELLED"}, raising=False)
    values = ["/out", "cube", "3", "SCENE", "PNG", "0", "0", "0", "SCENE", "", ""]
    monkeypatch.setattr(sys, "argv", ["blender", "--", *values])
    with pytest.raises(SystemExit, match="did not finish frame 3"):
        exec(compile(script, "render.py", "exec"), {})  # noqa: S102
    assert "drqueue_frame_done" not in capsys.readouterr().out


def test_the_manual_names_every_parameter_and_extension() -> None:
    manual = (Path(__file__).parents[2] / "docs/renderers.md").read_text("utf-8")
    for renderer in RENDERERS:
        section = manual.split(f"\n### {renderer}\n")[1].split("\n#")[0]
        names = {d["name"] for d in template_of(renderer)["parameterDefinitions"]} - SUPPLIED.keys()
        assert {name for name in names if f"`{name}`" not in section} == set()
    assert {name for name in (*SUPPLIED, *EXTENSIONS) if f"`{name}`" not in manual} == set()

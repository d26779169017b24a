"""What submit makes of its options, and what it refuses before anybody is asked."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from drqueue.api import API_VERSION
from drqueue.api.job import RenderJob
from drqueue.cli.exits import Exit
from drqueue.cli.main import cli
from drqueue.cli.manifest import check, read_manifest
from drqueue.cli.scenes import MAX_SCENE_BYTES, SceneFile, config_map_name, read_scene
from drqueue.cli.submit import build, parse_parameters, submit

BASE = ("--session", "teapots", "--renderer", "povray", "--frames", "1-24")


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    """Submit, with no cluster to ask: what gets that far ends in `no kubeconfig`."""
    runner = CliRunner(env={"KUBECONFIG": "/nonexistent"})
    return runner.invoke(cli, ["job", "submit", *arguments], input=stdin)


def built(name: str, *arguments: str) -> tuple[dict[str, Any], SceneFile | None]:
    """Give the manifest that options make."""
    ctx = submit.make_context("submit", [name, *arguments])
    about = ("name", "manifest", "wait", "seconds", "dry_run", "form")
    return build(name, {k: v for k, v in ctx.params.items() if k not in about})


def test_only_what_was_given_is_sent() -> None:
    item, scene = built("turntable", *BASE)
    assert scene is None
    assert item == {
        "apiVersion": API_VERSION,
        "kind": "RenderJob",
        "metadata": {"name": "turntable"},
        "spec": {"sessionName": "teapots", "renderer": "povray", "frames": "1-24"},
    }
    check(RenderJob, item)


def test_every_option_becomes_its_field() -> None:
    item, _ = built(
        "turntable",
        *BASE,
        *("--scene-path", "scenes/a.pov", "--block-size", "2", "--priority", "0"),
        *("--retries", "5", "--cores", "500m", "--memory", "16Gi", "--os", "linux"),
        *("--pool", "gpu", "--param", "A=1=2", "--param", "B=", "--depends-on", "one"),
        *("--depends-on", "two", "--output-folder", "out", "--output-file", "i####.png"),
        *("--frame-timeout", "30m", "--environment-timeout", "90s", "--ttl", "0", "--suspend"),
    )
    check(RenderJob, item)
    assert item["spec"] == {
        "sessionName": "teapots",
        "renderer": "povray",
        "frames": "1-24",
        "scene": {"path": "scenes/a.pov"},
        "blockSize": 2,
        "priority": 0,
        "retries": 5,
        "limits": {"cores": "500m", "memory": "16Gi", "os": "linux", "pool": "gpu"},
        "parameters": {"A": "1=2", "B": ""},
        "dependsOn": ["one", "two"],
        "output": {"folder": "out", "files": ["i####.png"]},
        "timeouts": {"frame": "30m", "environment": "90s"},
        "ttlSecondsAfterFinished": 0,
        "suspend": True,
    }


def test_a_scene_file_becomes_a_key_of_a_config_map(tmp_path: Path) -> None:
    path = tmp_path / "my scene (1).pov"
    path.write_bytes(b"sphere {}")
    item, scene = built("turntable", *BASE, "--scene", str(path))
    check(RenderJob, item)
    assert scene == SceneFile("my_scene_1_.pov", b"sphere {}")
    name = config_map_name("turntable", scene)
    assert item["spec"]["scene"] == {"configMap": {"name": name, "key": scene.key}}
    assert name != config_map_name("turntable", SceneFile(scene.key, b"box {}"))


def test_a_template_is_sent_as_it_is(tmp_path: Path) -> None:
    template: dict[str, Any] = {
        "specificationVersion": "jobtemplate-2023-09",
        "steps": [],
        "x": {},
        "y": None,
    }
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump(template))
    options = ("--session", "teapots", "--frames", "1", "--template", str(path))
    item, _ = built("turntable", *options)
    assert item["spec"]["template"] == template


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        (("--frames", "1:5"), "spec.frames", "':' means different things"),
        (("--frames", "5-1"), "spec.frames", "write the lower number first"),
        (("--block-size", "0"), "spec.blockSize: 0", "greater than or equal to 1"),
        (("--priority", "101"), "spec.priority: 101", "less than or equal to 100"),
        (("--retries", "0"), "spec.retries: 0", "greater than or equal to 1"),
        (("--cores", "four"), "spec.limits.cores", "'four'"),
        (("--scene-path", "../x"), "spec.scene.path", "'../x'"),
        (("--frame-timeout", "30"), "spec.timeouts.frame", "'30'"),
        (("--session", "Tea"), "spec.sessionName", "'Tea'"),
        (("--ttl", "-1"), "spec.ttlSecondsAfterFinished: -1", "greater than or equal to 0"),
    ],
)
def test_wrong_values_are_refused_before_the_cluster_is_asked(
    arguments: tuple[str, ...], field: str, words: str
) -> None:
    result = run("turntable", *BASE, *arguments)
    assert result.exit_code == Exit.REFUSED, result.output
    [line] = [line for line in result.stderr.splitlines() if line.strip().startswith(field)]
    assert words in line
    assert "nothing was sent" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "a NAME, or a manifest by -f"),
        (("turntable",), "--session and --frames are wanted"),
        (("turntable", "--session", "s", "--frames", "1"), "one of --renderer and --template"),
        (("turntable", *BASE, "--template", "x"), "one of --renderer and --template"),
        (("turntable", *BASE, "--scene", "x", "--scene-path", "y"), "exclude each other"),
        (("turntable", *BASE, "--wait", "--dry-run"), "exclude each other"),
        (("turntable", *BASE, "--param", "x"), "write it as KEY=VALUE"),
        (("-f", "-", "--frames", "1"), "-f and --frames exclude each other"),
        (("turntable", "-f", "-"), "-f and NAME exclude each other"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments, stdin="a: b")
    assert result.exit_code == Exit.USAGE, result.output
    assert words in result.stderr


def manifest(**spec: Any) -> str:
    """Write a manifest with some fields changed."""
    base = {"sessionName": "teapots", "renderer": "povray", "frames": "1-24"}
    return yaml.safe_dump(
        {
            "apiVersion": API_VERSION,
            "kind": "RenderJob",
            "metadata": {"name": "turntable"},
            "spec": {**base, **spec},
        }
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no valid YAML"),
        ("", "no documents"),
        (f"{manifest()}\n---\n{manifest()}", "2 documents"),
        ("- a", "a mapping is wanted, not list"),
        ("kind: RenderSession", "RenderJob are wanted"),
        (manifest().replace("name: turntable", "labels: {}"), "metadata.name"),
        (manifest() + "\nspecs: {}", "specs: there is no such field"),
        (manifest(framez="1"), "spec.framez: there is no such field"),
        (manifest(renderer=None), "spec"),
        (manifest(frames=5), "spec.frames: 5: Input should be a valid string"),
        (manifest(scene={}), "spec.scene"),
    ],
)
def test_wrong_manifests(text: str, words: str) -> None:
    result = run("-f", "-", stdin=text)
    assert result.exit_code == Exit.REFUSED, result.output
    assert words in result.stderr


TEMPLATE: dict[str, Any] = {
    "specificationVersion": "jobtemplate-2023-09",
    "name": "t",
    "parameterDefinitions": [{"name": "Day", "type": "STRING", "default": "HERE"}],
    "steps": [],
}


def with_template(default: str) -> str:
    """Write a manifest whose template has a default as it stands in the file."""
    return manifest(template=TEMPLATE).replace("default: HERE", f"default: {default}")


@pytest.mark.parametrize("content", [bytes(range(256)), "name: Füller".encode("latin-1")])
@pytest.mark.parametrize("by", ["-f", "stdin", "--template"])
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes, by: str) -> None:
    path = tmp_path / "scene.blend"
    path.write_bytes(content)
    if by == "--template":
        options = ("t", "--session", "s", "--frames", "1", "--template", str(path))
        result = run(*options)
    else:
        result = run("-f", "-" if by == "stdin" else str(path), stdin=content)
    assert result.exit_code == Exit.REFUSED, result.output
    assert "it is no text in UTF-8" in result.stderr


def test_a_date_stays_the_text_that_it_is_in_the_file(tmp_path: Path) -> None:
    item = read_manifest(with_template("2026-01-31"), "job.yaml", RenderJob)
    assert item["spec"]["template"]["parameterDefinitions"][0]["default"] == "2026-01-31"
    path = tmp_path / "template.yaml"
    path.write_text("specificationVersion: x\nsteps: []\nday: 2026-01-31\nat: 2026-01-31T12:00:00Z")
    built_item, _ = built("t", "--session", "s", "--frames", "1", "--template", str(path))
    template = built_item["spec"]["template"]
    assert (template["day"], template["at"]) == ("2026-01-31", "2026-01-31T12:00:00Z")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("!!binary aGVsbG8=", "parameterDefinitions[0].default: bytes"),
        ("!!set {a, b}", "parameterDefinitions[0].default: set"),
        ("!!timestamp 2026-01-31", "parameterDefinitions[0].default: date"),
        ("{deep: [1, .nan]}", "parameterDefinitions[0].default.deep[1]: nan"),
        ("{1: one}", "parameterDefinitions[0].default: the key 1"),
        ("&own [*own]", "parameterDefinitions[0].default[0]: holds itself"),
        ("!!int many", "no valid YAML"),
        ("!!timestamp soon", "no valid YAML"),
        ("!!bool perhaps", "no valid YAML"),
        ("[" * 5000, "no valid YAML"),
    ],
    ids=lambda text: text[:20],
)
def test_what_json_cannot_carry_is_refused_by_path(tmp_path: Path, value: str, words: str) -> None:
    result = run("-f", "-", stdin=with_template(value))
    assert result.exit_code == Exit.REFUSED, result.output
    assert words in result.stderr
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump(TEMPLATE).replace("default: HERE", f"default: {value}"))
    result = run("t", "--session", "s", "--frames", "1", "--template", str(path))
    assert result.exit_code == Exit.REFUSED, result.output
    assert words in result.stderr


@pytest.mark.parametrize(("name", "code"), [("absent.yaml", 3), (".", 2)])
def test_manifests_that_cannot_be_read(tmp_path: Path, name: str, code: int) -> None:
    result = run("-f", str(tmp_path / name))
    assert result.exit_code == code
    assert str(tmp_path) in result.stderr.replace("\n", "")


def test_a_good_manifest_gets_as_far_as_the_cluster() -> None:
    result = run("-f", "-", stdin=manifest())
    assert result.exit_code == Exit.CLUSTER
    assert "no kubeconfig" in result.stderr


def test_a_scene_as_large_as_a_config_map_is_taken_and_one_byte_more_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "scene.pov"
    path.write_bytes(b"x" * MAX_SCENE_BYTES)
    assert len(read_scene(str(path)).content) == MAX_SCENE_BYTES
    path.write_bytes(b"x" * (MAX_SCENE_BYTES + 1))
    result = run("turntable", *BASE, "--scene", str(path))
    assert result.exit_code == Exit.REFUSED
    for words in (str(path), "at most 1.0 MiB", "--scene-path"):
        assert words in result.stderr


@pytest.mark.parametrize(("name", "code"), [("absent.pov", 3), (".", 3), ("empty.pov", 4)])
def test_scenes_that_cannot_be_read(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "empty.pov").touch()
    result = run("turntable", *BASE, "--scene", str(tmp_path / name))
    # click itself refuses a folder
    assert result.exit_code == (Exit.USAGE if name == "." else code)
    assert str(tmp_path) in result.stderr.replace("\n", "")


def test_parameters_keep_their_equal_signs() -> None:
    assert parse_parameters(("A=1=2", "B=")) == {"A": "1=2", "B": ""}

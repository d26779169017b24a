"""Real renders: POV-Ray and Blender frames, held against what they should look like."""

import io
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageChops, ImageStat

from tests.e2e.farm import Farm, counted_once

pytestmark = pytest.mark.e2e

EXPECTED = Path(__file__).parent / "expected"
EXAMPLES = Path(__file__).parents[2] / "examples"
TOLERANCE = 3.0
"""Mean difference a channel, of 255: renderers differ by a little between builds and machines."""


def _difference(picture: Image.Image, expected: Path) -> float:
    wanted = Image.open(expected).convert("RGB")
    assert picture.size == wanted.size
    bands = ImageStat.Stat(ImageChops.difference(picture.convert("RGB"), wanted)).mean
    return max(bands)


def _example(kind: str) -> dict[str, object]:
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document["kind"] == kind:
                return dict(document)
    raise AssertionError(f"no {kind} in examples/")


def test_the_turntable_of_the_examples(farm: Farm, tmp_path: Path) -> None:
    scene = _example("ConfigMap")
    farm.create("ConfigMap", "turntable-scene", data=scene["data"])
    farm.session()
    spec = dict(_example("RenderJob")["spec"])  # type: ignore[call-overload]
    farm.job("turntable", **{**spec, "sessionName": "show", "frames": "1-24x8,24"})
    job = farm.wait_job("turntable", timeout=300)
    assert job["status"]["frames"]["succeeded"] == 4
    assert job["status"]["succeededFrames"] == "1-17x8,24"
    assert job["status"]["progress"] == "100%"

    done = farm.drqueue("job", "download", "turntable", "--to", str(tmp_path))
    pictures = sorted(tmp_path.rglob("*.png"))
    assert [p.name for p in pictures] == [f"turntable_{n:04d}.png" for n in (1, 9, 17, 24)], (
        done.stdout
    )
    for picture in pictures:
        assert _difference(Image.open(picture), EXPECTED / picture.name) < TOLERANCE
    assert "Render Time" in farm.drqueue("job", "logs", "turntable", "--frame", "9").stdout


def test_frames_and_logs_are_read_while_the_master_sleeps(farm: Farm, tmp_path: Path) -> None:
    farm.session()
    farm.job(command='echo "words of $DRQUEUE_FRAME"; echo x > out.$DRQUEUE_FRAME', frames="1-2")
    farm.wait_job()
    farm.wait("the master asleep", lambda: not farm.pods("master"))
    listed = farm.drqueue("-o", "json", "job", "frames", "job")
    assert '"succeeded"' in listed.stdout
    assert "words of 2" in farm.drqueue("job", "logs", "job", "--frame", "2").stdout
    farm.drqueue("job", "download", "job", "--to", str(tmp_path))
    assert len([p for p in tmp_path.rglob("out.*") if p.is_file()]) == 2
    assert not farm.pods("slave")


def test_rerun_renders_again_what_was_named_and_nothing_else(farm: Farm) -> None:
    farm.session(nodes=1)
    farm.job(
        command='echo "$DRQUEUE_FRAME" >> ../../ended; echo x > out.$DRQUEUE_FRAME', frames="1-4"
    )
    farm.wait_job()
    farm.drqueue("job", "rerun", "job", "--frames", "2-3")
    farm.wait(
        "frames run again",
        lambda: (
            (farm.get("RenderJob", "job") or {})["status"]["frames"]["succeeded"] < 4
            or len(farm.pods("master")) == 1
        ),
    )
    farm.wait_job()
    assert sorted(farm.noted("ended")) == [1, 2, 2, 3, 3, 4]


def test_dependent_job_waits_for_all_frames(farm: Farm) -> None:
    farm.session()
    note = 'echo "$DRQUEUE_JOBNAME" >> ../../order; echo x > out.$DRQUEUE_FRAME'
    farm.job("second", command=note, frames="1-2", dependsOn=["first"], priority=90)
    farm.job("first", command=note, frames="1-4")
    farm.wait_job("second")
    counted_once(farm.frames("first").values(), "1-4")
    assert farm.work("cat order").split() == ["first"] * 4 + ["second"] * 2


@pytest.mark.timeout(1200)  # with the image's build, where `make test-e2e` has not made it before
def test_a_small_blender_frame(farm: Farm, blender_class: str, tmp_path: Path) -> None:
    farm.session(nodes=1, nodeClassName=blender_class)
    script = EXPECTED / "cube.py"
    farm.create("ConfigMap", "cube", data={"cube.py": script.read_text()})
    blend = "$PWD/../../cube.blend"
    blend = "$PWD/../../cube.blend"
    make = (
        f'blender -b --factory-startup -noaudio -P "$DRQUEUE_SCENEFILE" -- "{blend}"'
        f' && test -s "{blend}" && echo made > made'
    )
    farm.job(
        "make", command=make, frames="1", scene={"configMap": {"name": "cube", "key": "cube.py"}}
    )
    farm.wait_job("make", timeout=300)
    farm.job("cube", renderer="blender", frames="1", scene={"path": "cube.blend"})
    farm.wait_job("cube", timeout=300)
    farm.drqueue("job", "download", "cube", "--to", str(tmp_path))
    picture = next(iter(tmp_path.rglob("*.png")))
    image = Image.open(io.BytesIO(picture.read_bytes()))
    assert _difference(image, EXPECTED / "cube.png") < TOLERANCE

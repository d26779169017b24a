"""Master and slaves as real processes: frames come out, once each, whatever dies meanwhile."""

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from drqueue.api.frames import parse_frames
from PIL import Image, ImageChops

from tests.unit.farm_processes import Farm, order, real_farm, scene

SCENE = """
#version 3.7;
global_settings { assumed_gamma 1 }
camera { location <0, 1, -4> look_at 0 }
light_source { <5, 5, -5> rgb 1 }
sphere { 0, 1 pigment { rgb <1, clock, 0> } }
"""
RENDER = (
    "echo $DRQUEUE_FRAME >> $DRQUEUE_WORKFOLDER/ran; sleep {seconds}; echo x > f$DRQUEUE_PADFRAME"
)


def _ran(farm: Farm) -> list[int]:
    path = farm.work / "ran"
    return sorted(int(line) for line in path.read_text().split()) if path.exists() else []


def _published(farm: Farm, job: str) -> list[str]:
    folder = farm.work / "outputs" / job
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def _until(condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        await asyncio.sleep(0.02)


async def test_two_slaves_render_what_povray_alone_would(tmp_path: Path) -> None:
    assert shutil.which("povray"), "run: python -m devcluster packages"
    async with real_farm(tmp_path) as farm:
        job = order(
            "teapot",
            "1-6",
            renderer="povray",
            parameters={"Width": "64", "Height": "48"},
            scene=scene(SCENE),
            block_size=2,
        )
        await farm.put(job)
        await farm.add_slave()
        await farm.add_slave()
        report = await farm.until(job.uid, lambda r: r.state == "succeeded")
        assert (report.succeeded, report.failed, report.succeeded_frames) == (6, 0, "1-6")
        assert _published(farm, "teapot") == [f"teapot_{n:04d}.png" for n in range(1, 7)]
        alone = tmp_path / "alone"
        alone.mkdir()
        (alone / "scene.pov").write_text(SCENE)
        await asyncio.to_thread(
            subprocess.run,
            ["povray", "+Iscene.pov", "+Oa.png", "+W64", "+H48", "+KFI1", "+KFF6", "-D"],
            cwd=alone,
            check=True,
            capture_output=True,
        )
        for number in range(1, 7):
            ours = Image.open(farm.work / f"outputs/teapot/teapot_{number:04d}.png").convert("RGB")
            theirs = Image.open(alone / f"a{number}.png").convert("RGB")
            difference = ImageChops.difference(ours, theirs).tobytes()
            assert len(difference) == 64 * 48 * 3
            assert max(difference) <= 2, number


async def test_killed_master_costs_no_running_frame(tmp_path: Path) -> None:
    async with real_farm(tmp_path) as farm:
        job = order("shell", "1-8", parameters={"Command": RENDER.format(seconds=2)}, block_size=2)
        await farm.put(job)
        await farm.add_slave()
        await farm.add_slave()
        await _until(lambda: len(_ran(farm)) >= 3, "frames in both slaves")
        await farm.master.kill()
        await asyncio.sleep(1)
        await farm.master.start()
        report = await farm.until(job.uid, lambda r: r.state == "succeeded")
        assert report.succeeded == 8
        # bet 3 of the design: nothing was rendered twice
        assert _ran(farm) == list(range(1, 9))
        assert _published(farm, "shell") == [f"f{n:04d}" for n in range(1, 9)]


async def test_killed_slaves_frame_is_rendered_by_another(tmp_path: Path) -> None:
    command = (
        "echo $DRQUEUE_FRAME >> $DRQUEUE_WORKFOLDER/ran; [ $DRQUEUE_FRAME = 1 ] || "
        "while [ ! -e $DRQUEUE_WORKFOLDER/gate ]; do sleep 0.05; done; echo x > f$DRQUEUE_PADFRAME"
    )
    async with real_farm(tmp_path, lease_seconds=6) as farm:
        job = order("shell", "1-3", parameters={"Command": command}, block_size=3)
        await farm.put(job)
        victim = await farm.add_slave()
        await _until(lambda: 2 in _ran(farm), "the second frame")
        await farm.until(job.uid, lambda r: r.succeeded >= 1)
        await victim.kill()
        (farm.work / "gate").touch()
        await farm.add_slave()
        report = await farm.until(job.uid, lambda r: r.state == "succeeded")
        assert report.succeeded == 3
        # the finished one is not rendered again
        assert _ran(farm).count(1) == 1
        assert _published(farm, "shell") == ["f0001", "f0002", "f0003"]


async def test_frozen_slave_thaws_to_find_its_block_gone(tmp_path: Path) -> None:
    command = (
        "echo $DRQUEUE_FRAME >> $DRQUEUE_WORKFOLDER/ran; sleep 2; "
        "echo $DRQUEUE_ATTEMPT > f$DRQUEUE_FRAME"
    )
    async with real_farm(tmp_path, lease_seconds=3) as farm:
        job = order("shell", "1", parameters={"Command": command})
        await farm.put(job)
        frozen = await farm.add_slave()
        await _until(lambda: _ran(farm) == [1], "the frame")
        frozen.send(signal.SIGSTOP)
        await farm.add_slave()
        await farm.until(job.uid, lambda r: r.state == "succeeded")
        accepted = (farm.work / "outputs/shell/f1").read_text()
        frozen.send(signal.SIGCONT)
        await _until(
            lambda: "told to drop" in frozen.log.read_text() or "left" in frozen.log.read_text(),
            "being told to drop",
        )
        assert (farm.work / "outputs/shell/f1").read_text() == accepted
        # and it is as good as new
        again = order("again", "1-4", parameters={"Command": "echo x > g$DRQUEUE_FRAME"})
        await farm.put(again)
        await farm.until(again.uid, lambda r: r.state == "succeeded")


async def test_failing_frames_use_up_their_retries(tmp_path: Path) -> None:
    command = (
        "echo $DRQUEUE_FRAME >> $DRQUEUE_WORKFOLDER/ran; "
        "[ $DRQUEUE_FRAME != 2 ] || exit 9; echo x > f$DRQUEUE_FRAME"
    )
    async with real_farm(tmp_path) as farm:
        job = order("shell", "1-3", parameters={"Command": command}, block_size=3, retries=2)
        await farm.put(job)
        await farm.add_slave()
        report = await farm.until(job.uid, lambda r: r.state == "failed")
        assert (report.succeeded, report.failed) == (1, 2)
        assert "9" in report.last_error
        assert _ran(farm).count(1) == 1
        assert parse_frames(report.failed_frames) == range(2, 4)


async def test_deleting_a_job_ends_its_renderers_at_once(tmp_path: Path) -> None:
    async with real_farm(tmp_path, lease_seconds=180) as farm:
        job = order("shell", "1", parameters={"Command": RENDER.format(seconds=600)})
        await farm.put(job)
        await farm.add_slave()
        await _until(lambda: _ran(farm) == [1], "the frame")
        await farm.delete(job.uid)
        # far sooner than the lease, whether its held request was there already or not
        await _until(lambda: not any((farm.work / "attempts").iterdir()), "the end of it", 25)
        other = order("other", "1", parameters={"Command": "echo x > g"})
        await farm.put(other)
        await farm.until(other.uid, lambda r: r.state == "succeeded")


async def test_drained_slave_leaves_and_its_block_costs_no_retry(tmp_path: Path) -> None:
    async with real_farm(tmp_path) as farm:
        job = order("shell", "1", parameters={"Command": RENDER.format(seconds=3)}, retries=1)
        await farm.put(job)
        slave = await farm.add_slave(DRQUEUE_DRAIN_SECONDS="0")
        await _until(lambda: _ran(farm) == [1], "the frame")
        slave.send(signal.SIGTERM)
        assert await slave.wait() == 0
        await farm.add_slave()
        report = await farm.until(job.uid, lambda r: r.state == "succeeded")
        assert report.succeeded == 1

"""A POV-Ray animation of 48 short frames on one slave, against povray called in a shell loop."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from drqueue.farm.protocol import JobOrder, SceneOrder

from bench.farm import BareFarm, master, slaves
from bench.figures import Figure

FRAMES = 48
ROUNDS = int(os.environ.get("DRQUEUE_BENCH_ROUNDS", "3"))
SCENE = """#version 3.7;
global_settings { assumed_gamma 1.0 }
camera { location <0, 2, -5> look_at <0, 1, 0> right x * image_width / image_height }
light_source { <-5, 8, -6> rgb 1 area_light <1, 0, 0>, <0, 0, 1>, 4, 4 adaptive 1 }
plane { y, 0 pigment { checker rgb 0.8, rgb 0.3 } finish { reflection 0.15 } }
#declare Turn = 360 * clock;
union {
  #for (I, 0, 11)
    sphere { <1.3, 0.5 + 0.08 * I, 0>, 0.28 rotate y * (30 * I + Turn)
      pigment { rgb <0.9, 0.5, 0.1 + I / 15> } finish { phong 0.8 reflection 0.1 } }
  #end
}
"""
LOOP = """set -e
for frame in $(seq 1 {frames}); do
  povray +Iscene.pov +Oout/frame.png +FN -D -P +V +KFI1 +KFF{frames} +SF$frame +EF$frame \
    +KI0 +KF1 +A0.3 +R3 +WT1 +W320 +H240 +Q9 </dev/null >>povray.log 2>&1
done
"""


def measure(scratch: Path) -> list[Figure]:
    """Measure in turn, some rounds; the median of the rounds' ratios counts."""
    pairs = []
    with master(scratch / "farm") as farm:
        scene = Path("scenes-of-bench") / "scene.pov"
        stored = scratch / "farm" / "volume" / "work" / scene
        stored.parent.mkdir()
        stored.write_text(SCENE)
        program = Path(sys.executable).with_name("drqueue-slave")
        with slaves(farm, 1, [str(program)]):
            _render(farm, scene, 0, 8)  # to warm up
            for number in range(1, ROUNDS + 1):
                loop = _loop(scratch / f"loop{number}")
                pairs.append((_render(farm, scene, number), loop))
    ratio = sorted(ours / loop for ours, loop in pairs)[ROUNDS // 2]
    return [
        Figure("overhead", f"{FRAMES} frames in a shell loop", pairs[-1][1], "s"),
        Figure("overhead", f"{FRAMES} frames on one slave", pairs[-1][0], "s"),
        Figure("overhead", "more than the loop", (ratio - 1) * 100, "%", "≤ 5"),
    ]


def _loop(folder: Path) -> float:
    (folder / "out").mkdir(parents=True)
    (folder / "scene.pov").write_text(SCENE)
    start = time.perf_counter()
    subprocess.run(["sh", "-c", LOOP.format(frames=FRAMES)], cwd=folder, check=True)
    return time.perf_counter() - start


def _render(farm: BareFarm, scene: Path, number: int, frames: int = FRAMES) -> float:
    uid = f"povray-{number}"
    start = time.perf_counter()
    farm.put(
        JobOrder(
            uid=uid,
            generation=1,
            name=uid,
            owner="bench",
            created_at=datetime.now(UTC),
            priority=50,
            frames=f"1-{frames}",
            block_size=8,
            retries=1,
            renderer="povray",
            parameters={"Width": "320", "Height": "240", "Antialias": "on", "Threads": "1"},
            scene=SceneOrder(path=str(scene)),
            output_folder=f"outputs/{uid}",
        )
    )
    farm.wait_succeeded(uid, frames, 600)
    return time.perf_counter() - start

"""A real slave process against a small master over HTTPS: what it does when things go wrong."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from drqueue.farm.protocol import MAX_LOG_BYTES, AttemptEnd

from tests.ports import Port
from tests.unit.slave_testing import SeenAttempt, farm, general_job, povray_job, until

SCENE = """
#version 3.7;
global_settings { assumed_gamma 1 }
#debug concat("FRAME ", str(frame_number, 0, 0), " OF ", str(initial_frame, 0, 0), " TO ",
  str(final_frame, 0, 0), " CLOCK ", str(clock, 0, 3), "\\n")
camera { location <0, 1, -4> look_at 0 }
light_source { <5, 5, -5> rgb 1 }
sphere { 0, 1 pigment { rgb <1, clock, 0> } }
"""


def _end(seen: SeenAttempt) -> AttemptEnd:
    assert seen.end is not None
    return seen.end


async def test_povray_renders_as_its_own_animation_loop(tmp_path: Path) -> None:
    assert shutil.which("povray"), "run: python -m devcluster packages"
    async with farm(tmp_path) as (master, slave):
        (slave.work / "scene.pov").write_text(SCENE)
        (attempt,) = await master.offer(povray_job("scene.pov", "1-5"), "2-3")
        seen = await master.ended(attempt, 60)
        assert _end(seen).result == "succeeded", seen
        assert "FRAME 2 OF 1 TO 5 CLOCK 0.250" in seen.log[2]
        assert "FRAME 3 OF 1 TO 5 CLOCK 0.500" in seen.log[3]
        files = [file for frame in seen.frames for file in frame.files]
        assert [file.path for file in files] == ["teapot_0002.png", "teapot_0003.png"]
        folder = slave.work / "attempts" / str(attempt)
        assert sorted(path.name for path in folder.iterdir()) == [file.path for file in files]
        assert [(folder / file.path).stat().st_size for file in files] == [f.size for f in files]
        # one frame alone, numbers beyond four digits, and numbers below zero
        ranges = (("a", "7", "7"), ("b", "9999-10003", "10001"), ("c", "-2-2", "-1"))
        jobs = [(povray_job("scene.pov", job, uid=uid), block) for uid, job, block in ranges]
        single, wide, negative = [(await master.offer(*job))[0] for job in jobs]
        for attempt, path, text in (
            (single, "teapot_0007.png", "FRAME 7 OF 7 TO 8 CLOCK 0.000"),
            (wide, "teapot_10001.png", "FRAME 10001 OF 9999 TO 10003 CLOCK 0.500"),
            (negative, "teapot_-001.png", "CLOCK 0.250"),
        ):
            seen = await master.ended(attempt, 60)
            assert [file.path for frame in seen.frames for file in frame.files] == [path], seen
            assert text in "".join(seen.log.values())


async def test_variables_and_nothing_of_the_slave(tmp_path: Path) -> None:
    async with farm(tmp_path) as (master, slave):
        (slave.work / "s").write_text("x")
        command = "env; tr '\\0' '\\n' </proc/self/environ"
        job = general_job(command, "-3-30x3", scene="s", name="vars")
        (attempt,) = await master.offer(job, "-3-0x3")
        seen = await master.ended(attempt)
        text = seen.log[-3]
        for expected in (
            "DRQUEUE_FRAME=-3",
            "DRQUEUE_PADFRAME=-003",
            "DRQUEUE_BLOCKSIZE=1",
            "DRQUEUE_STARTFRAME=-3",
            "DRQUEUE_ENDFRAME=30",
            "DRQUEUE_STEPFRAME=3",
            "DRQUEUE_OWNER=studio-a",
            "DRQUEUE_JOBNAME=vars",
            f"DRQUEUE_SCENEFILE={slave.work}/s",
            f"DRQUEUE_OUTPUTFOLDER={slave.work}/attempts/{attempt}",
            "FROM_NODE_CLASS=kept",
        ):
            assert f"{expected}\n" in text
        assert "DRQUEUE_FRAME=0\n" in seen.log[0]
        for secret in (
            "DRQUEUE_TLS",
            "DRQUEUE_MASTER_URL",
            "KUBERNETES_",
            "SOME_SERVICE",
            "SOME_PORT",
        ):
            assert secret not in text


async def test_failure_carries_status_and_last_lines_and_keeps_done_frames(tmp_path: Path) -> None:
    command = (
        "echo line $DRQUEUE_FRAME; echo x > f$DRQUEUE_FRAME; [ $DRQUEUE_FRAME != 3 ] || exit 42"
    )
    async with farm(tmp_path) as (master, _):
        (attempt,) = await master.offer(general_job(command), "1-5")
        seen = await master.ended(attempt)
        end = _end(seen)
        assert (end.result, end.exit_code, end.frame) == ("failed", 42, 3)
        assert end.last_lines == ("line 3",)
        assert [frame.frame for frame in seen.frames] == [1, 2]
        # a session that failed is not used again: the next block still renders
        (attempt,) = await master.offer(general_job(command), "4-5")
        assert _end(await master.ended(attempt)).result == "succeeded"
        assert master.job_requests == 1


@pytest.mark.parametrize(
    ("command", "patterns", "result", "words"),
    [
        ("true", ("f_####.png",), "missing_output", "f_0001.png was not written"),
        ("touch f_0001.png", ("f_####.png",), "missing_output", "is empty"),
        ("ln -s /etc/passwd f_0001.png", ("f_####.png",), "missing_output", "no regular file"),
        ("mkfifo f_0001.png", ("f_####.png",), "missing_output", "no regular file"),
        ("kill -SEGV $$", (), "failed", "exit status 139"),
        ("no-such-program", (), "failed", "exit status 127"),
        ("for i in $(seq 300); do echo x > $i; done", (), "failed", "spec.output.files"),
    ],
)
async def test_ends_that_count_no_frame(
    tmp_path: Path, command: str, patterns: tuple[str, ...], result: str, words: str
) -> None:
    async with farm(tmp_path) as (master, _):
        (attempt,) = await master.offer(general_job(command, output_files=patterns), "1")
        seen = await master.ended(attempt)
        assert _end(seen).result == result
        assert words in _end(seen).message
        assert seen.frames == []


async def test_links_and_pipes_are_no_output(tmp_path: Path) -> None:
    command = "ln -s /etc/passwd link; mkfifo pipe; mkdir sub; echo x > sub/real; ln -s / root"
    async with farm(tmp_path) as (master, _):
        (attempt,) = await master.offer(general_job(command), "1")
        seen = await master.ended(attempt)
        assert [file.path for file in seen.frames[0].files] == ["sub/real"]


async def test_flood_is_cut_and_keeps_both_ends(tmp_path: Path) -> None:
    command = "echo first; yes 'a line of a flood' | head -n 200000; echo; echo last"
    async with farm(tmp_path) as (master, _):
        (attempt,) = await master.offer(general_job(command), "1")
        seen = await master.ended(attempt, 60)
        assert _end(seen).result == "succeeded"
        text = seen.log[1]
        assert text.startswith("first\n")
        assert text.endswith("\nlast\n")
        assert "bytes cut" in text
        assert len(text) < 256 * 1024
        for report in master.requests:
            if report.attempt is not None:
                assert sum(len(part.text.encode()) for part in report.attempt.log) <= MAX_LOG_BYTES


async def test_lines_without_end_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    command = "head -c 300000 /dev/zero; printf '\\xff\\xfe\\n'; echo done"
    async with farm(tmp_path) as (master, _):
        (attempt,) = await master.offer(general_job(command), "1")
        seen = await master.ended(attempt)
        assert _end(seen).result == "succeeded"
        assert seen.log[1].endswith("done\n")


async def test_progress_and_frames_come_while_it_renders(tmp_path: Path) -> None:
    command = (
        "echo openjd_progress: 40; while [ ! -e $DRQUEUE_WORKFOLDER/go$DRQUEUE_FRAME ]; "
        "do sleep 0.05; done"
    )
    async with farm(tmp_path) as (master, slave):
        (attempt,) = await master.offer(general_job(command), "1-2")
        await master.until(lambda: attempt in master.attempts)
        seen = master.attempts[attempt]
        await master.until(lambda: 0.4 in seen.progress)
        (slave.work / "go1").touch()
        await master.until(lambda: [frame.frame for frame in seen.frames] == [1])
        assert seen.end is None
        (slave.work / "go2").touch()
        await master.ended(attempt)
        assert [frame.frame for frame in seen.frames] == [1, 2]


CHUNKS = {
    "specificationVersion": "jobtemplate-2023-09",
    "extensions": ["TASK_CHUNKING"],
    "name": "chunks",
    "parameterDefinitions": [{"name": "OutputFolder", "type": "STRING"}],
    "steps": [
        {
            "name": "S",
            "parameterSpace": {
                "taskParameterDefinitions": [
                    {
                        "name": "F",
                        "type": "CHUNK[INT]",
                        "range": "1-9",
                        "chunks": {"defaultTaskCount": 3, "rangeConstraint": "CONTIGUOUS"},
                    }
                ]
            },
            "script": {
                "actions": {
                    "onRun": {
                        "command": "bash",
                        "args": [
                            "-c",
                            "echo chunk {{Task.Param.F}}; for f in $(seq $DRQUEUE_FRAME "
                            "$((DRQUEUE_FRAME + DRQUEUE_BLOCKSIZE - 1))); do echo at $f; "
                            "[ $f != 8 ] || exit 5; echo x > {{Param.OutputFolder}}/out.$f; "
                            "echo drqueue_frame_done: $f; echo drqueue_frame_done: 99; done",
                        ],
                    }
                }
            },
        }
    ],
}


async def test_frames_of_a_chunk_are_reported_one_by_one(tmp_path: Path) -> None:
    async with farm(tmp_path) as (master, _):
        job = general_job("", template=CHUNKS, parameters={}, output_files=("out.#",))
        (attempt,) = await master.offer(job, "1-3,7-9")
        seen = await master.ended(attempt)
        assert sorted(frame.frame for frame in seen.frames) == [1, 2, 3, 7]
        assert sorted(frame.files[0].path for frame in seen.frames) == [
            "out.1",
            "out.2",
            "out.3",
            "out.7",
        ]
        end = _end(seen)
        assert (end.result, end.exit_code, end.frame) == ("failed", 5, 8)
        assert end.last_lines == ("at 8",)
        assert seen.log[1] == "chunk 1-3\nat 1\n"
        assert seen.log[2] == "at 2\n"


async def test_job_that_is_gone_and_template_that_is_wrong(tmp_path: Path) -> None:
    async with farm(tmp_path) as (master, _):
        (attempt,) = await master.offer(general_job("true", uid="gone"), "1")
        del master.jobs["gone"]
        assert _end(await master.ended(attempt)).result == "canceled"
        (attempt,) = await master.offer(general_job("true", uid="wrong", template={"x": 1}), "1")
        end = _end(await master.ended(attempt))
        assert end.result == "failed"
        assert "spec.template" in end.message
        (attempt,) = await master.offer(general_job("true", uid="noscene", scene="a/b.pov"), "1")
        assert "a/b.pov" in _end(await master.ended(attempt)).message


async def test_renewed_certificates_are_taken_up(tmp_path: Path) -> None:
    async with farm(tmp_path) as (master, slave):
        (attempt,) = await master.offer(general_job("true"), "1")
        await master.ended(attempt)
        master.renew_node()
        (attempt,) = await master.offer(general_job("true"), "2")
        await master.ended(attempt)
        await until(lambda: "certificates renewed" in slave.log.read_text(), "renewal")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "work"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert mounted.returncode == 0, (
        f"this test mounts a small file system, as root: {mounted.stderr}"
    )
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_volume_is_said_to_be_one(tmp_path: Path, small_disk: Path) -> None:
    async with farm(tmp_path) as (master, _):
        (attempt,) = await master.offer(general_job("head -c 1M /dev/zero > big"), "1")
        end = _end(await master.ended(attempt))
        assert end.result == "failed"
        assert "volume is full" in end.message
        (attempt,) = await master.offer(
            general_job("true", uid="job-2", output_files=("a_#",)), "1"
        )
        assert _end(await master.ended(attempt)).result in ("failed", "missing_output")
        for path in small_disk.rglob("big"):
            path.unlink()
        (attempt,) = await master.offer(general_job("echo x > small", uid="job-3"), "2")
        assert _end(await master.ended(attempt)).result == "succeeded"


async def test_ready_only_once_the_master_has_answered(tmp_path: Path) -> None:
    port = Port()
    async with farm(tmp_path, DRQUEUE_HEALTH=port.address) as (master, _):
        await master.until(lambda: len(master.requests) >= 1)
        async with aiohttp.ClientSession() as session:

            async def ready() -> int:
                async with session.get(f"http://{port.address}/readyz") as answer:
                    return answer.status

            async with asyncio.timeout(60):
                while await ready() != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        assert master.requests[0].wait_seconds == 0
        assert master.requests[0].offer.pools == ("fast", "big")
    port.close()

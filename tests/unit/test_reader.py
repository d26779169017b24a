"""`drqueue-reader` beside a running master, and on the volume of one that sleeps."""

import asyncio
import errno
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from drqueue.farm.attempts import End, accept, end, publish
from drqueue.farm.protocol import AttemptEnd, AttemptReport, FrameDone, LogText
from drqueue.farm.reader import main as reader_main
from drqueue.farm.reader.output import send_tar
from drqueue.farm.reader.sources import (
    CopySource,
    MasterSource,
    SourceError,
    open_source,
    socket_path,
)
from drqueue.farm.reading import PAGE

from tests.unit.farm_testing import Bench, order
from tests.unit.master_testing import Studio, done, studio

COMMAND = [sys.executable, "-c", "from drqueue.farm.reader.main import main; main()"]


class Reader:
    """The commands, run on a studio's volume."""

    def __init__(self, volume: Path, temporary: Path) -> None:
        self.environment = os.environ | {
            "DRQUEUE_VOLUME": str(volume),
            "TMPDIR": str(temporary),
        }

    async def __call__(self, *arguments: str) -> tuple[int, bytes, str]:
        """The exit code, and what was written."""
        ended = await asyncio.to_thread(
            subprocess.run,
            [*COMMAND, *arguments],
            env=self.environment,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return ended.returncode, ended.stdout, ended.stderr.decode()

    async def frames(self, uid: str) -> dict[int, dict[str, Any]]:
        code, out, err = await self("frames", "--job-uid", uid)
        assert code == 0, err
        return {row["frame"]: row for row in json.loads(out)["frames"]}

    async def tar(self, *arguments: str) -> dict[str, bytes]:
        code, out, err = await self("tar", "--job-uid", "job-1", *arguments)
        assert code == 0, err
        return unpacked(out)


def unpacked(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {}
        for member in tar:
            assert member.isreg()
            content = tar.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
        return found


@pytest_asyncio.fixture
async def farm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Studio]:
    """A master with a job: frame 1 succeeded, 2 failed, 3 is rendered, 4 waits."""
    # a short path: that of a socket is bounded
    temporary = Path(tempfile.mkdtemp(prefix="dq-"))
    request.addfinalizer(lambda: shutil.rmtree(temporary))
    (tmp_path / "temporary").symlink_to(temporary)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    async with studio(tmp_path) as made:
        job = order(frames="1-4", retries=1, output_files=("sub/out.####",))
        await made.operator.put(job)
        node, other = made.node("n0"), made.node("n1")
        attempt = await node.take()
        (made.volume / "work" / "attempts" / str(attempt) / "sub").mkdir(parents=True)
        file = made.write_output(attempt, "sub/out.0001", "frame 1")
        report = done(attempt, 1, files=(file,)).model_dump() | {
            "log": [LogText(frame=1, text="renders 1\n")]
        }
        await node.work(AttemptReport.model_validate(report), wants_lease=False)
        for caller in (node, other):
            attempt = await caller.take()
            failed = AttemptReport(
                attempt=attempt,
                log=(LogText(frame=2, text=f"no such texture ({attempt})\n"),),
                end=AttemptEnd(result="failed", exit_code=3, frame=2, message="exit status 3"),
            )
            await caller.work(failed, wants_lease=False)
        assert await other.take() == 4
        yield made


@pytest.fixture
def reader(farm: Studio) -> Reader:
    return Reader(farm.volume, (farm.root / "temporary").resolve())


@pytest.fixture(params=["master", "sleeping"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


async def _in_mode(farm: Studio, mode: str) -> None:
    if mode == "sleeping":
        await farm.master.stop()
    source = open_source(farm.volume, (farm.root / "temporary").resolve())
    assert isinstance(source, MasterSource if mode == "master" else CopySource)


async def test_frames(farm: Studio, reader: Reader, mode: str) -> None:
    await _in_mode(farm, mode)
    rows = await reader.frames("job-1")
    assert {frame: row["state"] for frame, row in rows.items()} == {
        1: "succeeded",
        2: "failed",
        3: "running",
        4: "waiting",
    }
    first = rows[1]
    assert (first["attempt"], first["node"], first["seconds"]) == (1, "n0", 0.5)
    assert first["files"] == [{"path": "sub/out.0001", "size": 7}]
    second = rows[2]
    assert (second["exit_code"], second["message"]) == (3, "exit status 3")
    assert [each["node"] for each in second["attempts"]] == ["n0", "n1"]
    assert (rows[3]["attempt"], rows[3]["node"]) == (4, "n1")
    assert rows[4]["attempt"] is None
    code, out, _ = await reader("frames", "--job-uid", "job-1")
    assert (code, json.loads(out)["output_folder"]) == (0, "outputs/job-1")


async def test_log(farm: Studio, reader: Reader, mode: str) -> None:
    await _in_mode(farm, mode)
    log = ("log", "--job-uid", "job-1", "--frame")
    assert (await reader(*log, "1"))[:2] == (0, b"renders 1\n")
    assert (await reader(*log, "2"))[:2] == (0, b"no such texture (3)\n")
    assert (await reader(*log, "2", "--attempt", "2"))[:2] == (0, b"no such texture (2)\n")
    assert (await reader(*log, "3"))[:2] == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("frames", "--job-uid", "none"), 1, "no job of UID none"),
        (("log", "--job-uid", "job-1", "--frame", "4"), 1, "not been started"),
        (("log", "--job-uid", "job-1", "--frame", "9"), 1, "no frame 9"),
        (("log", "--job-uid", "job-1", "--frame", "1", "--attempt", "7"), 1, "no attempt 7"),
        (("tar", "--job-uid", "job-1", "--frames", "8"), 1, "no frame 8"),
        (("tar", "--job-uid", "job-1", "--frames", "5-1"), 2, "first frame of a range"),
        (("frames",), 2, "--job-uid"),
        (("paint",), 2, "paint"),
    ],
)
async def test_errors(reader: Reader, arguments: tuple[str, ...], code: int, says: str) -> None:
    got, _, err = await reader(*arguments)
    assert (got, says in err) == (code, True), err
    assert "Traceback" not in err


async def test_errors_while_the_master_sleeps(farm: Studio, reader: Reader) -> None:
    await _in_mode(farm, "sleeping")
    for arguments, code, says in (
        (("frames", "--job-uid", "none"), 1, "no job of UID none"),
        (("tar", "--job-uid", "job-1", "--frames", "5-1"), 2, "first frame of a range"),
    ):
        got, _, err = await reader(*arguments)
        assert (got, says in err) == (code, True), err
    shutil.rmtree(farm.volume / "journal")
    got, _, err = await reader("frames", "--job-uid", "job-1")
    assert (got, "has no journal" in err) == (1, True), err


@pytest.mark.parametrize("answer", [b"", b'{"output_folder": "out", "na'])
async def test_a_master_that_breaks_off_is_no_missing_frame(tmp_path: Path, answer: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="dq-") as temporary:
        path = socket_path(tmp_path, Path(temporary))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(answer)
            writer.close()

        server = await asyncio.start_unix_server(serve, path)
        async with server:
            code, _, err = await Reader(tmp_path, Path(temporary))("frames", "--job-uid", "job-1")
    assert (code, err) == (3, "the master broke off\n")


@pytest.mark.parametrize(
    "trouble",
    [
        SourceError("the journal is being written"),
        OSError(errno.ENOSPC, "No space left on device"),
        sqlite3.OperationalError("disk I/O error"),
    ],
    ids=lambda trouble: type(trouble).__name__,
)
def test_what_may_pass_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    trouble: Exception,
) -> None:
    def fail(*_: Any) -> Any:
        raise trouble

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(reader_main, "open_source", fail)
    monkeypatch.setattr("sys.argv", ["drqueue-reader", "frames", "--job-uid", "job-1"])
    with pytest.raises(SystemExit) as ended:
        reader_main.main()
    assert ended.value.code == 3
    assert str(trouble) in capsys.readouterr().err


@pytest.mark.parametrize("trouble", [errno.EIO, errno.ESTALE])
async def test_a_volume_that_fails_for_a_moment_has_not_lost_the_file(
    farm: Studio, monkeypatch: pytest.MonkeyPatch, trouble: int
) -> None:
    def fail(*_: Any) -> int:
        raise OSError(trouble, os.strerror(trouble))

    await _in_mode(farm, "sleeping")
    source = CopySource(farm.volume, farm.root / "copy")
    monkeypatch.setattr("drqueue.farm.reader.output.open_file", fail)
    with pytest.raises(OSError, match=os.strerror(trouble)):
        send_tar(
            source,
            farm.volume,
            job_uid="job-1",
            frames=None,
            out=io.BytesIO(),
            used=lambda: None,
        )


async def test_tar(farm: Studio, reader: Reader, mode: str) -> None:
    await _in_mode(farm, mode)
    assert await reader.tar() == {"sub/out.0001": b"frame 1"}
    assert await reader.tar("--frames", "1-2") == {"sub/out.0001": b"frame 1"}
    assert await reader.tar("--frames", "3") == {}


@pytest.mark.parametrize("trick", ["link", "linked folder", "gone", "changed"])
async def test_tar_sends_what_was_accepted_or_nothing(
    farm: Studio, reader: Reader, trick: str
) -> None:
    folder = farm.volume / "work" / "outputs" / "job-1" / "sub"
    secret = farm.volume / "journal" / "out.0001"
    secret.write_text("secret!")
    (folder / "out.0001").unlink()
    if trick == "link":
        (folder / "out.0001").symlink_to(secret)
    elif trick == "linked folder":
        folder.rmdir()
        folder.symlink_to(secret.parent)
    elif trick == "changed":
        (folder / "out.0001").write_text("a longer text")
    code, out, err = await reader("tar", "--job-uid", "job-1")
    assert code == 1
    assert "sub/out.0001" in err
    assert unpacked(out) == {}


@pytest.mark.parametrize("published", [(1, 2), (2, 1)])
async def test_tar_sends_a_file_that_several_frames_left_as_the_last_one_left_it(
    farm: Studio, reader: Reader, published: tuple[int, int]
) -> None:
    await farm.operator.put(order("shared", frames="1-2", priority=90))
    nodes = {frame: farm.node(f"s{frame}") for frame in (1, 2)}
    attempts = {frame: await node.take() for frame, node in nodes.items()}
    for frame in published:
        attempt = attempts[frame]
        files = (
            farm.write_output(attempt, f"out.{frame}", "image"),
            farm.write_output(attempt, "stats.json", "{" + frame * " " + "}"),
        )
        await nodes[frame].work(done(attempt, frame, files=files), wants_lease=False)
    code, out, err = await reader("tar", "--job-uid", "shared")
    last = b"{" + published[-1] * b" " + b"}"
    assert (code, err) == (0, "")
    assert unpacked(out) == {"out.1": b"image", "out.2": b"image", "stats.json": last}
    # the other frame's is not there any more, and said to be lacking once
    code, out, err = await reader("tar", "--job-uid", "shared", "--frames", f"{published[0]}")
    assert (code, err.count("stats.json")) == (1, 1)
    assert unpacked(out) == {f"out.{published[0]}": b"image"}


async def test_follow(farm: Studio, reader: Reader) -> None:
    following = asyncio.create_task(reader("log", "--job-uid", "job-1", "--frame", "3", "--follow"))
    node = farm.node("n1")
    for text in ("one\n", "two\n"):
        news = AttemptReport(attempt=4, log=(LogText(frame=3, text=text),))
        await node.work(news, wants_lease=False)
        await asyncio.sleep(0.7)
    assert not following.done()
    file = farm.volume / "work" / "attempts" / "4" / "sub"
    file.mkdir(parents=True)
    report = done(4, 3, files=(farm.write_output(4, "sub/out.0003", "frame 3"),))
    last = report.model_copy(update={"log": (LogText(frame=3, text="three\n"),)})
    await node.work(last, wants_lease=False)
    assert await asyncio.wait_for(following, 60) == (0, b"one\ntwo\nthree\n", "")


async def test_copy_is_made_anew_only_when_the_journal_changed(farm: Studio) -> None:
    await farm.master.stop()
    folder = farm.root / "temporary" / "drqueue-reader"

    def look() -> tuple[int, str]:
        rows = list(CopySource(farm.volume, folder).frames("job-1", "1"))
        return (folder / "journal.sqlite").stat().st_ino, rows[1]["state"]

    first = look()
    assert look() == first
    with sqlite3.connect(farm.volume / "journal" / "journal.sqlite") as journal:
        journal.execute("UPDATE frames SET state = 2 WHERE frame = 1")
    journal.close()
    again = look()
    assert again[1] == "failed"


async def test_copy_of_a_journal_that_is_written_meanwhile(
    farm: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    await farm.master.stop()
    journal = farm.volume / "journal" / "journal.sqlite"
    writes = 0

    def stamp(_: Path) -> str:
        nonlocal writes
        writes += 1
        return str(writes)

    folder = farm.root / "temporary" / "copy"
    with monkeypatch.context() as patch:
        patch.setattr("drqueue.farm.reader.sources._stamp", stamp)
        with pytest.raises(SourceError, match="being written"):
            CopySource(farm.volume, folder)
    assert journal.exists()
    assert len(list(CopySource(farm.volume, folder).frames("job-1", None))) == 5


def test_transaction_broken_off_by_a_kill_is_not_seen(tmp_path: Path) -> None:
    """The rollback journal comes along with the copy."""
    volume = tmp_path / "volume"
    volume.mkdir()
    script = (
        "import os, sys; from pathlib import Path\n"
        "from tests.unit.farm_testing import Bench, order\n"
        "b = Bench(Path(sys.argv[1]) / 'journal' / 'journal.sqlite')\n"
        "b.put(order('kept'))\n"
        "c = b.journal._connection\n"
        "c.execute('PRAGMA cache_size = 1')\n"
        "c.execute('BEGIN IMMEDIATE')\n"
        "c.execute('DELETE FROM jobs')\n"
        "for n in range(3000):\n"
        "    c.execute('INSERT INTO deleted VALUES (?, ?)', (f'x{n}', 'y' * 100))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(volume)], check=False, timeout=120)
    rows = list(CopySource(volume, tmp_path / "copy").frames("kept", None))
    assert len(rows) == 11


def test_pages_and_strange_ranges(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    bench = Bench(volume / "journal" / "journal.sqlite")
    job = bench.put(order(frames=f"9,3-{PAGE * 2}", block_size=7))
    node = bench.node("n0")
    for _ in range(2):
        attempt = bench.lease(node)
        assert attempt is not None
        change = bench.change()
        for index in sorted(attempt.left):
            publish(
                change, job, index, attempt.number, FrameDone(frame=job.frames[index], seconds=1)
            )
            accept(change, job, index, bench.farm.publishing[job.uid, index])
        end(change, attempt, End("succeeded", "retry", told=True))
        bench.write(change)
    bench.journal.close()
    rows = list(CopySource(volume, tmp_path / "copy").frames("job-1", None))[1:]
    assert [row["frame"] for row in rows] == list(job.frames.frames)
    assert [row["state"] for row in rows[:15]] == ["succeeded"] * 14 + ["waiting"]


def test_serve_ends_when_nobody_reads(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "DRQUEUE_IDLE_SECONDS": "6"}
    started = time.monotonic()
    serving = subprocess.Popen([*COMMAND, "serve"], env=environment)
    mark = tmp_path / "drqueue-reader.used"

    def read() -> None:
        while time.monotonic() - started < 12:
            if mark.exists():
                mark.touch()
            time.sleep(0.2)

    reading = threading.Thread(target=read)
    reading.start()
    assert serving.wait(60) == 0
    assert time.monotonic() - started >= 12, "it stays while somebody reads"
    reading.join()


def test_serve_ends_on_sigterm(tmp_path: Path) -> None:
    serving = subprocess.Popen([*COMMAND, "serve"], env=os.environ | {"TMPDIR": str(tmp_path)})
    mark = tmp_path / "drqueue-reader.used"
    deadline = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    serving.terminate()
    assert serving.wait(60) in (0, -15)


TOLD_AT_THE_WAIT = """
import os, signal, threading, time

def told_first(wait):
    def told(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return wait(*arguments)
    return told

time.sleep = told_first(time.sleep)
threading.Condition.wait = told_first(threading.Condition.wait)
"""


def test_serve_ends_on_sigterm_at_the_worst_moment(tmp_path: Path) -> None:
    """A handler may not wait for a lock that what it interrupted holds, as an Event's wait does."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", TOLD_AT_THE_WAIT + COMMAND[-1], "serve"]
    assert subprocess.run(command, env=environment, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("text", ["soon", "0", "-5"])
def test_serve_refuses_nonsense(tmp_path: Path, text: str) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "DRQUEUE_IDLE_SECONDS": text}
    ended = subprocess.run(
        [*COMMAND, "serve"], env=environment, capture_output=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert b"DRQUEUE_IDLE_SECONDS" in ended.stderr

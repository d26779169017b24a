"""Frames, logs and downloads through a master, a reader, and pods that die in the middle."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drqueue.cli.download as download_module
import pytest
from click.testing import CliRunner, Result
from drqueue.api.frames import MAX_FRAMES_TEXT, format_frames, parse_frames
from drqueue.api.names import REQUEST_PREFIX, master_name, reader_name
from drqueue.cli.download import chunks
from drqueue.cli.logs import most_interesting
from drqueue.cli.main import cli
from drqueue.cli.reading import FrameRow
from hypothesis import given
from hypothesis import strategies as st

from tests.exec_server import ExecServer, Script, exited, serve

SESSION_UID = "0b7e8a6a-3f0e-4b55-9a55-1d6f6a7f0c11"
JOB_UID = "5c1f9f0e-0000-4b55-9a55-1d6f6a7f0c11"
MASTER = master_name("teapots", SESSION_UID)
READER = reader_name("teapots", SESSION_UID)
FILES = {n: (f"image{n:04d}.png", bytes([n]) * 1000 * n) for n in range(1, 6)}


def pod(name: str, *, ready: bool = True) -> dict[str, Any]:
    """Build a pod as far as the program looks at it."""
    ready_condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "metadata": {"name": name, "uid": name},
        "status": {"phase": "Running" if ready else "Pending", "conditions": [ready_condition]},
    }


def frame_list(failed: tuple[int, ...] = ()) -> bytes:
    """Write what `drqueue-reader frames` prints: five frames, some of them failed."""
    rows: list[dict[str, Any]] = []
    for number, (path, content) in FILES.items():
        row: dict[str, Any] = {"frame": number, "attempt": number, "node": "n-1", "seconds": 1.5}
        if number in failed:
            row |= {"state": "failed", "files": [], "exit_code": 3, "message": "no texture"}
        else:
            row |= {"state": "succeeded", "files": [{"path": path, "size": len(content)}]}
        rows.append(row)
    return json.dumps({"output_folder": "outputs/turntable", "frames": rows}).encode()


def archive(frames: str) -> bytes:
    """Write what `drqueue-reader tar` sends."""
    return archive_of(dict(FILES[number] for number in (parse_frames(frames) if frames else ())))


def archive_of(files: dict[str, bytes]) -> bytes:
    """Write files as a tar archive."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as made:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def honest(_pod: str, _container: str, command: list[str]) -> Script:
    """Answer as the real reader does."""
    assert command[0] == "drqueue-reader"
    assert command[2:4] == ["--job-uid", JOB_UID]
    if command[1] == "frames":
        return Script([frame_list()])
    if command[1] == "tar":
        data = archive(command[command.index("--frames") + 1])
        return Script([data[n : n + 3000] for n in range(0, len(data), 3000)])
    return Script([f"log of {' '.join(command[4:])}\n".encode()])


@dataclass
class Farm:
    """A server with a session and a job, and the program to run against it."""

    server: ExecServer
    kubeconfig: Path
    folder: Path

    def run(self, *arguments: str) -> Result:
        """Run the program; the download goes into `folder`."""
        more = ["--to", str(self.folder)] if "download" in arguments else []
        return CliRunner().invoke(cli, ["--kubeconfig", str(self.kubeconfig), *arguments, *more])

    def commands(self, verb: str) -> list[tuple[str, list[str]]]:
        """Give the pods and arguments that a command of the reader was run with."""
        return [(pod, command[4:]) for pod, _, command in self.server.execs if command[1] == verb]

    def content(self) -> dict[str, bytes]:
        """All that was downloaded."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


Answer = Callable[[str, str, list[str]], Any]


@contextmanager
def farm(tmp_path: Path, answer: Answer = honest, *pods: dict[str, Any]) -> Iterator[Farm]:
    """Serve a session and a job, with some pods (default: a ready master)."""
    with serve(tmp_path, answer) as (server, kubeconfig):
        session = {"metadata": {"name": "teapots", "namespace": "studio-a", "uid": SESSION_UID}}
        server.put("rendersessions", session)
        job = {
            "metadata": {"name": "turntable", "namespace": "studio-a", "uid": JOB_UID},
            "spec": {"sessionName": "teapots", "frames": "1-5"},
        }
        server.put("renderjobs", job)
        for one in pods or (pod(MASTER),):
            server.put("pods", one)
        yield Farm(server, kubeconfig, tmp_path / "got")


ALL = dict(FILES.values())


def test_download_brings_every_byte(tmp_path: Path) -> None:
    with farm(tmp_path) as made:
        result = made.run("job", "download", "turntable")
        assert result.exit_code == 0, result.output
        assert made.content() == ALL
        assert made.server.execs[0][:2] == (MASTER, "master")


def test_download_resumes_by_what_is_missing(tmp_path: Path) -> None:
    with farm(tmp_path) as made:
        made.folder.mkdir()
        (made.folder / FILES[2][0]).write_bytes(FILES[2][1])
        (made.folder / FILES[4][0]).write_bytes(b"half of it")
        result = made.run("job", "download", "turntable")
        assert result.exit_code == 0, result.output
        assert made.content() == ALL
        assert made.commands("tar") == [(MASTER, ["--frames", format_frames([1, 3, 4, 5])])]
        again = made.run("job", "download", "turntable")
        assert again.exit_code == 0
        assert "5 were there already" in again.stdout
        assert len(made.commands("tar")) == 1


def test_download_force_brings_all_anew(tmp_path: Path) -> None:
    with farm(tmp_path) as made:
        made.folder.mkdir()
        (made.folder / FILES[2][0]).write_bytes(b"x" * len(FILES[2][1]))
        assert made.run("job", "download", "turntable", "--force").exit_code == 0
        assert made.content() == ALL


def test_master_dies_in_mid_download_and_the_reader_brings_the_rest(tmp_path: Path) -> None:
    def dying(name: str, container: str, command: list[str]) -> Script:
        if command[1] == "tar" and name == MASTER:
            made.server.remove("pods", MASTER)
            made.server.put("pods", pod(READER))
            return Script([archive("1-5")[:7000]], abort=True)
        return honest(name, container, command)

    with farm(tmp_path, dying) as made:
        result = made.run("job", "download", "turntable")
        assert result.exit_code == 0, result.output
        assert made.content() == ALL
        assert [name for name, _ in made.commands("tar")] == [MASTER, READER]


def test_a_pod_that_dies_twice_is_an_error(tmp_path: Path) -> None:
    def dying(name: str, container: str, command: list[str]) -> Script:
        script = honest(name, container, command)
        return Script([archive("1")[:100]], status=None) if command[1] == "tar" else script

    with farm(tmp_path, dying) as made:
        result = made.run("job", "download", "turntable")
        assert result.exit_code == 1
        assert "try again later" in result.stderr
        assert made.content() == {}


def test_a_tar_without_a_promised_file_is_an_error(tmp_path: Path) -> None:
    def forgetful(name: str, container: str, command: list[str]) -> Script:
        return Script([archive("1-4")]) if command[1] == "tar" else honest(name, container, command)

    with farm(tmp_path, forgetful) as made:
        result = made.run("job", "download", "turntable")
        assert result.exit_code == 1
        assert "frames 5 are not whole" in result.stderr


def test_a_file_that_is_gone_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "MAX_CHUNK", 1)
    monkeypatch.setattr(download_module, "CHECK_EVERY", 1)

    def lacking(name: str, container: str, command: list[str]) -> Script:
        if command[1] == "tar" and command[-1] == "2":
            return Script([archive("")], b"frame 2: image0002.png: no such file", exited(1))
        return honest(name, container, command)

    with farm(tmp_path, lacking) as made:
        result = made.run("job", "download", "turntable")
        assert result.exit_code == 3
        assert "frame 2: image0002.png: no such file" in result.stderr
        assert set(made.content()) == set(ALL) - {FILES[2][0]}


@pytest.mark.parametrize("chunk", [1, 960])
@pytest.mark.parametrize("last", [1, 2])
def test_a_file_that_several_frames_left_comes_as_the_last_one_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, last: int
) -> None:
    """Frame 1 was published last, or 2: then the other one's is not on the volume any more."""
    monkeypatch.setattr(download_module, "MAX_CHUNK", chunk)
    monkeypatch.setattr(download_module, "CHECK_EVERY", chunk)
    rows = [
        {
            "frame": frame,
            "state": "succeeded",
            "files": [
                {"path": FILES[frame][0], "size": len(FILES[frame][1])},
                {"path": "stats.json", "size": frame + 3},
            ],
        }
        for frame in (1, 2)
    ]
    stats = b"s" * (last + 3)

    def sharing(_pod: str, _container: str, command: list[str]) -> Script:
        if command[1] == "frames":
            return Script([json.dumps({"frames": rows}).encode()])
        asked = tuple(parse_frames(command[command.index("--frames") + 1]))
        files = dict(FILES[frame] for frame in asked)
        if last in asked:
            return Script([archive_of(files | {"stats.json": stats})])
        problem = f"frame {asked[0]}: stats.json is {len(stats)} bytes long now"
        return Script([archive_of(files)], problem.encode(), exited(1))

    with farm(tmp_path, sharing) as made:
        result = made.run("job", "download", "turntable")
        assert result.exit_code == 0, result.output
        assert made.content() == dict([FILES[1], FILES[2], ("stats.json", stats)])
        assert "3 files (2.9 KiB)" in result.stdout
        tars = len(made.commands("tar"))
        again = made.run("job", "download", "turntable")
        assert again.exit_code == 0, again.output
        assert "3 were there already" in again.stdout
        assert made.run("job", "download", "turntable", "--frames", "1").exit_code == 0
        assert len(made.commands("tar")) == tars
        assert made.run("job", "download", "turntable", "--force").exit_code == 0


def test_failed_frames_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    def partly(name: str, container: str, command: list[str]) -> Script:
        return (
            Script([frame_list((2,))])
            if command[1] == "frames"
            else honest(name, container, command)
        )

    with farm(tmp_path, partly) as made:
        result = made.run("job", "download", "turntable")
        assert result.exit_code == 0
        assert "not finished yet: 1 frames" in result.stderr
        assert set(made.content()) == set(ALL) - {FILES[2][0]}
        asked = made.run("job", "download", "turntable", "--frames", "1-2")
        assert asked.exit_code == 3
        assert "not finished: frames 2" in asked.stderr
        absent = made.run("job", "download", "turntable", "--frames", "9")
        assert absent.exit_code == 3
        assert "no frame 9" in absent.stderr


def test_asleep_a_reader_is_asked_for_and_awaited(tmp_path: Path) -> None:
    with farm(tmp_path, honest, pod("other")) as made:

        def answer(plural: str, name: str, patch: dict[str, Any]) -> None:
            [(key, value)] = patch["metadata"]["annotations"].items()
            assert json.loads(value) == {"verb": "reader"}
            session = made.server.objects[plural, name]
            session["status"] = {
                "handledRequests": [
                    {
                        "id": key.removeprefix(REQUEST_PREFIX),
                        "verb": "reader",
                        "result": "Done",
                        "time": "2026-01-31T12:00:00Z",
                    }
                ]
            }
            made.server.put(plural, session)
            made.server.put("pods", pod(READER))

        made.server.on_patch = answer
        result = made.run("job", "frames", "turntable", "-o", "json")
        assert result.exit_code == 0, result.output
        assert [row["frame"] for row in json.loads(result.stdout)["frames"]] == [1, 2, 3, 4, 5]
        assert made.server.execs == [
            (READER, "reader", ["drqueue-reader", "frames", "--job-uid", JOB_UID])
        ]


def test_a_reader_that_is_refused(tmp_path: Path) -> None:
    with farm(tmp_path, honest, pod("other")) as made:

        def refuse(plural: str, name: str, patch: dict[str, Any]) -> None:
            [key] = patch["metadata"]["annotations"]
            entry = {"id": key.removeprefix(REQUEST_PREFIX), "verb": "reader", "result": "Refused"}
            entry |= {"message": "the claim is gone", "time": "2026-01-31T12:00:00Z"}
            made.server.objects[plural, name]["status"] = {"handledRequests": [entry]}
            made.server.put(plural, made.server.objects[plural, name])

        made.server.on_patch = refuse
        result = made.run("job", "frames", "turntable")
        assert result.exit_code == 4
        assert "the claim is gone" in result.stderr


def test_a_terminating_master_is_not_used(tmp_path: Path) -> None:
    ending = pod(MASTER)
    ending["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    with farm(tmp_path, honest, ending, pod(READER)) as made:
        assert made.run("job", "frames", "turntable").exit_code == 0
        assert made.server.execs[0][0] == READER


def test_logs_default_to_the_frame_that_failed_last(tmp_path: Path) -> None:
    def partly(name: str, container: str, command: list[str]) -> Script:
        return (
            Script([frame_list((2, 4))])
            if command[1] == "frames"
            else honest(name, container, command)
        )

    with farm(tmp_path, partly) as made:
        result = made.run("job", "logs", "turntable")
        assert result.exit_code == 0, result.output
        assert result.stdout == "log of --frame 4 --attempt 4\n"
        assert "frame 4, attempt 4, failed on n-1" in result.stderr
        asked = made.run("job", "logs", "turntable", "--frame", "3", "--attempt", "1", "--follow")
        assert asked.stdout == "log of --frame 3 --attempt 1 --follow\n"


@pytest.mark.parametrize(
    ("states", "plain", "following"),
    [
        ({1: "succeeded", 2: "succeeded", 3: "waiting"}, 2, 2),
        ({1: "succeeded", 2: "running", 3: "running"}, 3, 3),
        ({1: "failed", 2: "failed", 3: "running"}, 2, 3),
        ({1: "waiting"}, None, None),
        ({1: "running", 2: "waiting again"}, 2, 1),
    ],
)
def test_the_most_interesting_frame(
    states: dict[int, str], plain: int | None, following: int | None
) -> None:
    rows = tuple(
        FrameRow(frame=n, state=state.split()[0], attempt=None if state == "waiting" else n)
        for n, state in states.items()
    )
    for running_first, expected in ((False, plain), (True, following)):
        chosen = most_interesting(rows, running_first=running_first)
        assert (chosen and chosen.frame) == expected


def test_a_log_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    tries: list[int] = []

    def dying(*_: Any) -> Script:
        tries.append(1)
        if len(tries) == 1:
            return Script([b"line 1\nli"], abort=True)
        return Script([b"line ", b"1\nline 2\nline 3\n"])

    with farm(tmp_path, dying) as made:
        result = made.run("job", "logs", "turntable", "--frame", "1", "--follow")
        assert result.exit_code == 0, result.output
        # what the first try wrote may have been cut off with its connection
        assert result.stdout == "line 1\nline 2\nline 3\n"


def test_what_the_reader_does_not_find(tmp_path: Path) -> None:
    with farm(tmp_path, lambda *_: Script(stderr=b"no frame 77\n", status=exited(1))) as made:
        result = made.run("job", "logs", "turntable", "--frame", "77")
        assert result.exit_code == 3
        assert "job turntable: no frame 77" in result.stderr


@pytest.mark.parametrize("failures", [1, 2])
def test_what_may_pass_is_tried_once_more(tmp_path: Path, failures: int) -> None:
    tries: list[str] = []

    def failing(name: str, container: str, command: list[str]) -> Script:
        tries.append(command[1])
        if tries.count(command[1]) <= failures:
            return Script(stderr=b"the master broke off\n", status=exited(3))
        return honest(name, container, command)

    with farm(tmp_path, failing) as made:
        result = made.run("job", "logs", "turntable", "--frame", "1")
        assert result.exit_code == (0 if failures == 1 else 1), result.output
        assert "the master broke off; trying once more" in result.stderr
        assert len(tries) == 2
        assert ("try again later" in result.stderr) == (failures == 2)


def test_a_download_that_fails_for_a_moment_does_not_call_files_gone(tmp_path: Path) -> None:
    def failing(name: str, container: str, command: list[str]) -> Script:
        if command[1] == "tar":
            return Script(stderr=b"the session's volume cannot be read: EIO\n", status=exited(3))
        return honest(name, container, command)

    with farm(tmp_path, failing) as made:
        result = made.run("job", "download", "turntable")
        assert result.exit_code == 1
        assert "there any more" not in result.stderr
        assert "try again later" in result.stderr


def test_a_busy_server_is_asked_again_when_it_says(tmp_path: Path) -> None:
    with farm(tmp_path) as made:
        made.server.too_busy = 1
        assert made.run("job", "list").exit_code == 0
        assert made.server.too_busy == 0
        made.server.too_busy = 100
        result = made.run("job", "list")
        assert result.exit_code == 1
        assert made.server.too_busy == 95


def test_frames_for_programs_keep_what_this_version_does_not_know(tmp_path: Path) -> None:
    listed = {"frames": [{"frame": 1, "state": "waiting", "attempts": [{"number": 7}]}]}
    with farm(tmp_path, lambda *_: Script([json.dumps(listed).encode()])) as made:
        [frame] = json.loads(made.run("job", "frames", "turntable", "-o", "json").stdout)["frames"]
        assert frame["attempts"] == [{"number": 7}]


def test_frames_as_a_table(tmp_path: Path) -> None:
    with farm(tmp_path, lambda *_: Script([frame_list((2,))])) as made:
        result = made.run("job", "frames", "turntable")
        lines = result.stdout.splitlines()
        assert lines[0].split() == [
            "FRAME",
            "STATE",
            "ATTEMPT",
            "NODE",
            "SECONDS",
            "SIZE",
            "FILES",
            "EXIT",
            "MESSAGE",
        ]
        assert lines[1].split() == ["1", "succeeded", "1", "n-1", "1.5", "1000", "B", "1"]
        assert lines[2].split() == ["2", "failed", "2", "n-1", "1.5", "3", "no", "texture"]
        assert (
            len(made.run("job", "frames", "turntable", "--state", "failed").stdout.splitlines())
            == 2
        )


@given(st.sets(st.integers(-99_999_999, 99_999_999), max_size=500))
def test_chunks_hold_every_frame_once_in_text_the_reader_takes(frames: set[int]) -> None:
    rows = [FrameRow(frame=frame, state="succeeded") for frame in frames]
    cut = list(chunks(rows))
    assert [row.frame for group in cut for row in group] == sorted(frames)
    for group in cut:
        text = format_frames(row.frame for row in group)
        assert len(text) <= MAX_FRAMES_TEXT
        assert list(parse_frames(text)) == [row.frame for row in group]


@pytest.mark.parametrize("count", [1, 32, 10_000])
def test_contiguous_frames_make_large_chunks(count: int) -> None:
    rows = [FrameRow(frame=frame, state="succeeded") for frame in range(count)]
    assert len(list(chunks(rows))) == -(-count // 960)

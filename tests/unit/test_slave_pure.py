"""The slave's pure parts: blocks into tasks, log cutting, news, settings."""

import json
from pathlib import Path
from queue import Empty
from threading import Thread

import pytest
from drqueue.api.frames import format_frames
from drqueue.farm.protocol import (
    MAX_WORK_BYTES,
    AttemptEnd,
    FileDone,
    FrameDone,
    NodeOffer,
    WorkReport,
)
from drqueue.farm.slave.blocks import JobFrames, pad, tasks_of
from drqueue.farm.slave.feed import LineQueue
from drqueue.farm.slave.log import HEAD_BYTES, REPORT_BYTES, TAIL_BYTES, LogBuffer
from drqueue.farm.slave.memory import find_oom_count
from drqueue.farm.slave.news import News
from drqueue.farm.slave.settings import SettingsError, hide_from_renderers, read_settings
from hypothesis import given
from hypothesis import strategies as st

frame_lists = st.lists(st.integers(-9999, 99999), min_size=1, max_size=60, unique=True)


@given(frame_lists, st.booleans(), st.booleans())
def test_tasks_cover_a_block_in_its_order(
    frames: list[int], chunked: bool, contiguous: bool
) -> None:
    tasks = tasks_of(format_frames(frames), chunked, contiguous)
    assert [frame for task in tasks for frame in task.frames] == frames
    if not chunked:
        assert [task.value for task in tasks] == [str(frame) for frame in frames]
    elif contiguous:
        for task in tasks:
            first, last = task.frames[0], task.frames[-1]
            assert task.frames == tuple(range(first, last + 1))
            assert task.value in (str(first), f"{first}-{last}")
        ends = [(task.frames[-1], task.frames[0]) for task in tasks]
        assert all(ends[n][0] + 1 != ends[n + 1][1] for n in range(len(ends) - 1))
    else:
        assert len(tasks) == 1
        assert "x" not in tasks[0].value


@pytest.mark.parametrize(
    ("frame", "width", "text"),
    [(7, 4, "0007"), (-7, 4, "-007"), (12345, 4, "12345"), (0, 1, "0"), (-12345, 4, "-12345")],
)
def test_padding_is_printfs(frame: int, width: int, text: str) -> None:
    assert pad(frame, width) == text == f"%0{width}d" % frame


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1-9x2", (1, 9, 2)), ("5", (5, 5, 1)), ("9,1-3", (1, 9, 1)), ("-3-3", (-3, 3, 1))],
)
def test_job_frames(text: str, expected: tuple[int, int, int]) -> None:
    frames = JobFrames.of(text)
    assert (frames.first, frames.last, frames.step) == expected


lines = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=40)


def _all_text(buffer: LogBuffer) -> dict[int | None, str]:
    texts: dict[int | None, str] = {}
    while buffer.waiting:
        taken = buffer.take()
        assert taken
        assert sum(len(part.text.encode()) for part in taken) <= REPORT_BYTES
        for part in taken:
            texts[part.frame] = texts.get(part.frame, "") + part.text
    return texts


output = st.lists(lines | st.sampled_from(["openjd_progress: 5", " OpenJD_env: A=b", "x" * 5000]))


@given(output, st.integers(0, 50))
def test_lines_that_pile_up_come_out_whole_and_in_order(printed: list[str], ahead: int) -> None:
    queue = LineQueue()
    taken: list[str] = []
    for number, line in enumerate(printed):
        queue.put(line)
        if number >= ahead or number % 60 == 59:
            while not queue.empty():
                taken.append(queue.get(timeout=0.001))
    while not queue.empty():
        taken.append(queue.get(timeout=0.001))
    assert [line for piece in taken for line in piece.split("\n")] == printed
    for piece in taken:
        if "openjd_" in piece.lower():
            assert "\n" not in piece, "a message of the library's own stays apart"
        assert len(piece) <= 8192 or "\n" not in piece
    with pytest.raises(Empty):
        queue.get(timeout=0.001)


def test_a_flood_waits_until_its_lines_are_taken() -> None:
    queue = LineQueue()

    def print_much() -> None:
        for _ in range(5000):
            queue.put("x" * 1000)

    flood = Thread(target=print_much, daemon=True)
    flood.start()
    size = 0
    flood.join(0.2)
    assert flood.is_alive()
    while size < 5_000_000:
        size += queue.get(timeout=30).count("x")
    flood.join(30)
    assert queue.empty()


@given(st.lists(st.tuples(st.none() | st.integers(1, 3), lines)))
def test_a_log_within_bounds_comes_whole_and_in_order(
    printed: list[tuple[int | None, str]],
) -> None:
    buffer = LogBuffer()
    expected: dict[int | None, str] = {}
    for frame, line in printed:
        buffer.add(frame, line)
        expected[frame] = expected.get(frame, "") + line + "\n"
    buffer.finish()
    assert _all_text(buffer) == expected


@given(st.integers(1, 8000), st.integers(0, 3))
def test_a_flood_keeps_its_head_and_tail(width: int, taken_meanwhile: int) -> None:
    buffer = LogBuffer()
    count = 2 * (HEAD_BYTES + TAIL_BYTES) // width + 10
    kept = ""
    for number in range(count):
        buffer.add(1, f"{number}".ljust(width, "x"))
        if taken_meanwhile and number % (count // taken_meanwhile + 1) == 5:
            kept += "".join(part.text for part in buffer.take())
    buffer.finish()
    kept += _all_text(buffer).get(1, "")
    printed = kept.splitlines()
    assert printed[0].startswith("0")
    assert printed[-1].startswith(str(count - 1))
    assert "bytes cut" in kept
    assert len(kept) <= HEAD_BYTES + TAIL_BYTES + 200
    cut = int(kept.split("[… ")[1].split(" ")[0])
    whole = sum(len(f"{n}".ljust(width, "x")) + 1 for n in range(count))
    note = next(line for line in printed if "bytes cut" in line)
    assert len(kept) - len(note) - 1 + cut == whole


def test_a_backlog_is_bounded_and_says_so() -> None:
    buffer = LogBuffer()
    for frame in range(100):
        for _ in range(100):
            buffer.add(frame, "x" * 1000)
    buffer.finish()
    texts = _all_text(buffer)
    assert sum(map(len, texts.values())) < 3 * 1024 * 1024
    assert any("text dropped" in text for text in texts.values())


@given(
    st.lists(
        st.lists(st.text('äa\x01"\\', min_size=1, max_size=1024), max_size=256).map(tuple),
        max_size=12,
    ),
    st.text('ab\x01"\\ä', max_size=200),
)
def test_reports_fit_the_protocol_and_lose_nothing(
    frames: list[tuple[str, ...]], line: str
) -> None:
    news = News(7)
    for number, paths in enumerate(frames):
        files = tuple(FileDone(path=path, size=1) for path in paths)
        news.frame_done(FrameDone(frame=number, seconds=1, files=files))
    for _ in range(2000):
        news.line(3, line)
    seen: list[int] = []
    end = AttemptEnd(result="succeeded")
    while True:
        report = news.take(end)
        seen += [frame.frame for frame in report.frames_done]
        body = WorkReport(
            offer=NodeOffer(cores=1, memory=1), attempt=report, wants_lease=True
        ).model_dump_json()
        # one frame's paths may be long: 256 of 1024 characters, escaped, are its very bound
        if len(report.frames_done) != 1:
            assert len(body.encode()) <= MAX_WORK_BYTES
        if report.end is not None:
            break
    assert seen == list(range(len(frames)))
    assert not news.waiting


def test_last_lines_are_the_frames_own() -> None:
    news = News(1)
    for number in range(100):
        news.line(1, f"{number} " + "x" * 2000)
        news.line(1, "   ")
    assert len(news.last_lines()) <= 20
    assert news.last_lines()[-1].startswith("99 ")
    assert all(len(line) <= 500 for line in news.last_lines())
    news.next_frame()
    assert news.last_lines() == ()


NEEDED = {"DRQUEUE_MASTER_URL": "https://m:8443/"}


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "DRQUEUE_MASTER_URL"),
        (NEEDED | {"DRQUEUE_NODE_CORES": "many"}, "DRQUEUE_NODE_CORES"),
        (NEEDED | {"DRQUEUE_NODE_MEMORY": "-1"}, "DRQUEUE_NODE_MEMORY"),
        (NEEDED | {"DRQUEUE_DRAIN_SECONDS": "inf"}, "DRQUEUE_DRAIN_SECONDS"),
        (NEEDED | {"DRQUEUE_HEALTH": "8080x"}, "DRQUEUE_HEALTH"),
    ],
)
def test_wrong_settings_name_the_variable(variables: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings(variables)


def test_settings() -> None:
    read = read_settings(NEEDED | {"DRQUEUE_NODE_POOLS": "a,,b ", "DRQUEUE_HEALTH": "127.0.0.1:9"})
    assert read.master_url == "https://m:8443"
    assert read.offer.pools == ("a", "b")
    assert read.health == ("127.0.0.1", 9)


def test_renderers_see_nothing_of_the_slaves_own() -> None:
    environment = {
        "PATH": "/bin",
        "HOME": "/tmp",
        "LICENSE_PORT": "2080",
        "EXPORT_PORTFOLIO": "1",
        "DRQUEUE_TLS": "/tls",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "KUBERNETES_PORT_443_TCP": "tcp://10.0.0.1:443",
        "WEB_SERVICE_HOST": "10.0.0.2",
        "WEB_SERVICE_PORT_HTTP": "80",
        "WEB_PORT": "tcp://10.0.0.2:80",
        "WEB_PORT_80_TCP_ADDR": "10.0.0.2",
    }
    hide_from_renderers(environment)
    assert environment == {
        "PATH": "/bin",
        "HOME": "/tmp",
        "LICENSE_PORT": "2080",
        "EXPORT_PORTFOLIO": "1",
    }


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/", "memory.events"),
        ("0::/kubepods/pod1", "kubepods/pod1/memory.events"),
        ("9:memory:/docker/x", "memory/memory.oom_control"),
    ],
)
def test_kills_for_want_of_memory_are_counted(tmp_path: Path, line: str, file: str) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(f"{line}\n")
    events = tmp_path / "cgroups" / file
    events.parent.mkdir(parents=True)
    events.write_text("oom 3\noom_kill 2\n")
    count = find_oom_count(tmp_path, tmp_path / "cgroups")
    assert count() == 2
    events.write_text("oom 3\noom_kill 4\n")
    assert count() == 4
    events.unlink()
    assert count() is None


def test_no_counter_is_no_error(tmp_path: Path) -> None:
    assert find_oom_count(tmp_path, tmp_path)() is None


def test_the_slaves_log_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    from drqueue.farm.slave.logs import set_up_logs

    set_up_logs("json")
    logging.getLogger("x").info("hello %s", "there", extra={"attempt": 3})
    line = json.loads(capsys.readouterr().err)
    assert (line["message"], line["attempt"], line["level"]) == ("hello there", 3, "info")
    logging.basicConfig(force=True)

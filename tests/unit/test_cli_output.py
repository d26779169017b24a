"""Tables, ages, colours, and text that must not command a terminal."""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from drqueue.cli import output
from drqueue.cli.describe import why_not_ready
from drqueue.cli.rows import JOB_HEADERS, eta, job_row
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def now() -> datetime:
    return NOW


def job(**status: Any) -> dict[str, Any]:
    """Build a job as the API gives it."""
    return {
        "metadata": {
            "name": "turntable",
            "generation": 2,
            "creationTimestamp": "2026-01-31T11:00:00Z",
        },
        "spec": {"sessionName": "teapots"},
        "status": {"observedGeneration": 2, **status},
    }


def test_a_piped_table_is_whole_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    wide = "w" * 500
    output.print_table(["NAME", "WHY"], [["a", wide], ["long-name", "Failed"]], "none")
    out = capsys.readouterr().out
    assert out == f"NAME       WHY\na          {wide}\nlong-name  Failed\n"


def test_wide_characters_keep_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["NAME", "WHY"], [["日本", "x"], ["abcd", "y"]], "none")
    assert capsys.readouterr().out == "NAME  WHY\n日本  x\nabcd  y\n"


def test_an_empty_table_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["NAME"], [], "no jobs")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no jobs\n")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_gets_colours_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_color: str,
    coloured: bool,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("NO_COLOR", no_color)
    output.print_table(["NAME", "PHASE", "WHY"], [["a" * 30, "Failed", "word " * 30]], "none")
    out = capsys.readouterr().out
    assert ("\x1b[31m" in out) == coloured
    assert "a" * 30 in out
    assert out.count("word") == 30
    assert max(len(line) for line in out.splitlines() if "word" in line) <= 90


def test_a_terminal_too_narrow_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    output.print_table(["NAME", "PHASE", "WHY"], [["a" * 30, "Failed", "word " * 30]], "none")
    assert capsys.readouterr().out.count("word") == 30


@given(st.text())
def test_cleaned_text_holds_no_control_characters(text: str) -> None:
    cleaned = output.clean(text)
    assert all(char in "\n\t" or char.isprintable() for char in cleaned)
    assert output.clean(cleaned) == cleaned


def test_an_escape_sequence_in_a_message_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["WHY"], [["\x1b]0;owned\x07bad\r\nline"]], "none")
    assert capsys.readouterr().out == "WHY\n]0;ownedbad line\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (61, "1m1s"),
        (3600, "1h"),
        (3661, "1h1m"),
        (86_400, "1d"),
        (90_000, "1d1h"),
        (86_460, "1d"),
        (-5, "0s"),
    ],
)
def test_short_durations(seconds: float, text: str) -> None:
    assert output.short_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (2**41, "2.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert output.bytes_text(count) == text


def test_json_and_yaml_are_the_object_without_managed_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    item = {"kind": "RenderJob", "metadata": {"name": "ä", "managedFields": [{}]}, "spec": {}}
    bare = {"kind": "RenderJob", "metadata": {"name": "ä"}, "spec": {}}
    output.print_object("json", item)
    assert json.loads(capsys.readouterr().out) == bare
    output.print_object("yaml", item)
    assert yaml.safe_load(capsys.readouterr().out) == bare
    output.print_objects("yaml", [item])
    found = yaml.safe_load(capsys.readouterr().out)
    assert (found["kind"], found["items"]) == ("List", [bare])


def test_a_job_as_a_row() -> None:
    status = {
        "phase": "Running",
        "frames": {"total": 24, "succeeded": 6, "failed": 1},
        "progress": "25%",
        "eta": "2026-01-31T12:01:30Z",
        "message": "waits for nodes",
    }
    row = dict(zip(JOB_HEADERS, job_row(job(**status), now), strict=True))
    assert row == {
        "NAME": "turntable",
        "SESSION": "teapots",
        "PHASE": "Running",
        "DONE": "6/24",
        "FAILED": 1,
        "PROGRESS": "25%",
        "ETA": "in 1m30s",
        "AGE": "1h",
        "WHY": "waits for nodes",
    }


def test_a_job_that_nobody_has_seen() -> None:
    fresh = job()
    del fresh["status"]
    row = dict(zip(JOB_HEADERS, job_row(fresh, now), strict=True))
    assert (row["PHASE"], row["WHY"]) == ("Waiting", "the operator has not seen it yet")


def test_an_eta_that_has_passed() -> None:
    assert eta(job(eta="2026-01-31T11:59:00Z"), now) == "soon"
    assert eta(job(eta="2026-01-31T11:59:00Z", finishedAt="2026-01-31T11:58:00Z"), now) == ""
    assert eta(job(), lambda: NOW + timedelta(days=1)) == ""


@pytest.mark.parametrize(
    ("ready", "said"),
    [
        ({"status": "False", "reason": "NodeClassNotFound", "message": "no class x"}, "no class x"),
        ({"status": "False", "reason": "NodeClassNotFound"}, "NodeClassNotFound"),
        ({"status": "False", "reason": "Running"}, ""),
        ({"status": "True", "reason": "Active", "message": "all is well"}, ""),
    ],
)
def test_what_ready_says_beside_the_phase(ready: dict[str, str], said: str) -> None:
    conditions = [{"type": "Stalled", "status": "True", "message": "x"}, {"type": "Ready", **ready}]
    assert why_not_ready(job(phase="Running", conditions=conditions)) == said

"""How a watched job's end becomes an exit code, and what is said on the way."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from drqueue.cli.exits import Exit
from drqueue.cli.main import cli
from drqueue.cli.watching import Lines, end_of

from tests.exec_server import ExecServer, Script, serve


def job(name: str = "turntable", generation: int = 1, **status: Any) -> dict[str, Any]:
    """Build a job as the API gives it."""
    return {
        "metadata": {"name": name, "namespace": "studio-a", "uid": name, "generation": generation},
        "spec": {"sessionName": "teapots", "frames": "1-4"},
        "status": {"observedGeneration": 1, **status},
    }


@pytest.mark.parametrize(
    ("phase", "end"),
    [
        ("Waiting", None),
        ("Running", None),
        ("Suspended", None),
        ("Ending", None),
        ("Succeeded", Exit.OK),
        ("Failed", Exit.JOB_FAILED),
        ("Killed", Exit.JOB_FAILED),
    ],
)
def test_ends(phase: str, end: Exit | None) -> None:
    assert end_of(job(phase=phase)) == end
    # what a status says about an older spec is no end
    assert end_of(job(phase=phase, generation=2)) is None


def test_lines_say_what_changed_and_only_that(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(lambda: datetime(2026, 1, 31, 12, 0, tzinfo=UTC), sys.stdout)
    running = job(phase="Running", frames={"total": 4, "succeeded": 1, "running": 2})
    lines.show(running)
    lines.show(running)
    lines.show(
        job(phase="Failed", frames={"total": 4, "succeeded": 3, "failed": 1}, message="a\nb")
    )
    assert capsys.readouterr().out.splitlines() == [
        "12:00:00 turntable: Running, 1/4 frames, 2 running",
        "12:00:00 turntable: Failed, 3/4 frames, 1 failed, a b",
    ]


def watch(tmp_path: Path, steps: dict[str, Any], *arguments: str) -> tuple[int, str, str]:
    """Watch jobs whose later states come one by one, each when the last has been read."""
    with serve(tmp_path, lambda *_: Script()) as (server, kubeconfig):
        for name, states in steps.items():
            server.put("renderjobs", job(name, phase=states[0]))
        server.on_list = lambda: advance(server, steps)
        options = ["--kubeconfig", str(kubeconfig), "job", "watch", *arguments]
        result = CliRunner().invoke(cli, options)
    return result.exit_code, result.stdout, result.stderr


def advance(server: ExecServer, steps: dict[str, Any]) -> None:
    """Bring each job one state further."""
    for name, states in steps.items():
        if len(states) > 1:
            states.pop(0)
            if states[0] is None:
                server.remove("renderjobs", name)
            else:
                server.put("renderjobs", job(name, phase=states[0]))


@pytest.mark.parametrize(("last", "code"), [("Succeeded", Exit.OK), ("Failed", 5), ("Killed", 5)])
def test_watch_ends_with_the_job(tmp_path: Path, last: str, code: int) -> None:
    states = ["Waiting", "Waiting", "Running", last]
    found, out, err = watch(tmp_path, {"turntable": states}, "turntable")
    assert (found, err) == (code, "")
    assert [line.split(": ")[1] for line in out.splitlines()] == ["Waiting", "Running", last]


def test_watch_of_several_waits_for_all_and_gives_the_worst(tmp_path: Path) -> None:
    steps = {"one": ["Failed"], "two": ["Waiting", "Running", "Running", "Succeeded"]}
    code, out, _ = watch(tmp_path, steps, "one", "two")
    assert code == Exit.JOB_FAILED
    assert "two: Succeeded" in out


def test_watch_of_a_job_that_is_deleted(tmp_path: Path) -> None:
    states = ["Waiting", "Running", "Running", None]
    code, _, err = watch(tmp_path, {"turntable": states}, "turntable")
    assert code == Exit.NOT_FOUND
    assert "deleted before its end" in err


def test_watch_gives_up_in_time(tmp_path: Path) -> None:
    code, _, err = watch(tmp_path, {"turntable": ["Running"]}, "turntable", "--timeout", "0.3")
    assert code == Exit.TIMEOUT
    assert "not ended after 0.3 s: turntable" in err


def test_watch_of_a_job_that_is_not_there(tmp_path: Path) -> None:
    code, _, err = watch(tmp_path, {"turntable": ["Running"]}, "turntabel")
    assert code == Exit.NOT_FOUND
    assert "did you mean turntable?" in err

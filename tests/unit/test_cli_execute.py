"""The exec stream: every byte, every exit code, and what a broken one raises."""

from pathlib import Path

import pytest
from aiohttp import web
from drqueue.cli.cluster import Cluster
from drqueue.cli.connect import connect
from drqueue.cli.errors import ApiError, UnreachableError
from drqueue.cli.execute import CommandFailedError, StreamBrokenError, execute

from tests.exec_server import Script, exited, serve

V4, V5 = ("v4.channel.k8s.io",), ("v5.channel.k8s.io",)


def run(kubeconfig: Path) -> tuple[bytes, Exception | None]:
    """Run a command and give what it wrote, and how it failed."""
    cluster = Cluster(connect(str(kubeconfig), None))
    out = bytearray()
    try:
        for piece in execute(cluster, "studio-a", "pod-1", "master", ["say", "a b", "--x"]):
            out += piece
    except (ApiError, UnreachableError, CommandFailedError, StreamBrokenError) as problem:
        return bytes(out), problem
    return bytes(out), None


@pytest.mark.parametrize("subprotocols", [V4, V5], ids=["v4", "v5"])
def test_every_byte_comes_through(tmp_path: Path, subprotocols: tuple[str, ...]) -> None:
    every_byte = bytes(range(256)) * 300
    pieces = [every_byte[:7], every_byte[7:40_000], b"\xff\x01", every_byte[40_000:]]
    with serve(tmp_path, lambda *_: Script(pieces), subprotocols) as (server, kubeconfig):
        out, problem = run(kubeconfig)
    assert problem is None
    assert out == b"".join(pieces)
    assert server.execs == [("pod-1", "master", ["say", "a b", "--x"])]


def test_more_than_a_megabyte_in_many_frames(tmp_path: Path) -> None:
    pieces = [bytes([n % 256]) * 32_000 for n in range(200)]
    with serve(tmp_path, lambda *_: Script(pieces)) as (_, kubeconfig):
        out, problem = run(kubeconfig)
    assert problem is None
    assert out == b"".join(pieces)


def test_exit_code_and_stderr(tmp_path: Path) -> None:
    script = Script([b"partly"], b"no such frame\n", exited(1))
    with serve(tmp_path, lambda *_: script) as (_, kubeconfig):
        out, problem = run(kubeconfig)
    assert out == b"partly"
    assert isinstance(problem, CommandFailedError)
    assert (problem.exit_code, problem.stderr) == (1, "no such frame")


def test_a_command_that_was_killed_is_said_in_words(tmp_path: Path) -> None:
    with serve(tmp_path, lambda *_: Script(status=exited(137))) as (_, kubeconfig):
        _, problem = run(kubeconfig)
    assert str(problem) == "killed: its pod ended, or memory ran out"


@pytest.mark.parametrize(
    "script",
    [
        Script([b"half"], status=None),
        Script([b"half"], abort=True),
        Script([b"half"], status={"status": "Failure", "message": "container is gone"}),
    ],
    ids=["no status", "cut", "container gone"],
)
def test_an_end_without_exit_code_is_broken(tmp_path: Path, script: Script) -> None:
    with serve(tmp_path, lambda *_: script) as (_, kubeconfig):
        out, problem = run(kubeconfig)
    assert out == b"half" or script.abort
    assert isinstance(problem, StreamBrokenError)


def test_a_refused_exec_is_the_servers_own_words(tmp_path: Path) -> None:
    body = {
        "kind": "Status",
        "code": 404,
        "reason": "NotFound",
        "message": 'pods "pod-1" not found',
    }
    with serve(tmp_path, lambda *_: web.json_response(body, status=404)) as (_, kubeconfig):
        _, problem = run(kubeconfig)
    assert isinstance(problem, ApiError)
    assert problem.status == 404
    assert 'pods "pod-1" not found' in problem.message


def test_no_server(tmp_path: Path) -> None:
    with serve(tmp_path, lambda *_: Script()) as (_, kubeconfig):
        pass
    _, problem = run(kubeconfig)
    assert isinstance(problem, UnreachableError)

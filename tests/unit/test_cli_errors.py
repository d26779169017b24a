"""What refusals of the API server and broken surroundings look like, and their exit codes."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from drqueue.cli.errors import ApiError, explain
from drqueue.cli.exits import MEANINGS, Exit
from drqueue.cli.main import cli


def status(code: int, reason: str, message: str, *causes: dict[str, str]) -> ApiError:
    """Build the refusal of a server."""
    body: dict[str, Any] = {"kind": "Status", "code": code, "reason": reason, "message": message}
    body["details"] = {"causes": list(causes)}
    return ApiError(code, json.dumps(body), "job turntable")


CASES = [
    (
        status(404, "NotFound", 'renderjobs.drqueue.org "turntable" not found'),
        Exit.NOT_FOUND,
        'renderjobs.drqueue.org "turntable" not found',
    ),
    (ApiError(404, b"404 page not found\n", "renderjobs"), Exit.CLUSTER, "install the chart"),
    (
        status(404, "NotFound", "the server could not find the requested resource"),
        Exit.CLUSTER,
        "install the chart",
    ),
    (
        status(
            403,
            "Forbidden",
            'renderjobs.drqueue.org is forbidden: User "ann" cannot list resource "renderjobs" in '
            'API group "drqueue.org" in the namespace "studio-a"',
        ),
        Exit.CLUSTER,
        "the right to list renderjobs.drqueue.org is missing for 'ann'",
    ),
    (
        status(
            403,
            "Forbidden",
            "unable to create new content in namespace x because it is being terminated",
        ),
        Exit.REFUSED,
        "use another namespace",
    ),
    (status(401, "Unauthorized", "Unauthorized"), Exit.CLUSTER, "renew the credentials"),
    (status(409, "AlreadyExists", "exists"), Exit.REFUSED, "choose another name"),
    (status(500, "InternalError", "etcd is ill"), Exit.CLUSTER, "etcd is ill"),
    (ApiError(503, b"", "renderjobs"), Exit.CLUSTER, "HTTP 503"),
]


@pytest.mark.parametrize(("error", "code", "words"), CASES, ids=[c[2][:20] for c in CASES])
def test_refusals(error: ApiError, code: Exit, words: str) -> None:
    explained = explain(error)
    assert explained.exit_code == code
    assert words in explained.message


def test_each_cause_is_a_line() -> None:
    error = status(
        422,
        "Invalid",
        "long text",
        {"field": "spec.frames", "message": 'Invalid value: "1:5": write 1-5'},
        {"field": "spec", "message": 'Invalid value: "object": give a renderer or a template'},
        {"field": "spec", "message": 'Invalid value: {"a":"b: c"}: one scene: not two'},
        {"field": "spec", "message": 'Invalid value: {"a":"b: c"}: one scene: not two'},
    )
    explained = explain(error)
    assert explained.exit_code == Exit.REFUSED
    assert explained.details == [
        'spec.frames: Invalid value: "1:5": write 1-5',
        "spec: give a renderer or a template",
        "spec: one scene: not two",
    ]


def test_unknown_fields_are_named() -> None:
    error = status(
        400, "BadRequest", 'strict decoding error: unknown field "spec.framez", unknown field "x"'
    )
    assert explain(error).details == [
        "spec.framez: there is no such field",
        "x: there is no such field",
    ]


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the program, and give its exit code and what it said on stderr."""
    result = CliRunner(env={"KUBECONFIG": None, **environment}).invoke(cli, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr


def kubeconfig(path: Path, server: str) -> str:
    """Write a kubeconfig with one context."""
    context = {"name": "here", "context": {"cluster": "c", "user": "u"}}
    path.write_text(
        json.dumps(
            {
                "current-context": "here",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [context],
            }
        )
    )
    return str(path)


def test_no_kubeconfig(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    for code, said in (
        run("job", "list", "--kubeconfig", absent),
        run("job", "list", KUBECONFIG=absent),
        run("--kubeconfig", absent, "job", "list"),
    ):
        assert code == Exit.CLUSTER
        assert f"no kubeconfig at {absent}" in said


@pytest.mark.parametrize("text", ["", "no: {yaml", "a: b", "[]"])
def test_a_kubeconfig_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    code, said = run("job", "list", "--kubeconfig", str(path))
    assert code == Exit.CLUSTER
    assert str(path) in said


def test_an_unknown_context_is_told_the_known_ones(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    code, said = run("job", "list", "--kubeconfig", path, "--context", "there")
    assert code == Exit.NOT_FOUND
    assert "there are: here" in said


def test_a_cluster_that_is_down(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{free.getsockname()[1]}"
        code, said = run("job", "list", "--kubeconfig", kubeconfig(tmp_path / "config", server))
    assert code == Exit.CLUSTER
    assert server in said
    assert "refused" in said
    assert "pool" not in said


def test_a_server_that_is_no_address_is_not_taken_for_wrong_credentials(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", "not an address")
    code, said = run("job", "list", "--kubeconfig", path)
    assert code == Exit.CLUSTER
    assert "not an address does not answer" in said
    assert "credentials" not in said


def test_a_namespace_of_digits(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig(path, "http://127.0.0.1:1")
    content = json.loads(path.read_text())
    content["contexts"][0]["context"]["namespace"] = 2026
    path.write_text(json.dumps(content))
    code, said = run("job", "list", "--kubeconfig", str(path))
    assert (code, "does not answer" in said) == (Exit.CLUSTER, True), said


@pytest.mark.parametrize(
    "arguments",
    [
        ("job", "lisst"),
        ("job", "show"),
        ("job", "rerun", "x", "--failed", "--frames", "1"),
        ("job", "logs", "x", "--attempt", "0"),
        ("session", "create", "x"),
        ("job", "list", "-o", "xml"),
        ("job", "watch", "x", "--timeout", "0"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    code, said = run(*arguments)
    assert code == Exit.USAGE
    assert "Usage:" in said


def test_every_exit_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Exit)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_DRQUEUE_COMPLETE" in result.stdout

"""Streams that are shut, kubeconfigs that lack something, names and numbers that are none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from drqueue.cli.cluster import Cluster
from drqueue.cli.connect import connect
from drqueue.cli.exits import CliError, Exit
from drqueue.cli.kinds import JOB
from drqueue.cli.objects import find
from drqueue.cli.scenes import MAX_SCENE_BYTES, read_scene

PROGRAM = [sys.executable, "-c", "from drqueue.cli.main import main; main()"]
HELP = [*PROGRAM, "job", "list", "--help"]


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """Nobody listens where it leads."""
    return write(tmp_path, token="secret", current="here")


def write(folder: Path, token: str, current: str | None) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        **({"current-context": current} if current else {}),
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_kubeconfig_without_a_current_context(tmp_path: Path) -> None:
    path = write(tmp_path, "secret", None)
    with pytest.raises(
        CliError, match=r"no current context: .* --context; there are: here"
    ) as told:
        connect(str(path), None)
    assert told.value.exit_code == Exit.CLUSTER
    assert connect(str(path), "here").namespace == "default"


def test_a_token_that_cannot_be_sent_is_not_shown(tmp_path: Path) -> None:
    cluster = Cluster(connect(str(write(tmp_path, "sec\nret", "here")), None))
    with pytest.raises(CliError, match="credentials of the kubeconfig") as told:
        cluster.get(JOB, "studio-a", "teapot")
    assert told.value.exit_code == Exit.CLUSTER
    assert "sec" not in str(told.value).replace("secret", "")


@pytest.mark.parametrize("name", [".", "..", "", "é"])
def test_what_is_no_name_is_not_asked_for(kubeconfig: Path, name: str) -> None:
    cluster = Cluster(connect(str(kubeconfig), None))
    with pytest.raises(CliError, match="that is no name") as told:
        find(cluster, JOB, "studio-a", name)
    assert told.value.exit_code == Exit.NOT_FOUND


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1"])
def test_a_timeout_is_a_number_to_count_with(kubeconfig: Path, seconds: str) -> None:
    told = subprocess.run(
        [*PROGRAM, "--kubeconfig", str(kubeconfig), "job", "watch", "x", "--timeout", seconds],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == Exit.USAGE
    assert "--timeout" in told.stderr


def test_a_scene_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(CliError, match="a ConfigMap holds at most") as told:
        read_scene("/dev/zero")
    assert told.value.exit_code == Exit.REFUSED


def test_the_size_of_a_large_scene_is_its_own(tmp_path: Path) -> None:
    large = tmp_path / "large.pov"
    large.write_bytes(b"x" * (3 * MAX_SCENE_BYTES))
    with pytest.raises(CliError, match=f"{3 * MAX_SCENE_BYTES / 1024:.0f} KiB|MiB"):
        read_scene(str(large))


def test_a_reader_that_goes_away() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    told = subprocess.run(HELP, stdout=theirs, stderr=subprocess.PIPE, check=False)
    os.close(theirs)
    assert (told.returncode, told.stderr) == (Exit.PIPE, b"")


def test_a_disk_that_is_full() -> None:
    with Path("/dev/full").open("wb") as full:
        told = subprocess.run(HELP, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert told.returncode == Exit.CLUSTER
    assert told.stderr == "Error: input or output failed: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("shut", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_shut(shut: str) -> None:
    told = subprocess.run(
        ["bash", "-c", f'"$@" {shut}', "bash", *HELP], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")


def test_letters_that_the_terminal_does_not_have(kubeconfig: Path) -> None:
    told = subprocess.run(
        [*PROGRAM, "--kubeconfig", str(kubeconfig), "job", "show", "ж"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == Exit.NOT_FOUND
    assert told.stderr == "Error: no job '\\u0436': that is no name\n"

"""A control plane that is killed, started twice and taken down: nothing of it stays."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import local
from devcluster.errors import DevclusterError
from devcluster.local import process
from devcluster.local import state as states
from devcluster.local.kubectl import kubectl
from tests.control_plane import wait_until


@pytest.fixture
def name() -> Iterator[str]:
    made = f"life-{os.getpid()}"
    yield made
    local.stop(made)


def test_a_killed_control_plane_comes_back_with_its_objects(name: str) -> None:
    cluster = local.start(name, "control-plane", audit=True)
    kubectl(cluster.kubeconfig, "create", "namespace", "kept")
    first = dict(states.require(name).processes)
    again = local.start(name, "control-plane", audit=True)
    assert again == cluster
    assert states.require(name).processes == first  # nothing was started twice
    with pytest.raises(DevclusterError, match="down --name"):
        local.start(name, "control-plane", controllers=False, audit=True)

    for one in first.values():
        process.send(one, signal.SIGKILL)
    process.end(list(first.values()))  # a large process takes a moment to die
    stray = process.spawn(  # as if a crash had come before it was recorded
        ["sleep", "600"], mark=states.require(name).mark, log=cluster.folder / "logs" / "stray"
    )
    local.start(name, "control-plane", audit=True)
    assert not process.alive(stray)
    assert all(local.status(name).values())
    assert "kept" in kubectl(cluster.kubeconfig, "get", "namespaces", "--output=name")

    user = local.user_kubeconfig(name, "ann", ["artists"])
    with pytest.raises(DevclusterError, match="forbidden"):
        kubectl(user, "get", "secrets")
    audit_log = cluster.audit_log
    assert audit_log is not None
    wait_until(lambda: '"username":"ann"' in audit_log.read_text(), "ann in the audit log")

    local.stop(name)
    assert process.marked(str(cluster.folder)) == []
    assert not Path(cluster.folder).exists()
    local.stop(name)


def test_an_api_server_can_be_stopped_and_frozen(name: str) -> None:
    cluster = local.start(name, "control-plane", controllers=False)
    ask = ["get", "--raw", "/readyz"]

    def answers() -> bool:
        try:
            return kubectl(cluster.kubeconfig, *ask, "--request-timeout=20s") == "ok"
        except DevclusterError:
            return False

    local.freeze_apiserver(name)
    with pytest.raises((DevclusterError, subprocess.SubprocessError)):
        kubectl(cluster.kubeconfig, *ask, "--request-timeout=2s")
    local.thaw_apiserver(name)
    wait_until(answers, "an answer of the thawed API server")
    local.stop_apiserver(name)
    with pytest.raises(DevclusterError, match="refused"):
        kubectl(cluster.kubeconfig, *ask)
    local.start_apiserver(name)
    wait_until(answers, "an answer of the API server that was started again")

"""Completion from a real API server, and what is said when something around is amiss."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from drqueue.cli import jobs
from drqueue.cli.cluster import Cluster as Program
from drqueue.cli.connect import connect
from drqueue.cli.errors import ApiError
from drqueue.cli.execute import execute
from drqueue.cli.exits import Exit
from drqueue.cli.kinds import Kind
from drqueue.cli.main import cli
from kubernetes import client

from tests.cli_tenant import BASE, Tenant
from tests.control_plane import Cluster


@pytest.fixture
def tenant(api_client: client.ApiClient, cluster: Cluster, namespace: str) -> Tenant:
    """Give a fresh namespace."""
    return Tenant(api_client, cluster.kubeconfig, namespace)


def test_names_are_completed(tenant: Tenant) -> None:
    tenant.apply("RenderJob", name="turntable")
    tenant.apply("RenderJob", name="turnover")
    tenant.apply("RenderJob", name="other")

    def complete(*words: str) -> list[str]:
        line = ["drqueue", "--kubeconfig", str(tenant.kubeconfig), *words]
        environment = {
            "_DRQUEUE_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(line),
            "COMP_CWORD": str(len(line) - 1),
        }
        result = CliRunner(env=environment).invoke(cli, [], prog_name="drqueue")
        return sorted(entry.partition(",")[2] for entry in result.stdout.split())

    found = ["turnover", "turntable"]
    assert complete("job", "-n", tenant.namespace, "show", "turn") == found
    assert complete("-n", tenant.namespace, "job", "show", "turn") == found
    assert complete("job", "show", "-n", tenant.namespace, "tu") == found
    assert complete("job", "show", "-n", "no-such-namespace", "tu") == []
    assert "submit" in complete("job", "su")


def test_a_missing_right_is_named(tenant: Tenant, tmp_path: Path) -> None:
    name = "powerless"
    tenant.core.create_namespaced_service_account(tenant.namespace, {"metadata": {"name": name}})
    token = tenant.core.create_namespaced_service_account_token(
        name, tenant.namespace, {"spec": {"expirationSeconds": 600}}
    )
    config = yaml.safe_load(tenant.kubeconfig.read_text())
    user = {"name": "powerless", "user": {"token": token.status.token}}
    for context in config["contexts"]:
        context["context"]["user"] = "powerless"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump({**config, "users": [user]}))
    result = tenant.run("job", "list", "--kubeconfig", str(path))
    assert result.exit_code == Exit.CLUSTER
    account = f"system:serviceaccount:{tenant.namespace}:powerless"
    assert "the right to list renderjobs.drqueue.org is missing" in result.stderr
    assert account in result.stderr


def test_exec_is_refused_in_the_servers_words(tenant: Tenant) -> None:
    cluster = Program(connect(str(tenant.kubeconfig), None))
    tenant.core.create_namespaced_service_account(tenant.namespace, {"metadata": {"name": "a"}})
    spec = {"serviceAccountName": "a", "containers": [{"name": "master", "image": "none"}]}
    tenant.core.create_namespaced_pod(tenant.namespace, {"metadata": {"name": "pod"}, "spec": spec})
    for pod, status in (("absent", 404), ("pod", 400)):
        with pytest.raises(ApiError) as caught:
            list(execute(cluster, tenant.namespace, pod, "master", ["true"]))
        assert caught.value.status == status
        assert pod in caught.value.message


def test_without_our_kinds_the_chart_is_named(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "JOB", Kind("/apis/absent.example/v1", "renderjobs", "job"))
    for command in (("list",), ("show", "x")):
        result = tenant.run("job", *command)
        assert result.exit_code == Exit.CLUSTER
        assert "install the chart" in result.stderr


def test_a_namespace_that_is_going(tenant: Tenant) -> None:
    body = {"metadata": {"name": "left", "finalizers": ["drqueue.org/test"]}}
    tenant.core.create_namespaced_config_map(tenant.namespace, body)
    tenant.core.delete_namespace(tenant.namespace)
    try:
        result = tenant.run("job", "submit", "turntable", *BASE)
        assert result.exit_code == Exit.REFUSED
        assert "being terminated" in result.stderr
    finally:
        free = {"metadata": {"finalizers": None}}
        tenant.core.patch_namespaced_config_map("left", tenant.namespace, free)


def test_an_interrupted_watch_says_so(tenant: Tenant) -> None:
    tenant.apply("RenderJob")
    program = Path(sys.executable).parent / "drqueue"
    command = [str(program), "--kubeconfig", str(tenant.kubeconfig), "-n", tenant.namespace]
    # a shell's background job, such as a test run may be, ignores it, and so would the program
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [*command, "job", "watch", "turntable"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            assert "turntable: Waiting" in running.stdout.readline()
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=120)
        finally:
            running.kill()
    assert running.returncode == Exit.INTERRUPTED
    assert said == "no longer watched; the jobs go on\nError: interrupted\n"


def test_a_deadline_is_kept_while_nothing_happens(tenant: Tenant) -> None:
    tenant.apply("RenderJob")
    began = time.monotonic()
    result = tenant.run("job", "watch", "turntable", "--timeout", "2")
    assert result.exit_code == Exit.TIMEOUT
    assert 1.5 < time.monotonic() - began < 60

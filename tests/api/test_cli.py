"""The command line against a real API server; the tests themselves play the operator."""

import json

import pytest
import yaml
from drqueue.api import API_VERSION, GROUP, VERSION
from drqueue.cli import jobs
from drqueue.cli.exits import Exit
from kubernetes import client

from tests.cli_tenant import BASE, Object, Tenant, answering, meanwhile, requests_on
from tests.control_plane import Cluster, wait_until


@pytest.fixture
def tenant(api_client: client.ApiClient, cluster: Cluster, namespace: str) -> Tenant:
    """Give a fresh namespace."""
    return Tenant(api_client, cluster.kubeconfig, namespace)


def test_a_session_from_create_to_delete(tenant: Tenant) -> None:
    options = ("--class", "cpu-small", "--nodes", "2", "--render-time", "4h", "--size", "5Gi")
    assert "would be created" in tenant.ok("session", "create", "teapots", *options, "--dry-run")
    assert tenant.run("session", "show", "teapots").exit_code == Exit.NOT_FOUND
    made = json.loads(tenant.ok("session", "create", "teapots", *options, "-o", "json"))
    assert made["spec"]["storage"]["size"] == "5Gi"
    assert made["spec"]["storage"]["retain"] is True
    taken = tenant.run("session", "create", "teapots", *options)
    assert taken.exit_code == Exit.REFUSED
    assert "exists already" in taken.stderr
    [header, row] = tenant.ok("session", "list").splitlines()
    assert header.split()[:4] == ["NAME", "PHASE", "CLASS", "READY"]
    assert "teapots" in row
    assert "the operator has not seen it yet" in row
    shown = tenant.ok("session", "show", "teapots")
    assert "2 at most" in shown
    assert "kept when the session is deleted" in shown
    tenant.ok("session", "stop", "teapots")
    assert tenant.get("RenderSession", "teapots")["spec"]["suspend"] is True
    tenant.ok("session", "continue", "teapots")
    assert tenant.get("RenderSession", "teapots")["spec"]["suspend"] is False
    assert "deleted" in tenant.ok("session", "delete", "teapots")
    assert tenant.run("session", "show", "teapots").exit_code == Exit.NOT_FOUND


def test_frames_are_not_deleted_unasked(tenant: Tenant) -> None:
    tenant.apply("RenderSession", {"spec.storage.retain": False})
    unanswered = tenant.run("session", "delete", "teapots")
    assert (unanswered.exit_code, unanswered.stdout) == (Exit.REFUSED, "")
    assert "say --yes" in unanswered.stderr
    assert tenant.get("RenderSession", "teapots")
    assert "deleted" in tenant.ok("session", "delete", "teapots", "--yes")


def test_lists_for_programs_and_of_all_namespaces(tenant: Tenant) -> None:
    tenant.apply("RenderSession")
    tenant.apply("RenderJob")
    tenant.apply("RenderNode")
    for noun in ("session", "job", "node"):
        found = yaml.safe_load(tenant.ok(noun, "list", "-o", "yaml"))
        assert json.loads(tenant.ok("-o", "json", noun, "list")) == found
        assert [found["kind"], len(found["items"])] == ["List", 1]
        assert "managedFields" not in found["items"][0]["metadata"]
        lines = tenant.ok(noun, "list", "-A").splitlines()
        assert lines[0].startswith("NAMESPACE")
        assert any(line.split()[0] == tenant.namespace for line in lines[1:])
    for noun in ("job", "node"):
        assert "teapots" in tenant.ok(noun, "list", "--session", "teapots")
        assert tenant.ok(noun, "list", "--session", "other") == ""


def test_stop_and_continue(tenant: Tenant) -> None:
    tenant.apply("RenderJob")
    tenant.ok("job", "stop", "turntable")
    assert tenant.get("RenderJob", "turntable")["spec"]["suspend"] is True
    tenant.ok("job", "continue", "turntable")
    assert tenant.get("RenderJob", "turntable")["spec"]["suspend"] is False


def test_what_is_not_there(tenant: Tenant) -> None:
    tenant.apply("RenderJob")
    for command in ("show", "stop", "continue", "kill", "rerun", "delete", "watch", "logs"):
        result = tenant.run("job", command, "turntabel")
        assert result.exit_code == Exit.NOT_FOUND, command
        assert "did you mean turntable?" in result.stderr
    gone = tenant.run("job", "logs", "turntable")
    assert gone.exit_code == Exit.NOT_FOUND
    assert "session 'teapots' of job 'turntable' is gone" in gone.stderr


@pytest.mark.parametrize(
    ("arguments", "request_value"),
    [
        (("kill",), {"verb": "kill"}),
        (("rerun",), {"verb": "rerun", "frames": None}),
        (("rerun", "--failed"), {"verb": "rerun", "frames": "failed"}),
        (("rerun", "--frames", "1-5,8"), {"verb": "rerun", "frames": "1-5,8"}),
    ],
)
def test_requests_on_a_job(
    tenant: Tenant, arguments: tuple[str, ...], request_value: Object
) -> None:
    tenant.apply("RenderJob")
    seen: list[Object] = []
    verb, *options = arguments
    with meanwhile(answering(tenant, "RenderJob", "turntable", "Done", seen=seen)):
        out = tenant.ok("job", verb, "turntable", *options)
    assert out == f"job turntable: {verb} done: said Done\n"
    assert seen == [request_value]


def test_a_request_that_is_refused(tenant: Tenant) -> None:
    tenant.apply("RenderJob")
    with meanwhile(answering(tenant, "RenderJob", "turntable", "Refused", seen=[])):
        result = tenant.run("job", "rerun", "turntable", "--frames", "77")
    assert result.exit_code == Exit.REFUSED
    assert "rerun was refused: said Refused" in result.stderr


def test_a_request_that_nobody_answers_stays(tenant: Tenant) -> None:
    tenant.apply("RenderJob")
    result = tenant.run("job", "kill", "turntable", "--timeout", "1")
    assert result.exit_code == Exit.TIMEOUT
    assert "does the operator run?" in result.stderr
    assert len(requests_on(tenant.get("RenderJob", "turntable"))) == 1
    assert "kill asked for" in tenant.ok("job", "kill", "turntable", "--no-wait")
    assert len(requests_on(tenant.get("RenderJob", "turntable"))) == 2


def test_a_node_is_drained_by_its_session(tenant: Tenant) -> None:
    tenant.apply("RenderSession")
    tenant.apply("RenderNode")
    seen: list[Object] = []
    with meanwhile(answering(tenant, "RenderSession", "teapots", "Accepted", seen=seen)):
        tenant.ok("node", "drain", "teapots-12345-0")
    assert seen == [{"verb": "drain", "node": "teapots-12345-0"}]
    assert tenant.run("node", "drain", "other").exit_code == Exit.NOT_FOUND


def test_deleting_waits_for_the_finalizer(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant.apply("RenderJob", {"metadata.finalizers": ["drqueue.org/finalizer"]})
    monkeypatch.setattr(jobs, "DELETE_SECONDS", 1.0)
    result = tenant.run("job", "delete", "turntable")
    assert result.exit_code == Exit.TIMEOUT
    assert "finalizer" in result.stderr
    assert "is being deleted" in tenant.ok("job", "delete", "turntable", "--no-wait")
    assert "Ending" in tenant.ok("job", "show", "turntable")
    monkeypatch.setattr(jobs, "DELETE_SECONDS", 60.0)

    def finalize() -> None:
        tenant.objects.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            tenant.namespace,
            "renderjobs",
            "turntable",
            {"metadata": {"finalizers": None}},
        )

    with meanwhile(finalize):
        assert tenant.run("job", "delete", "turntable").exit_code in (0, Exit.NOT_FOUND)


def test_show_tells_why_a_job_waits(tenant: Tenant) -> None:
    tenant.apply("RenderSession", {"spec.nodeClassName": "not-there"})
    job = tenant.apply("RenderJob")
    moment = "2026-01-31T12:00:00Z"
    ready = {"type": "Ready", "status": "False", "reason": "NodeClassNotFound"}
    ready |= {"message": "there is no RenderNodeClass not-there", "lastTransitionTime": moment}
    tenant.set_status(
        "RenderSession",
        "teapots",
        {"observedGeneration": 1, "phase": "Pending", "conditions": [ready]},
    )
    tenant.set_status(
        "RenderJob",
        "turntable",
        {
            "observedGeneration": 1,
            "phase": "Running",
            "message": "waits for nodes",
            "progress": "50%",
            "frames": {"total": 24, "succeeded": 12, "failed": 1, "running": 2, "waiting": 9},
            "succeededFrames": "1-12",
            "failedFrames": "13",
            "lastError": "frame 13 on n-1: exit 3\nno texture \x1b[31mfound",
            "conditions": [{**ready, "type": "Accepted", "message": "not by a master yet"}],
        },
    )
    tenant.core.create_namespaced_event(
        tenant.namespace,
        {
            "metadata": {"name": "turntable.1"},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": "RenderJob",
                "name": "turntable",
                "namespace": tenant.namespace,
                "uid": job["metadata"]["uid"],
            },
            "type": "Warning",
            "reason": "FrameFailed",
            "message": "frame 13 failed",
            "lastTimestamp": moment,
            "count": 3,
        },
    )
    shown = tenant.ok("job", "show", "turntable")
    for words in (
        "waits for nodes",
        "50%: 12 succeeded, 2 running, 9 waiting, 1 failed, of 24",
        "no texture [31mfound",
        "there is no RenderNodeClass not-there",
        "there is no node class 'not-there' (yet)",
        "not by a master yet",
        "frame 13 failed (×3)",
    ):
        assert words in shown, shown
    assert yaml.safe_load(tenant.ok("job", "show", "turntable", "-o", "yaml"))["status"]["phase"]


def test_submit_and_wait(tenant: Tenant) -> None:
    def render() -> None:
        wait_until(lambda: exists(tenant, "turntable"), "the job")
        for done in range(5):
            frames = {"total": 4, "succeeded": done}
            phase = "Succeeded" if done == 4 else "Running"
            tenant.set_status(
                "RenderJob",
                "turntable",
                {"observedGeneration": 1, "phase": phase, "frames": frames},
            )

    with meanwhile(render):
        out = tenant.ok("job", "submit", "turntable", *BASE, "--wait", "--timeout", "60")
    lines = out.splitlines()
    assert lines[0] == "job turntable submitted"
    assert lines[-1].endswith("turntable: Succeeded, 4/4 frames")
    tenant.set_status("RenderJob", "turntable", {"phase": "Failed"})
    assert tenant.run("job", "watch", "turntable").exit_code == Exit.JOB_FAILED


def exists(tenant: Tenant, name: str) -> bool:
    """Whether there is a job of that name."""
    try:
        tenant.get("RenderJob", name)
    except client.ApiException as error:
        if error.status != 404:
            raise
        return False
    return True

"""Wrong input that is accepted: shown as a condition and an event, healed without a restart; and
what goes away under a running session."""

import json
import signal
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from drqueue.api.names import LABEL_COMPONENT, REQUEST_PREFIX
from drqueue.control.session import MASTER_SILENCE
from kubernetes import client

from tests.api.reconciling import Farm
from tests.manifests import settled_seconds

RUNS: dict[str, Any] = {"spec__renderer": "general", "spec__parameters": {"Command": "true"}}


def test_jobs_with_wrong_input_say_so_and_heal(farm: Farm) -> None:
    farm.make("RenderSession", spec__nodes=1)
    scene = {"configMap": {"name": "scene", "key": "a.pov"}}
    template = {"specificationVersion": "jobtemplate-2023-09", "name": "x", "steps": []}
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "no-session": ({**RUNS, "spec__sessionName": "later"}, "SessionNotFound"),
        "no-renderer": ({"spec__renderer": "blender", "spec__scene": scene}, "RendererNotOffered"),
        "too-big": ({**RUNS, "spec__limits": {"cores": "64"}}, "LimitsUnsatisfiable"),
        "no-pool": ({**RUNS, "spec__limits": {"pool": "night"}}, "LimitsUnsatisfiable"),
        "no-scene": ({"spec__scene": scene}, "ConfigMapNotFound"),
        "bad-template": (
            {"spec__renderer": None, "spec__template": template},
            "TemplateInvalid",
        ),
        "bad-parameter": (
            {**RUNS, "spec__parameters": {"Command": "true", "Wdith": "3"}},
            "ParametersInvalid",
        ),
        "no-dependency": ({**RUNS, "spec__dependsOn": ["never-made"]}, "DependencyNotFound"),
        "cycle-a": ({**RUNS, "spec__dependsOn": ["cycle-b"]}, "DependencyCycle"),
        "cycle-b": ({**RUNS, "spec__dependsOn": ["cycle-a"]}, "DependencyCycle"),
        "no-file": ({"spec__scene": {"path": "scenes/absent.pov"}}, "SceneMissing"),
    }
    for name, (changes, _) in wrong.items():
        body = {path: value for path, value in changes.items() if value is not None}
        gone = [path for path, value in changes.items() if value is None]
        farm.make("RenderJob", name, gone=gone, **body)
    for name, (_, reason) in wrong.items():
        found = farm.wait_reason("RenderJob", name, "Accepted", reason)
        assert found["status"] == "False"
        assert farm.status("RenderJob", name)["message"] == found["message"]
        assert farm.condition("RenderJob", name, "Stalled")["status"] == "True"
        farm.wait_event(name, reason)
    assert farm.all("RenderNode") == [], "nothing of it can render, so no node is made"

    farm.core.create_namespaced_config_map(
        farm.namespace, {"metadata": {"name": "scene"}, "data": {"a.pov": "sphere{}"}}
    )
    farm.make("RenderSession", "later", spec__suspend=True)
    terms = {"renderers": ["povray", "general", "blender"], "pools": ["night"]}
    farm.patch("RenderNodeClass", farm.class_name, {"spec": terms})
    farm.make("RenderJob", "never-made", **RUNS)
    farm.delete("RenderJob", "cycle-a")
    path = farm.master.volume / "work/scenes/absent.pov"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("sphere{}")
    healed = ("no-renderer", "no-pool", "no-scene", "no-dependency", "no-file")
    for name in healed:
        farm.wait_reason("RenderJob", name, "Accepted", "Accepted")
    farm.wait_reason("RenderJob", "no-session", "Accepted", "Pending")
    farm.wait_reason("RenderJob", "cycle-b", "Accepted", "DependencyNotFound")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"spec__nodeClassName": "not-there-yet"}, "NodeClassNotFound"),
        ({"spec__storage": {"storageClassName": "not-there-yet"}}, "StorageClassNotFound"),
        ({"spec__storage": {"claimName": "not-there-yet"}}, "ClaimNotFound"),
    ],
)
def test_sessions_with_wrong_input_say_so(farm: Farm, changes: dict[str, Any], reason: str) -> None:
    farm.make("RenderSession", **changes)
    farm.make("RenderJob", **RUNS)
    found = farm.wait_reason("RenderSession", "teapots", "Ready", reason)
    assert "not-there-yet" in found["message"]
    farm.wait("an event", lambda: reason in farm.events("teapots"))
    farm.wait("the job says so", lambda: "not-there-yet" in message(farm))
    assert farm.kubelet.pods() == []
    if reason == "StorageClassNotFound":
        storage = client.StorageV1Api(farm.core.api_client)
        body = {"metadata": {"name": "not-there-yet"}, "provisioner": "example.org/none"}
        storage.create_storage_class(body)
        try:
            farm.wait_nodes(2)
        finally:
            storage.delete_storage_class("not-there-yet")
    if reason == "ClaimNotFound":
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        farm.core.create_namespaced_persistent_volume_claim(
            farm.namespace, {"metadata": {"name": "not-there-yet"}, "spec": spec}
        )
        farm.wait_nodes(2)
        for pod in farm.kubelet.pods():
            affinity = pod["spec"]["affinity"]["podAffinity"]
            assert "requiredDuringSchedulingIgnoredDuringExecution" in affinity
        farm.delete("RenderSession", "teapots")
        farm.wait("it is gone", lambda: not farm.all("RenderSession"))
        assert farm.claims() == ["not-there-yet"]


def message(farm: Farm) -> str:
    return str(farm.status("RenderJob", "turntable").get("message"))


def test_a_claim_in_use_is_waited_for(farm: Farm) -> None:
    farm.make("RenderSession")
    claim = farm.wait("the claim is there", farm.claims)[0]
    farm.make("RenderSession", "second", spec__storage={"claimName": claim})
    found = farm.wait_reason("RenderSession", "second", "VolumeReady", "ClaimInUse")
    assert "'teapots'" in found["message"]
    farm.delete("RenderSession", "teapots")
    farm.wait_reason("RenderSession", "second", "VolumeReady", "Bound")


def test_an_image_that_cannot_be_pulled_shows_up_at_node_session_and_job(farm: Farm) -> None:
    farm.kubelet.waiting["slave"] = {"reason": "ImagePullBackOff", "message": "no such image"}
    farm.patch("RenderNodeClass", farm.class_name, {"spec": {"startupDeadline": "15s"}})
    farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", **RUNS)
    (node,) = farm.wait("its node is made", lambda: farm.all("RenderNode"))
    found = farm.wait_reason("RenderSession", "teapots", "NodesAvailable", "ImagePullFailed")
    assert "no such image" in found["message"]
    farm.wait("the job says so", lambda: "no such image" in message(farm))
    farm.wait(
        "it is replaced after the deadline",
        lambda: [
            n for n in farm.all("RenderNode") if n["metadata"]["uid"] != node["metadata"]["uid"]
        ],
    )
    farm.wait("people are told", lambda: "NodeStartupDeadline" in farm.events(node_name(node)))
    farm.kubelet.waiting.clear()
    farm.wait_nodes(1)
    assert settled_seconds(farm.status("RenderSession", "teapots")) == 0


def node_name(node: dict[str, Any]) -> str:
    return str(node["metadata"]["name"])


def masters(farm: Farm) -> list[dict[str, Any]]:
    return [p for p in farm.kubelet.pods() if p["metadata"]["labels"][LABEL_COMPONENT] == "master"]


def lose_master(farm: Farm, quota: int) -> None:
    """Its pod goes, as with its machine, and a quota refuses the next one."""
    farm.limit("pods", quota)
    farm.core.delete_namespaced_pod(masters(farm)[0]["metadata"]["name"], farm.namespace)
    found = farm.wait_reason("RenderSession", "teapots", "MasterReady", "MasterRefused")
    assert found["status"] == "False"
    assert "exceeded quota" in found["message"]
    ready = farm.wait_reason("RenderSession", "teapots", "Ready", "MasterRefused")
    assert "exceeded quota" in ready["message"]
    assert farm.condition("RenderSession", "teapots", "Stalled")["status"] == "True"
    farm.wait_event("teapots", "MasterRefused")


def test_a_session_whose_master_is_refused_says_so_and_can_be_suspended(farm: Farm) -> None:
    farm.make("RenderSession")
    farm.make("RenderJob", **RUNS)
    farm.wait_nodes(2)
    lose_master(farm, 2)
    farm.patch("RenderSession", "teapots", {"spec": {"suspend": True}})
    farm.wait_nodes(0)
    farm.wait_phase("RenderSession", "teapots", "Suspended")
    farm.limit("pods", 3)
    farm.patch("RenderSession", "teapots", {"spec": {"suspend": False}})
    farm.wait_nodes(2)
    farm.wait_reason("RenderSession", "teapots", "MasterReady", "Running")


def test_nodes_without_a_master_for_long_make_room_for_it(farm: Farm) -> None:
    farm.make("RenderSession")
    farm.make("RenderJob", **RUNS)
    before = farm.wait_nodes(2)
    lose_master(farm, 2)
    assert {n["metadata"]["uid"] for n in farm.wait_nodes(2)} == {
        n["metadata"]["uid"] for n in before
    }
    since = datetime.now(UTC) - MASTER_SILENCE
    farm.date_back("RenderSession", "teapots", "MasterReady", since)
    farm.wait_reason("RenderSession", "teapots", "MasterReady", "Running")
    farm.limit("pods", 3)
    farm.wait_nodes(2)


def test_a_volume_that_is_refused_is_said_and_waited_for(farm: Farm) -> None:
    farm.limit("persistentvolumeclaims", 0)
    farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", **RUNS)
    found = farm.wait_reason("RenderSession", "teapots", "VolumeReady", "VolumeRefused")
    assert "exceeded quota" in found["message"]
    farm.wait_event("teapots", "VolumeRefused")
    farm.limit("persistentvolumeclaims", 1)
    farm.wait_nodes(1)


def test_a_reader_that_is_refused_is_an_answer(farm: Farm) -> None:
    farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", **RUNS)
    farm.wait_nodes(1)
    farm.limit("pods", 2)
    asked = {"metadata": {"annotations": {f"{REQUEST_PREFIX}r1": '{"verb": "reader"}'}}}
    farm.patch("RenderSession", "teapots", asked)
    (answer,) = farm.wait(
        "it is answered",
        lambda: farm.status("RenderSession", "teapots").get("handledRequests"),
    )
    assert answer["result"] == "Refused"
    assert "exceeded quota" in answer["message"]


def test_a_class_and_a_secret_that_go_under_a_running_session(farm: Farm) -> None:
    session = farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", **RUNS)
    (node,) = farm.wait_nodes(1)
    slave = farm.slave(node_name(node), session)
    lease = slave.lease()
    farm.delete("RenderNodeClass", farm.class_name)
    farm.wait_reason("RenderSession", "teapots", "Ready", "NodeClassNotFound")
    slave.render(lease, [1])
    farm.wait("its node renders on", lambda: counts(farm)["succeeded"] == 1)
    assert farm.all("RenderNode")[0]["metadata"]["uid"] == node["metadata"]["uid"]
    secret = next(
        s.metadata.name
        for s in farm.core.list_namespaced_secret(farm.namespace).items
        if s.metadata.name.endswith("-master")
    )
    farm.core.delete_namespaced_secret(secret, farm.namespace)
    farm.delete("RenderSession", "teapots")
    farm.wait("it is gone", lambda: not farm.all("RenderSession"))
    assert farm.leftovers() == []


def counts(farm: Farm) -> dict[str, int]:
    return dict(farm.status("RenderJob", "turntable").get("frames") or {})


def test_a_deleted_job_is_cancelled_and_its_folder_free_again(farm: Farm) -> None:
    session = farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", **RUNS, spec__priority=90)
    farm.make("RenderJob", "other", **RUNS)
    for job in ("turntable", "other"):  # the master has both: the lease is of the first
        farm.wait_reason("RenderJob", job, "Accepted", "Accepted")
    (node,) = farm.wait_nodes(1)
    slave = farm.slave(node_name(node), session)
    lease = slave.lease()
    farm.delete("RenderJob", "turntable")
    farm.wait("the job is gone", lambda: farm.get("RenderJob", "turntable") is None)
    answer = slave.report({"attempt": lease["attempt"], "progress": 0.5})
    assert answer["action"] == "cancel"
    farm.delete("RenderJob", "other")
    farm.wait_nodes(0)
    farm.wait("the master sleeps", lambda: not farm.kubelet.pods())
    # deleted while the master slept: it hears of that when it wakes
    farm.make("RenderJob", **RUNS)
    farm.wait_reason("RenderJob", "turntable", "Accepted", "Accepted")
    farm.patch("RenderJob", "turntable", {"spec": {"suspend": True}})
    farm.wait("the master sleeps", lambda: not farm.kubelet.pods())
    farm.delete("RenderJob", "turntable")
    farm.wait("the job is gone", lambda: farm.get("RenderJob", "turntable") is None)
    farm.make("RenderJob", **RUNS)
    farm.wait_reason("RenderJob", "turntable", "Accepted", "Accepted")


def test_a_namespace_that_is_deleted_while_it_renders(farm: Farm) -> None:
    farm.make("RenderSession")
    farm.make("RenderJob", **RUNS)
    farm.wait_nodes(2)
    farm.core.delete_namespace(farm.namespace)

    def gone() -> bool:
        names = [n.metadata.name for n in farm.core.list_namespace().items]
        return farm.namespace not in names

    # the operator lives in it too, and goes on without its Lease for a while only
    farm.wait("no object of ours is left", lambda: gone() or nothing_left(farm))


def nothing_left(farm: Farm) -> bool:
    kinds = ("RenderSession", "RenderJob", "RenderNode")
    return not any(farm.all(kind) for kind in kinds) and not farm.kubelet.pods()


def test_an_idle_operator_is_quiet(farm: Farm) -> None:
    farm.make("RenderSession")
    farm.make("RenderJob", **RUNS, spec__suspend=True)
    farm.wait_phase("RenderSession", "teapots", "Asleep")
    farm.wait_phase("RenderJob", "turntable", "Suspended")
    farm.settled_writes(quiet=12.0)
    before = farm.write_lines()
    time.sleep(15)
    assert farm.write_lines() == before


def test_a_ttl_takes_a_finished_job_but_not_its_frames(farm: Farm) -> None:
    session = farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", **RUNS, spec__frames="1", spec__ttlSecondsAfterFinished=2)
    farm.make("RenderJob", "after", **RUNS, spec__frames="1", spec__dependsOn=["turntable"])
    (node,) = farm.wait_nodes(1)
    slave = farm.slave(node_name(node), session)
    slave.render(slave.lease(), [1])
    farm.wait_phase("RenderJob", "turntable", "Succeeded")
    lease = slave.lease()
    assert lease["job_name"] == "after"
    assert farm.get("RenderJob", "turntable"), "another waits for it"
    slave.render(lease, [1])
    farm.wait("it is taken", lambda: farm.get("RenderJob", "turntable") is None)
    assert (farm.master.volume / "work/outputs/turntable/image_0001.txt").exists()


def test_a_frozen_operator_misses_nothing(farm: Farm) -> None:
    farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", **RUNS)
    (node,) = farm.wait_nodes(1)
    farm.operator.process.send_signal(signal.SIGSTOP)
    farm.core.delete_namespaced_pod(node_name(node), farm.namespace)
    farm.wait("the pod ended meanwhile", lambda: ended(farm, node_name(node)))
    farm.operator.process.send_signal(signal.SIGCONT)
    farm.operator.kill()
    farm.start_operator()
    farm.wait(
        "another took its place",
        lambda: [n for n in farm.wait_nodes(1) if n["metadata"]["uid"] != node["metadata"]["uid"]],
    )


def ended(farm: Farm, name: str) -> bool:
    pods = {p["metadata"]["name"]: p for p in farm.kubelet.pods()}
    return name in pods and json.dumps(pods[name]["status"]).count("terminated") > 0


def test_a_pod_whose_node_was_torn_away_is_let_go(farm: Farm) -> None:
    farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", **RUNS)
    (node,) = farm.wait_nodes(1)
    farm.operator.kill()
    farm.patch("RenderNode", node_name(node), {"metadata": {"finalizers": None}})
    farm.delete("RenderNode", node_name(node))
    farm.start_operator()
    farm.wait(
        "another node took its place",
        lambda: [n for n in farm.wait_nodes(1) if n["metadata"]["uid"] != node["metadata"]["uid"]],
    )
    farm.wait("its pod is gone", lambda: len(farm.kubelet.pods()) == 2)


def test_a_master_on_a_silent_machine_is_said_and_its_session_can_end(farm: Farm) -> None:
    farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", spec__scene={"path": "scenes/absent.pov"})  # so that no node is made
    farm.wait_reason("RenderJob", "turntable", "Accepted", "SceneMissing")
    farm.kubelet.deaf = True
    (master,) = farm.kubelet.pods()
    name = master["metadata"]["name"]
    farm.core.delete_namespaced_pod(name, farm.namespace, grace_period_seconds=1)

    def told() -> bool:
        found = farm.condition("RenderSession", "teapots", "MasterReady")
        return found.get("reason") == "MachineSilent"

    farm.wait("the machine is named", told, 180)
    message = farm.condition("RenderSession", "teapots", "MasterReady")["message"]
    assert f"kubectl delete node {farm.kubelet.machine}" in message
    assert farm.condition("RenderSession", "teapots", "Stalled")["status"] == "True"
    (there,) = farm.kubelet.pods()
    assert there["metadata"]["uid"] == master["metadata"]["uid"], "it may still write the journal"
    farm.delete("RenderSession", "teapots")
    farm.wait("the session is gone", lambda: farm.get("RenderSession", "teapots") is None)
    assert not farm.kubelet.pods()

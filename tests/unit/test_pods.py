"""Pods as they are made, and as they are read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from drqueue.api.nodeclass import Provider
from drqueue.control import children, pods
from drqueue.control.children import SessionId
from drqueue.control.settings import Settings
from drqueue.providers.base import Launch, NodeId
from drqueue.providers.pod_status import LOST_AFTER, observe_pod, pod_trouble
from drqueue.providers.slave_pod import SlaveDefaults, slave_pod

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SESSION = SessionId("studio-a", "teapots", "0b7e8a6a-3f0e")


def launch(one_machine: bool = False, **block: Any) -> Launch:
    return Launch(
        node=NodeId("studio-a", "teapots-0b7e8-0", "node-uid", "teapots", SESSION.uid),
        provider=Provider.model_validate({"kubernetes": block}),
        renderers=("povray", "general"),
        pools=("night",),
        os="linux",
        drain_grace=timedelta(minutes=5),
        claim_name="teapots-volume",
        one_machine=one_machine,
        master_url="https://master:8443",
        owner_reference={"uid": "node-uid"},
    )


def all_pods(one_machine: bool = False) -> list[dict[str, Any]]:
    settings = Settings(image_pull_secrets=("registry",))
    return [
        slave_pod(launch(one_machine), SlaveDefaults("slave:1", ("registry",))),
        pods.master_pod(SESSION, settings, "teapots-volume", one_machine),
        pods.reader_pod(SESSION, settings, "teapots-volume", one_machine),
    ]


@pytest.mark.parametrize("pod", all_pods(), ids=["slave", "master", "reader"])
def test_every_pod_is_restricted_and_has_no_token(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {security[name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {10001}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    assert {"name": "HOME", "value": "/tmp"} in container["env"]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("pod", all_pods(one_machine=True), ids=["slave", "master", "reader"])
def test_on_a_volume_of_one_machine_all_pods_keep_together(pod: dict[str, Any]) -> None:
    (term,) = pod["spec"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    wanted = term["labelSelector"]["matchLabels"]
    assert wanted.items() <= pod["metadata"]["labels"].items(), "the first one matches itself"


def test_a_slave_sees_only_the_work_folder_and_what_its_class_names() -> None:
    pod = slave_pod(
        launch(
            image="own:2",
            resources={"cores": "500m", "memory": "1Gi", "coresLimit": "2"},
            environment=[{"secretName": "licence", "prefix": "LIC_"}, {"configMapName": "paths"}],
            volumes=[{"claimName": "textures", "mountPath": "/data/textures"}],
            nodeSelector={"gpu": "no"},
            tolerations=[{"key": "render", "operator": "Exists"}],
            runtimeClassName="sandboxed",
            priorityClassName="low",
        ),
        SlaveDefaults("slave:1"),
    )
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/work"]["subPath"] == "work"
    assert mounts["/data/textures"]["readOnly"] is True
    assert "/volume" not in mounts
    assert container["image"] == "own:2"
    assert container["envFrom"] == [
        {"secretRef": {"name": "licence"}, "prefix": "LIC_"},
        {"configMapRef": {"name": "paths"}},
    ]
    assert container["resources"]["limits"] == {"memory": "1Gi", "cpu": "2"}
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert env["DRQUEUE_NODE_CORES"] == "0.5"
    assert env["DRQUEUE_NODE_MEMORY"] == str(2**30)
    assert spec["restartPolicy"] == "Never"
    assert spec["terminationGracePeriodSeconds"] > 300
    assert (spec["runtimeClassName"], spec["priorityClassName"]) == ("sandboxed", "low")


def test_a_reader_can_write_nothing_and_has_no_keys() -> None:
    pod = all_pods()[2]
    (container,) = pod["spec"]["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts["volume"]["readOnly"] is True
    assert set(mounts) == {"volume", "tmp"}
    assert pod["spec"]["activeDeadlineSeconds"] == 4 * 3600


def test_nothing_crosses_a_tenant() -> None:
    everything, master, slave = children.network_policies(SESSION, "drqueue-system")
    assert set(everything["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in everything["spec"]
    (rule,) = master["spec"]["ingress"]
    sources = rule["from"]
    assert all("podSelector" in s or "namespaceSelector" in s for s in sources)
    assert sources[1]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "drqueue-system"
    }
    to_master, names = slave["spec"]["egress"]
    assert "namespaceSelector" not in to_master["to"][0]
    assert {port["port"] for port in names["ports"]} == {53}


# pods as they are read ---------------------------------------------------------------------------


def pod(**status: Any) -> dict[str, Any]:
    meta = {
        "name": "n",
        "namespace": "studio-a",
        "creationTimestamp": "2026-01-31T11:00:00Z",
        **status.pop("meta", {}),
    }
    return {"metadata": meta, "spec": {"nodeName": "m", **status.pop("spec", {})}, "status": status}


def condition(kind: str, status: str, at: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "lastTransitionTime": f"2026-01-31T{at}Z", **more}


def state(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "slave", "image": "slave:1", "state": state}]


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-31T{clock}+00:00")


STARTED = {"startedAt": "2026-01-31T11:00:05Z"}
ENDED = {**STARTED, "finishedAt": "2026-01-31T11:30:00Z", "exitCode": 0}


def test_a_ready_pod() -> None:
    seen = observe_pod(
        pod(
            phase="Running",
            conditions=[condition("Ready", "True", "11:00:09")],
            containerStatuses=state(running=STARTED),
        ),
        NOW,
    )
    assert (seen.ready, seen.ready_at, seen.ended) == (True, at("11:00:09"), False)


def test_one_that_ended_while_nobody_looked_tells_when() -> None:
    seen = observe_pod(
        pod(
            phase="Succeeded",
            conditions=[condition("Ready", "False", "11:30:00", reason="PodCompleted")],
            containerStatuses=state(terminated=ENDED),
        ),
        NOW,
    )
    assert (seen.ready_at, seen.ended_at, seen.cause) == (at("11:00:05"), at("11:30:00"), "exited")


def test_one_that_never_was_ready_costs_nothing() -> None:
    seen = observe_pod(
        pod(
            phase="Failed",
            conditions=[condition("Ready", "False", "11:00:01", reason="PodFailed")],
            containerStatuses=state(terminated={**ENDED, "exitCode": 3}),
        ),
        NOW,
    )
    assert (seen.ready_at, seen.cause, seen.message) == (None, "failed", "exit code 3")


def test_an_evicted_pod_is_taken_not_failed() -> None:
    seen = observe_pod(
        pod(
            phase="Failed",
            reason="Evicted",
            message="The node was low on memory",
            containerStatuses=state(terminated={**ENDED, "exitCode": 137}),
        ),
        NOW,
    )
    assert seen.cause == "taken"
    assert "low on memory" in seen.message


def test_a_machine_that_went_silent_ends_its_pod_at_its_last_sign() -> None:
    meta = {"deletionTimestamp": "2026-01-31T11:50:00Z"}
    lost = {
        "meta": meta,
        "phase": "Running",
        "conditions": [condition("Ready", "False", "11:40:00")],
        "containerStatuses": state(running=STARTED),
    }
    deadline = at("11:50:00") + LOST_AFTER
    assert not observe_pod(pod(**lost), deadline - timedelta(seconds=1)).ended
    seen = observe_pod(pod(**lost), deadline)
    assert (seen.ended_at, seen.cause) == (at("11:40:00"), "taken")


def test_a_pod_that_no_machine_had_ends_at_once() -> None:
    meta = {"deletionTimestamp": "2026-01-31T11:59:00Z"}
    seen = observe_pod(pod(meta=meta, spec={"nodeName": None}, phase="Pending"), NOW)
    assert (seen.ended, seen.ready_at) == (True, None)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"containerStatuses": state(waiting={"reason": "ContainerCreating"})}, None),
        ({"containerStatuses": state(waiting={"reason": "ImagePullBackOff"})}, "ImagePullFailed"),
        (
            {
                "containerStatuses": state(
                    waiting={
                        "reason": "CreateContainerConfigError",
                        "message": 'secret "x" not found',
                    }
                )
            },
            "SecretNotFound",
        ),
        (
            {
                "containerStatuses": state(
                    waiting={
                        "reason": "CreateContainerConfigError",
                        "message": 'configmap "x" not found',
                    }
                )
            },
            "ConfigMapNotFound",
        ),
        (
            {
                "conditions": [
                    condition("PodScheduled", "False", "11:00:00", reason="Unschedulable")
                ]
            },
            "Unschedulable",
        ),
    ],
)
def test_why_a_pod_does_not_start(status: dict[str, Any], reason: str | None) -> None:
    trouble = pod_trouble(pod(phase="Pending", **status))
    assert (trouble.reason if trouble else None) == reason

"""The chart's hooks as they run: the programs themselves, with their accounts' own tokens."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from drqueue.api.names import (
    FINALIZER,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_NODE,
    LABEL_SESSION_UID,
    MANAGED_BY,
    POD_FINALIZER,
)
from kubernetes import client
from kubernetes.dynamic import DynamicClient

from helm.chart import Helm
from tests.api.installed import Server, chart_on, eventually
from tests.manifests import settled_seconds

Object = dict[str, Any]
API = "drqueue.org/v1alpha1"
SPECS: dict[str, Object] = {
    "RenderSession": {"nodeClassName": "small", "nodes": 2, "renderTime": "1h"},
    "RenderJob": {
        "sessionName": "teapots",
        "renderer": "povray",
        "frames": "1-4",
        "scene": {"path": "scene.pov"},
    },
}


@pytest.fixture(scope="module")
def server(cluster, api_client: client.ApiClient) -> Iterator[Server]:  # type: ignore[no-untyped-def]
    with chart_on(cluster.kubeconfig, api_client) as made:
        yield made


def token_config(server: Server, account: str, folder: Path) -> Path:
    """A kubeconfig with a service account's own token, as its pod would have it."""
    name = account.rsplit(":", 1)[1]
    issued = client.CoreV1Api(server.api).create_namespaced_service_account_token(
        name, server.namespace, {"spec": {"expirationSeconds": 3600}}
    )
    config = yaml.safe_load(server.kubeconfig.read_text())
    config["users"] = [{"name": name, "user": {"token": issued.status.token}}]
    config["contexts"][0]["context"]["user"] = name
    config["contexts"] = config["contexts"][:1]
    config["current-context"] = config["contexts"][0]["name"]
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(kubeconfig: Path, module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def hook_arguments(server: Server, job: str) -> list[str]:
    """The arguments that the chart gives the hook of this name."""
    for obj in Helm(namespace=server.namespace).template({}):
        if obj["kind"] == "Job" and obj["metadata"]["name"] == job:
            arguments: list[str] = obj["spec"]["template"]["spec"]["containers"][0]["args"]
            return arguments
    raise LookupError(job)


class Farm:
    """Objects of a namespace, made as the operator would have left them."""

    def __init__(self, server: Server, namespace: str) -> None:
        self.core = client.CoreV1Api(server.api)
        self.dynamic = DynamicClient(server.api)
        self.namespace = namespace
        self._operator = server.operator
        self._server = server

    def kind(self, kind: str) -> Any:
        return self.dynamic.resources.get(api_version="v1" if kind == "Pod" else API, kind=kind)

    def make(self, kind: str, name: str, spec: Object | None = None, **metadata: Any) -> Object:
        made: Object = (
            self.kind(kind)
            .create(
                body={
                    "apiVersion": API,
                    "kind": kind,
                    "metadata": {"name": name, "finalizers": [FINALIZER], **metadata},
                    "spec": spec or SPECS[kind],
                },
                namespace=self.namespace,
            )
            .to_dict()
        )
        return made

    def node(self, name: str, session: Object, status: Object) -> None:
        spec = {
            "sessionName": session["metadata"]["name"],
            "sessionUid": session["metadata"]["uid"],
            "nodeClassName": "small",
            "provider": {"kubernetes": {}},
            "startupDeadline": "10m",
            "drainGrace": "5m",
            "renderers": ["povray"],
            "os": "linux",
        }
        # only the operator may
        with self._server.speaking_as(self._operator) as operator:
            nodes = operator.resources.get(api_version=API, kind="RenderNode")
            labels = {LABEL_SESSION_UID: session["metadata"]["uid"]}
            meta = {"name": name, "finalizers": [FINALIZER], "labels": labels}
            body = {"apiVersion": API, "kind": "RenderNode", "metadata": meta, "spec": spec}
            made = nodes.create(body=body, namespace=self.namespace).to_dict()
            nodes.status.replace(body={**made, "status": status}, namespace=self.namespace)

    def pod(self, name: str, component: str, machine: str | None) -> None:
        labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_COMPONENT: component}
        meta: Object = {"name": name, "labels": labels}
        if component == "slave":
            meta["finalizers"] = [POD_FINALIZER]
            labels[LABEL_NODE] = name
        spec: Object = {
            "containers": [{"name": component, "image": "none"}],
            "automountServiceAccountToken": False,
        }
        if machine:
            spec["nodeName"] = machine
        with self._server.speaking_as(self._operator) as operator:
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
            operator.resources.get(api_version="v1", kind="Pod").create(
                body=body, namespace=self.namespace
            )
        if machine:
            ready = {
                "type": "Ready",
                "status": "True",
                "lastTransitionTime": "2026-01-01T12:00:00Z",
            }
            self._status(name, {"phase": "Running", "conditions": [ready]})

    def end_containers(self, name: str, finished: str) -> None:
        """What the kubelet says once the container is gone."""
        state = {"terminated": {"exitCode": 0, "finishedAt": finished}}
        entry = {"name": "slave", "image": "none", "imageID": "", "ready": False, "state": state}
        self._status(name, {"phase": "Failed", "containerStatuses": [{**entry, "restartCount": 0}]})

        # and lets go of the pod
        self.core.delete_namespaced_pod(name, self.namespace, grace_period_seconds=0)

    def _status(self, name: str, status: Object) -> None:
        self.kind("Pod").status.patch(
            body={"status": status},
            name=name,
            namespace=self.namespace,
            content_type="application/merge-patch+json",
        )

    def deleting(self, name: str) -> bool:
        pod = self.core.read_namespaced_pod(name, self.namespace)
        return pod.metadata.deletion_timestamp is not None

    def names(self, kind: str) -> set[str]:
        return {obj.metadata.name for obj in self.kind(kind).get(namespace=self.namespace).items}

    def get(self, kind: str, name: str) -> Object:
        found: Object = self.kind(kind).get(name=name, namespace=self.namespace).to_dict()
        return found


def operator_deployment(server: Server) -> None:
    """The operator's Deployment, at two replicas that nothing schedules."""
    deployment = next(
        o
        for o in Helm(namespace=server.namespace).template({"replicas": 2})
        if o["kind"] == "Deployment"
    )
    server.apply(deployment)
    core = client.CoreV1Api(server.api)
    eventually(
        lambda: len(core.list_namespaced_pod(server.namespace).items) == 2, "the operator's pods"
    )


@pytest.fixture
def machine(api_client: client.ApiClient, namespace: str) -> Iterator[str]:
    """A machine by name, for pods of one that is not there are collected before long."""
    core, name = client.CoreV1Api(api_client), f"machine-{namespace}"
    core.create_node({"metadata": {"name": name}, "spec": {"unschedulable": True}})
    yield name
    core.delete_node(name)


def test_uninstall(server: Server, namespace: str, machine: str, tmp_path: Path) -> None:
    farm = Farm(server, namespace)
    eventually(
        lambda: farm.core.list_namespaced_service_account(namespace).items,
        "the namespace's service account, without which it takes no pods",
    )
    session = farm.make("RenderSession", "teapots")
    farm.make("RenderJob", "turntable")
    farm.core.create_namespaced_persistent_volume_claim(
        namespace,
        {
            "metadata": {"name": "teapots-volume"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    )
    farm.node("running", session, {"phase": "Ready", "readyAt": "2026-01-01T12:00:00Z"})
    farm.pod("running", "slave", machine)
    farm.node("pending", session, {"phase": "Launching"})
    farm.pod("pending", "slave", None)
    ended = {"readyAt": "2026-01-01T11:00:00Z", "endedAt": "2026-01-01T11:05:00Z"}
    farm.node("over", session, {"phase": "Ended", **ended})
    farm.pod("orphan", "slave", None)
    farm.pod("teapots-master", "master", None)
    operator_deployment(server)

    kubeconfig = token_config(server, server.uninstall, tmp_path)
    arguments = hook_arguments(server, "drqueue-operator-uninstall")
    process = start(kubeconfig, "drqueue.control.uninstall", *arguments)
    try:
        eventually(lambda: farm.deleting("running"), "the running slave deleted")
        farm.end_containers("running", "2026-01-01T12:30:00Z")
        said = finish(process)
    finally:
        process.kill()

    assert farm.names("RenderNode") == set()
    assert farm.core.list_namespaced_pod(namespace).items == []
    assert farm.core.list_namespaced_pod(server.namespace).items == []
    assert not farm.get("RenderJob", "turntable")["metadata"].get("finalizers")
    left = farm.get("RenderSession", "teapots")
    assert not left["metadata"].get("finalizers")
    assert settled_seconds(left["status"]) == 1800 + 300
    assert len(left["status"]["settling"]) == 3
    assert len(farm.core.list_namespaced_persistent_volume_claim(namespace).items) == 1
    assert f"RenderNode/{namespace}/running: ended" in said

    # a second run finds nothing to do
    said = finish(start(kubeconfig, "drqueue.control.uninstall", *arguments))
    assert "ended" not in said
    assert (
        farm.get("RenderSession", "teapots")["metadata"]["resourceVersion"]
        == (left["metadata"]["resourceVersion"])
    )


def test_node_classes(server: Server, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex[:6]
    classes = tmp_path / "classes.json"
    kubeconfig = token_config(server, f"{server.operator}-node-classes", tmp_path)
    kinds = client.CustomObjectsApi(server.api)

    def offered(*entries: Object) -> dict[str, Object]:
        classes.write_text(json.dumps(entries))
        arguments = ("--release", f"{server.namespace}.drqueue", "--classes", str(classes))
        finish(start(kubeconfig, "drqueue.control.offer", *arguments))
        found = kinds.list_cluster_custom_object("drqueue.org", "v1alpha1", "rendernodeclasses")
        return {
            obj["metadata"]["name"]: obj["spec"]
            for obj in found["items"]
            if mark in obj["metadata"]["name"]
        }

    def entry(name: str, **spec: Any) -> Object:
        return {"name": f"{name}-{mark}", "spec": {"provider": {"kubernetes": {}}, **spec}}

    by_hand = f"by-hand-{mark}"
    server.apply(
        {
            "apiVersion": API,
            "kind": "RenderNodeClass",
            "metadata": {"name": by_hand},
            "spec": {"provider": {"kubernetes": {}}},
        }
    )
    try:
        first = offered(entry("small", pools=["day"]), entry("large"))
        assert set(first) == {f"small-{mark}", f"large-{mark}", by_hand}
        assert first[f"small-{mark}"]["pools"] == ["day"]
        # one left the list, one lost a field
        second = offered(entry("small"))
        assert set(second) == {f"small-{mark}", by_hand}
        assert not second[f"small-{mark}"].get("pools")
        assert set(offered()) == {by_hand}
    finally:
        kinds.delete_cluster_custom_object("drqueue.org", "v1alpha1", "rendernodeclasses", by_hand)


def test_a_wrong_node_class_is_named(server: Server, tmp_path: Path) -> None:
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps([{"name": "odd", "spec": {"provider": {}}}]))
    kubeconfig = token_config(server, f"{server.operator}-node-classes", tmp_path)
    process = start(
        kubeconfig, "drqueue.control.offer", "--release", "a.b", "--classes", str(classes)
    )
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "provider" in said
    assert "Traceback" not in said

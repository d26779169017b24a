"""The finalizer policy: who takes our finalizers off, and who still can do their own work."""

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from drqueue.api import GROUP, VERSION
from drqueue.api.names import FINALIZER, LABEL_NODE_UID, POD_FINALIZER
from kubernetes import client
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import (
    ConflictError,
    DynamicApiError,
    ForbiddenError,
    NotFoundError,
)

from tests.api.installed import Server, allowed, chart_on, eventually

Object = dict[str, Any]
API_VERSION = f"{GROUP}/{VERSION}"
MERGE = "application/merge-patch+json"
REFUSED = "only the DrQueue operator"


@pytest.fixture(scope="module")
def server(cluster, api_client: client.ApiClient) -> Iterator[Server]:  # type: ignore[no-untyped-def]
    with chart_on(cluster.kubeconfig, api_client) as made:
        yield made


@pytest.fixture
def studio(server: Server, namespace: str) -> Iterator[str]:
    """A namespace whose editor has every right on sessions, jobs, nodes and pods: RBAC is not
    what these tests are about."""
    core, rbac = client.CoreV1Api(server.api), client.RbacAuthorizationV1Api(server.api)
    eventually(
        lambda: core.list_namespaced_service_account(namespace).items,
        "the namespace's service account, without which it takes no pods",
    )
    rbac.create_namespaced_role(
        namespace,
        {
            "metadata": {"name": "all"},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
        },
    )
    rbac.create_namespaced_role_binding(
        namespace,
        {
            "metadata": {"name": "all"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"},
            "subjects": [{"kind": "User", "name": "editor"}],
        },
    )
    eventually(
        lambda: allowed(server, "editor", "create", "renderjobs", namespace),
        "the editor's role in force",
    )
    yield namespace
    sweep(server, namespace)


def sweep(server: Server, namespace: str) -> None:
    """Take all finalizers off, as the operator, so that the namespace can go."""
    with server.speaking_as(server.operator) as operator:
        for kind in ("RenderSession", "RenderJob", "RenderNode", "Pod"):
            resource = of(operator, kind)
            for obj in resource.get(namespace=namespace).items:
                if obj.metadata.finalizers:
                    unfinalize(operator, kind, obj.metadata.name, namespace)


def of(speaker: DynamicClient, kind: str) -> Any:
    version = "v1" if kind == "Pod" else API_VERSION
    return speaker.resources.get(api_version=version, kind=kind)


def unfinalize(speaker: DynamicClient, kind: str, name: str, namespace: str) -> None:
    of(speaker, kind).patch(
        body={"metadata": {"finalizers": None}},
        name=name,
        namespace=namespace,
        content_type=MERGE,
    )


def pod(*finalizers: str) -> Object:
    name = f"pod-{uuid.uuid4().hex[:6]}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "finalizers": list(finalizers)},
        "spec": {
            "containers": [{"name": "slave", "image": "none"}],
            "automountServiceAccountToken": False,
        },
    }


def ours(kind: str) -> Object:
    specs: dict[str, Object] = {
        "RenderSession": {"nodeClassName": "small", "nodes": 1, "renderTime": "1h"},
        "RenderJob": {
            "sessionName": "teapots",
            "renderer": "povray",
            "frames": "1-4",
            "scene": {"path": "scene.pov"},
        },
        "RenderNode": {
            "sessionName": "teapots",
            "sessionUid": "0c6b2c62-0000-4000-8000-000000000000",
            "nodeClassName": "small",
            "provider": {"kubernetes": {}},
            "startupDeadline": "10m",
            "drainGrace": "5m",
        },
    }
    name = f"{kind.lower()[6:]}-{uuid.uuid4().hex[:6]}"
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "finalizers": [FINALIZER]},
        "spec": specs[kind],
    }


def make(server: Server, kind: str, namespace: str, **metadata: Any) -> Object:
    obj = pod(POD_FINALIZER) if kind == "Pod" else ours(kind)
    obj["metadata"].update(metadata)
    # pods with our finalizer are the operator's to make; it makes no sessions or jobs
    user = server.operator if kind in ("Pod", "RenderNode") else "editor"
    with server.speaking_as(user) as speaker:
        made: Object = of(speaker, kind).create(body=obj, namespace=namespace).to_dict()
    return made


ALL = ("RenderSession", "RenderJob", "RenderNode", "Pod")


def replaced(speaker: DynamicClient, kind: str, name: str, namespace: str) -> bool:
    """`kubectl replace` with a manifest that never had the finalizer; False when somebody, such
    as the scheduler with a pod, wrote in between."""
    resource = of(speaker, kind)
    body = resource.get(name=name, namespace=namespace).to_dict()
    body["metadata"].pop("finalizers")
    try:
        resource.replace(body=body, namespace=namespace)
    except ConflictError:
        return False
    return True


@pytest.mark.parametrize("user", ["editor", "system:admin"])
@pytest.mark.parametrize("kind", ALL)
def test_nobody_else_takes_them_off(server: Server, studio: str, kind: str, user: str) -> None:
    name = make(server, kind, studio)["metadata"]["name"]
    with server.speaking_as(user) as speaker:
        if user == "system:admin":
            speaker.client.set_default_header("Impersonate-Group", "system:masters")
        with pytest.raises(ForbiddenError, match=REFUSED):
            unfinalize(speaker, kind, name, studio)
        with pytest.raises(ForbiddenError, match=REFUSED):
            eventually(lambda: replaced(speaker, kind, name, studio), "a replace without conflict")


def test_nor_by_way_of_a_pods_status(server: Server, studio: str) -> None:
    name = make(server, "Pod", studio)["metadata"]["name"]
    with server.speaking_as("editor") as speaker, pytest.raises(ForbiddenError, match=REFUSED):
        of(speaker, "Pod").status.patch(
            body={"metadata": {"finalizers": None}},
            name=name,
            namespace=studio,
            content_type=MERGE,
        )


@pytest.mark.parametrize("account", ["operator", "uninstall"])
@pytest.mark.parametrize("kind", ALL)
def test_the_operator_and_the_hook_do(server: Server, studio: str, kind: str, account: str) -> None:
    name = make(server, kind, studio)["metadata"]["name"]
    with server.speaking_as(server.operator if kind == "RenderNode" else "editor") as speaker:
        of(speaker, kind).delete(name=name, namespace=studio, grace_period_seconds=0)
        assert of(speaker, kind).get(name=name, namespace=studio).metadata.deletionTimestamp
    with server.speaking_as(getattr(server, account)) as speaker:
        unfinalize(speaker, kind, name, studio)
    with server.speaking_as("editor") as speaker, pytest.raises(NotFoundError):
        of(speaker, kind).get(name=name, namespace=studio)


@pytest.mark.parametrize("kind", ["RenderSession", "RenderJob"])
def test_customers_go_on_with_their_own_work(server: Server, studio: str, kind: str) -> None:
    made = make(server, kind, studio)
    name = made["metadata"]["name"]
    with server.speaking_as("editor") as speaker:
        resource = of(speaker, kind)
        marks = {"labels": {"shot": "12"}, "annotations": {"request.drqueue.org/a": "{}"}}
        resource.patch(body={"metadata": marks}, name=name, namespace=studio, content_type=MERGE)
        # GitOps applies a manifest that says nothing of finalizers
        plain = copy.deepcopy(made)
        plain["metadata"] = {"name": name}
        plain.pop("status", None)
        applied = resource.server_side_apply(
            body=plain, name=name, namespace=studio, field_manager="gitops", force_conflicts=True
        )
        assert applied.metadata.finalizers == [FINALIZER]
        # a finalizer of someone else's comes and goes
        for finalizers in ([FINALIZER, "example.org/backup"], [FINALIZER]):
            body = {"metadata": {"finalizers": finalizers}}
            resource.patch(body=body, name=name, namespace=studio, content_type=MERGE)


def test_pods_of_others_are_left_alone(server: Server, studio: str) -> None:
    with server.speaking_as("editor") as speaker:
        pods = of(speaker, "Pod")
        name = pods.create(body=pod("example.org/x"), namespace=studio).metadata.name
        unfinalize(speaker, "Pod", name, studio)
        pods.delete(name=name, namespace=studio, grace_period_seconds=0)


def test_nobody_else_puts_ours_on_a_pod(server: Server, studio: str) -> None:
    """Such a pod could never be deleted: no RenderNode speaks for it."""
    with server.speaking_as("editor") as speaker:
        pods = of(speaker, "Pod")
        with pytest.raises(ForbiddenError, match="leave it out"):
            pods.create(body=pod(POD_FINALIZER), namespace=studio)
        name = pods.create(body=pod(), namespace=studio).metadata.name
        body = {"metadata": {"finalizers": [POD_FINALIZER]}}
        with pytest.raises(ForbiddenError, match="leave it out"):
            pods.patch(body=body, name=name, namespace=studio, content_type=MERGE)


@pytest.mark.parametrize("user", ["system:kube-scheduler", "system:kube-controller-manager"])
def test_a_slaves_status_is_still_written(server: Server, studio: str, user: str) -> None:
    name = make(server, "Pod", studio)["metadata"]["name"]
    with server.speaking_as(user, "system:masters") as speaker:
        of(speaker, "Pod").status.patch(
            body={"status": {"phase": "Running"}}, name=name, namespace=studio, content_type=MERGE
        )


def test_nobody_else_passes_a_pod_off_as_a_nodes(server: Server, studio: str) -> None:
    """Its times would be what is paid by. A controller would make it from a tenant's template."""
    body = pod()
    body["metadata"]["labels"] = {LABEL_NODE_UID: "0c6b2c62-0000-4000-8000-000000000000"}
    with server.speaking_as("editor") as speaker:
        pods = of(speaker, "Pod")
        with pytest.raises(ForbiddenError, match="only the DrQueue operator makes the pods"):
            pods.create(body=body, namespace=studio)
        name = pods.create(body=pod(), namespace=studio).metadata.name
        change = {"metadata": {"labels": body["metadata"]["labels"]}}
        with pytest.raises(ForbiddenError, match="only the DrQueue operator makes the pods"):
            pods.patch(body=change, name=name, namespace=studio, content_type=MERGE)
        template = {"metadata": {"labels": {"app": "x", **body["metadata"]["labels"]}}}
        template["spec"] = pod()["spec"]
        sets = speaker.resources.get(api_version="apps/v1", kind="StatefulSet")
        spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
        made = {"metadata": {"name": "teapots"}, "spec": {**spec, "serviceName": "x"}}
        sets.create(body={"apiVersion": "apps/v1", "kind": "StatefulSet", **made}, namespace=studio)
        events = speaker.resources.get(api_version="v1", kind="Event")
        eventually(
            lambda: [
                event
                for event in events.get(namespace=studio).items
                if "makes the pods of RenderNodes" in (event.message or "")
            ],
            "the controller refused",
        )
        with pytest.raises(NotFoundError):
            pods.get(name="teapots-0", namespace=studio)


def wait_for_the_collector(server: Server, namespace: str) -> None:
    """Until it knows the RenderNodes made so far: each kind's events reach it in their order, and
    a later one whose owner never was is deleted at sight.

    An owner deleted in the foreground before the collector knows of what it owns is let go at
    once, and the rest then waits for the owner to be gone.
    """
    owner = {
        "apiVersion": API_VERSION,
        "kind": "RenderSession",
        "name": "never-was",
        "uid": str(uuid.uuid4()),
    }
    orphan = make(server, "RenderNode", namespace, ownerReferences=[owner])
    with server.speaking_as("editor") as speaker:
        eventually(lambda: is_deleted(speaker, orphan), "the collector deletes an orphan")


def is_deleted(speaker: DynamicClient, node: Object) -> bool:
    """Whether somebody has asked for its deletion; our finalizer keeps it."""
    metadata = node["metadata"]
    stored = of(speaker, "RenderNode").get(name=metadata["name"], namespace=metadata["namespace"])
    return stored.metadata.deletionTimestamp is not None


def test_garbage_collection_goes_on(server: Server, studio: str) -> None:
    """In the foreground the collector adds and takes off a finalizer of its own beside ours."""
    session = make(server, "RenderSession", studio)
    owner = {
        "apiVersion": session["apiVersion"],
        "kind": "RenderSession",
        "name": session["metadata"]["name"],
        "uid": session["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    node = make(server, "RenderNode", studio, ownerReferences=[owner])
    wait_for_the_collector(server, studio)
    with server.speaking_as("editor") as speaker:
        of(speaker, "RenderSession").delete(
            name=owner["name"], namespace=studio, propagation_policy="Foreground"
        )
        eventually(lambda: is_deleted(speaker, node), "the collector deletes the node")
    with server.speaking_as(server.operator) as operator:
        unfinalize(operator, "RenderNode", node["metadata"]["name"], studio)
        body = {"metadata": {"finalizers": ["foregroundDeletion"]}}
        sessions = of(operator, "RenderSession")
        try:
            sessions.patch(body=body, name=owner["name"], namespace=studio, content_type=MERGE)
        except DynamicApiError as error:  # the collector may have been quicker with its own
            assert error.status in (404, 422), error
            if error.status == 422:
                unfinalize(operator, "RenderSession", owner["name"], studio)
    with server.speaking_as("editor") as speaker:
        eventually(
            lambda: (
                not [
                    s
                    for s in of(speaker, "RenderSession").get(namespace=studio).items
                    if s.metadata.name == owner["name"]
                ]
            ),
            "the session gone",
        )


def test_a_namespace_goes_once_the_operator_let_go(server: Server) -> None:
    core = client.CoreV1Api(server.api)
    name = f"test-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name}})
    with server.speaking_as(server.operator) as operator:
        of(operator, "RenderNode").create(body=ours("RenderNode"), namespace=name)
        core.delete_namespace(name)
        eventually(
            lambda: all(
                n.metadata.deletionTimestamp
                for n in of(operator, "RenderNode").get(namespace=name).items
            ),
            "the node deleted with its namespace",
        )
    sweep(server, name)
    eventually(
        lambda: name not in {n.metadata.name for n in core.list_namespace().items},
        "the namespace gone",
    )

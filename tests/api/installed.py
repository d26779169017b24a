"""The chart's objects on a real API server, without the operator itself, and people to ask as."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from drqueue.api import GROUP, VERSION
from drqueue.api.names import POD_FINALIZER
from kubernetes import client, config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError

from helm.chart import Helm
from tests.control_plane import busy
from tests.manifests import manifest

Object = dict[str, Any]

RIGHTS = {
    "ClusterRole",
    "ClusterRoleBinding",
    "Namespace",
    "Role",
    "RoleBinding",
    "ServiceAccount",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
DEADLINE_SECONDS = 120


def eventually(holds: Callable[[], object], what: str) -> None:
    """Wait until a condition is true; fails with what was awaited and what was last seen.

    An API server that has no time to answer has not said no.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            seen = holds()
        except (client.ApiException, DynamicApiError) as error:
            if not busy(error):
                raise
            seen = error
        else:
            if seen:
                return
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {DEADLINE_SECONDS} s, last seen {seen!r}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Server:
    """An API server with the chart's roles and policies."""

    kubeconfig: Path
    api: client.ApiClient
    namespace: str
    """Where the release is."""

    @property
    def operator(self) -> str:
        """The operator's user name."""
        return f"system:serviceaccount:{self.namespace}:drqueue-operator"

    @property
    def uninstall(self) -> str:
        """The uninstall hook's user name."""
        return f"{self.operator}-uninstall"

    @property
    def books(self) -> str:
        """The namespace of accounts, payments and invoices."""
        return f"{self.namespace}-billing"

    @property
    def role(self) -> str:
        """What the names of the chart's ClusterRoles begin with."""
        return f"{self.namespace}:drqueue-operator"

    def apply(self, obj: Object) -> None:
        """Apply one object with every right."""
        resource = DynamicClient(self.api).resources.get(
            api_version=obj["apiVersion"], kind=obj["kind"]
        )
        resource.server_side_apply(
            body=obj,
            name=obj["metadata"]["name"],
            namespace=obj["metadata"].get("namespace"),
            field_manager="drqueue-tests",
            force_conflicts=True,
        )

    @contextmanager
    def speaking_as(self, user: str, group: str = "") -> Iterator[DynamicClient]:
        """Give a client whose requests are this user's."""
        with config.new_client_from_config(str(self.kubeconfig)) as api:
            api.set_default_header("Impersonate-User", user)
            if group:
                api.set_default_header("Impersonate-Group", group)
            yield DynamicClient(api)


@contextmanager
def chart_on(
    kubeconfig: Path, api: client.ApiClient, tenants: tuple[str, ...] = ()
) -> Iterator[Server]:
    """Apply the chart's rights and policies; take the cluster-wide ones away behind it.

    With `tenants`, it is a release that watches these namespaces only.
    """
    namespace = f"test-chart-{uuid.uuid4().hex[:8]}"
    server = Server(kubeconfig, api, namespace)
    server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    values = {"watchNamespaces": list(tenants)}
    objects = [o for o in Helm(namespace=namespace).template(values) if o["kind"] in RIGHTS]
    watched = tenants[0] if tenants else "default"
    for obj in objects:
        server.apply(obj)
    eventually(lambda: policies_in_force(api, watched), "the policies in force")
    try:
        yield server
    finally:
        take_away(api, objects, watched)
        core = client.CoreV1Api(api)
        core.delete_namespace(namespace)
        core.delete_namespace(server.books)


def binding(user: str, kind: str, role: str) -> Object:
    """A RoleBinding or ClusterRoleBinding, called as its user."""
    group = "rbac.authorization.k8s.io"
    return {
        "metadata": {"name": user},
        "roleRef": {"apiGroup": group, "kind": kind, "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


def allowed(
    server: Server,
    user: str,
    verb: str,
    resource: str,
    namespace: str | None,
    *,
    subresource: str = "",
    group: str = GROUP,
) -> bool:
    """Ask the API server's own authorizer."""
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "namespace": namespace or "",
    }
    # as the API server itself would know the user
    groups = ["system:authenticated"]
    review = client.AuthorizationV1Api(server.api).create_subject_access_review(
        {"spec": {"user": user, "groups": groups, "resourceAttributes": attributes}}
    )
    answer: bool = review.status.allowed
    return answer


def take_away(api: client.ApiClient, objects: list[Object], watched: str = "default") -> None:
    """Delete the cluster-wide ones of these objects, and wait until no policy refuses any more.

    Not namespaces: those of books can be deleted only after that.
    """
    dynamic = DynamicClient(api)
    for obj in objects:
        if "namespace" not in obj["metadata"] and obj["kind"] != "Namespace":
            resource = dynamic.resources.get(api_version=obj["apiVersion"], kind=obj["kind"])
            with suppress(NotFoundError):
                resource.delete(name=obj["metadata"]["name"])
    eventually(
        lambda: not in_force(api, watched) and not nodes_guarded(api, watched),
        "the policies out of force",
    )


def policies_in_force(api: client.ApiClient, namespace: str = "default") -> bool:
    """Tell whether the policies refuse: they are compiled a moment after they are applied."""
    return in_force(api, namespace) and nodes_guarded(api, namespace)


def nodes_guarded(api: client.ApiClient, namespace: str = "default") -> bool:
    """Tell whether the last of the policies that guard statuses, nodes and books refuses."""
    probe = manifest("RenderNode", name=f"probe-{uuid.uuid4().hex[:6]}")
    create = client.CustomObjectsApi(api).create_namespaced_custom_object
    where = (GROUP, VERSION, namespace, "rendernodes")
    return _refused(lambda: create(*where, probe, dry_run="All"))


def in_force(api: client.ApiClient, namespace: str = "default") -> bool:
    """Tell whether the finalizer policy refuses."""
    name = f"probe-{uuid.uuid4().hex[:6]}"
    probe = {
        "metadata": {"name": name, "finalizers": [POD_FINALIZER]},
        "spec": {"containers": [{"name": "probe", "image": "none"}]},
    }
    core = client.CoreV1Api(api)
    return _refused(lambda: core.create_namespaced_pod(namespace, probe, dry_run="All"))


def _refused(send: Callable[[], object]) -> bool:
    try:
        send()
    except client.ApiException as error:
        # another 403: a fresh namespace has no service account yet
        if error.status != 403:
            raise
        return "only the DrQueue operator" in error.body
    return False

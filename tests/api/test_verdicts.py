"""What the API server says to each kind of user, for each kind of ours and each way to write it.

Unlike test_rights.py, which asks the authorizer, this sends the requests themselves (as dry runs),
so that the answers are those of roles and policies together: also to somebody whose own Role says
`*`, and to a cluster's admin. Reads are left to test_rights.py, for no policy is about them.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from drqueue.api import GROUP, VERSION
from drqueue.api.names import FINALIZER, invoice_name
from kubernetes import client
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError, ForbiddenError

from tests.api.installed import Server, binding, chart_on, eventually
from tests.manifests import PLURALS, manifest

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
TENANTS = ("RenderSession", "RenderJob", "RenderNode")
BOOKS = ("RenderAccount", "RenderPayment", "RenderInvoice")
PLACES = {"studio": TENANTS, "books": BOOKS, "cluster": ("RenderNodeClass",)}
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
VERBS = (*sorted(WRITES), "update status", "patch status")

CUSTOMER = {"RenderSession": WRITES, "RenderJob": WRITES}
# what is in the books' namespace here counts (a payment that is booked, an account with money), so
# that it can be deleted by nobody
KEEP = {"create", "update", "patch"}
BILLING = {"RenderAccount": KEEP, "RenderPayment": KEEP}
MAY: dict[str, dict[str, set[str]]] = {
    "stranger": {},
    "viewer": {},
    "editor": CUSTOMER,
    "admin": CUSTOMER,
    "wildcard": CUSTOMER,  # a Role that says `*`, in the studio
    "ops": {
        "RenderSession": {"update", "patch", "delete"},
        "RenderJob": {"update", "patch", "delete"},
        "RenderNodeClass": {"create", "update", "patch", "delete"},
    },
    "billing": BILLING,
    "bookkeeper": BILLING,  # a Role that says `*`, in the books' namespace
    "root": {**CUSTOMER, **BILLING, "RenderNodeClass": WRITES},
    "operator": {
        "RenderSession": {"patch", "update status"},
        "RenderJob": {"patch", "delete", "update status"},
        "RenderNode": {"create", "patch", "delete", "update status"},
        "RenderNodeClass": {"update status"},
        "RenderAccount": {"update status"},
        "RenderPayment": {"update status"},
        "RenderInvoice": {"create"},
    },
    "uninstall": {
        "RenderSession": {"patch", "update status"},
        "RenderJob": {"patch"},
        "RenderNode": {"patch", "delete", "update status"},
    },
}


@dataclass(frozen=True)
class Scene:
    """A tenant's namespace, the books', and one object of each kind."""

    server: Server
    studio: str
    objects: dict[str, Object]

    def speaking_as(self, user: str) -> AbstractContextManager[DynamicClient]:
        accounts = {"operator": self.server.operator, "uninstall": self.server.uninstall}
        group = "system:masters" if user == "root" else ""
        return self.server.speaking_as(accounts.get(user, user), group)

    def path(self, kind: str, namespace: str | None, *rest: str) -> str:
        where = ["namespaces", namespace] if namespace else []
        return "/".join(("/apis", GROUP, VERSION, *where, PLURALS[kind], *rest))

    def let_through(self, speaker: DynamicClient, kind: str, verb: str) -> bool:
        """Whether a request is; a dry run."""
        found = self.objects[kind]
        name, namespace = found["metadata"]["name"], found["metadata"].get("namespace")
        one, every = self.path(kind, namespace, name), self.path(kind, namespace)
        new = fresh(kind)
        mark = {"metadata": {"labels": {"example.org/mark": "x"}}}
        marked = {**found, "metadata": {**found["metadata"], **mark["metadata"]}}
        requests: dict[str, tuple[str, str, Object | None]] = {
            "create": ("post", every, new),
            "update": ("put", one, marked),
            "patch": ("patch", one, mark),
            "delete": ("delete", one, None),
            "deletecollection": ("delete", every, None),
            "update status": ("put", f"{one}/status", found),
            "patch status": ("patch", f"{one}/status", {"status": {"conditions": []}}),
        }
        method, path, body = requests[verb]
        try:
            speaker.request(
                method,
                path,
                body=body,
                content_type=MERGE if method == "patch" else None,
                dry_run="All",
            )
        except ForbiddenError:
            return False
        except DynamicApiError as error:
            raise AssertionError(f"{method} {path}: neither yes nor no: {error.body}") from error
        return True


@pytest.fixture(scope="module")
def server(cluster, api_client: client.ApiClient) -> Iterator[Server]:  # type: ignore[no-untyped-def]
    with chart_on(cluster.kubeconfig, api_client) as made:
        yield made


@pytest.fixture(scope="module")
def scene(server: Server) -> Iterator[Scene]:
    core, rbac = client.CoreV1Api(server.api), client.RbacAuthorizationV1Api(server.api)
    studio = f"test-verdicts-{uuid.uuid4().hex[:6]}"
    core.create_namespace({"metadata": {"name": studio}})
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    for namespace in (studio, server.books):
        rbac.create_namespaced_role(
            namespace, {"metadata": {"name": "everything"}, "rules": [everything]}
        )
    for user, namespace, kind, role in (
        ("viewer", studio, "ClusterRole", "view"),
        ("editor", studio, "ClusterRole", "edit"),
        ("admin", studio, "ClusterRole", "admin"),
        ("wildcard", studio, "Role", "everything"),
        ("billing", server.books, "ClusterRole", f"{server.role}:billing"),
        ("bookkeeper", server.books, "Role", "everything"),
    ):
        rbac.create_namespaced_role_binding(namespace, binding(user, kind, role))
    ops = {**binding("ops", "ClusterRole", f"{server.role}:ops"), "metadata": {"name": studio}}
    rbac.create_cluster_role_binding(ops)
    made = Scene(server, studio, {})
    with made.speaking_as("operator") as operator, made.speaking_as("root") as root:
        for place, kinds in PLACES.items():
            where = {"studio": studio, "books": server.books}.get(place)
            for kind in kinds:
                by = operator if kind in ("RenderNode", "RenderInvoice") else root
                body = fresh(kind)
                body["metadata"]["finalizers"] = [FINALIZER] if kind in TENANTS else []
                found = by.request("post", made.path(kind, where), body=body)
                made.objects[kind] = parsed(found)
        for kind, status in (
            ("RenderAccount", {"balance": "10.00", "paid": "10.00"}),
            ("RenderPayment", {"phase": "Booked"}),
        ):
            say(made, operator, kind, status)
        eventually(lambda: editor_may(made), "the customer role in Kubernetes' own edit")
        yield made
        for kind in TENANTS:
            path = made.path(kind, studio, made.objects[kind]["metadata"]["name"])
            body = {"metadata": {"finalizers": None}}
            operator.request("patch", path, body=body, content_type=MERGE)
    rbac.delete_cluster_role_binding(studio)
    core.delete_namespace(studio)
    node_class = made.objects["RenderNodeClass"]["metadata"]["name"]
    client.CustomObjectsApi(server.api).delete_cluster_custom_object(
        GROUP, VERSION, "rendernodeclasses", node_class
    )


def editor_may(scene: Scene) -> bool:
    with scene.speaking_as("editor") as editor:
        return scene.let_through(editor, "RenderJob", "create")


def fresh(kind: str) -> Object:
    """A manifest with a name that was not there before."""
    uid = str(uuid.uuid4())
    if kind == "RenderInvoice":
        return manifest(kind, {"spec.sessionUid": uid}, invoice_name(uid))
    return manifest(kind, name=f"new-{uid[:8]}")


def parsed(answer: Any) -> Object:
    made: Object = answer.to_dict()
    return made


def say(scene: Scene, operator: DynamicClient, kind: str, status: Object) -> None:
    """Write a status, as the operator."""
    found = scene.objects[kind]
    meta = found["metadata"]
    path = scene.path(kind, meta["namespace"], meta["name"], "status")
    scene.objects[kind] = parsed(operator.request("put", path, body={**found, "status": status}))


@pytest.mark.parametrize("kind", [kind for kinds in PLACES.values() for kind in kinds])
@pytest.mark.parametrize("user", MAY)
def test_verdicts(scene: Scene, user: str, kind: str) -> None:
    with scene.speaking_as(user) as speaker:
        through = {verb for verb in VERBS if scene.let_through(speaker, kind, verb)}
    assert through == MAY[user].get(kind, set())


@pytest.mark.parametrize("kind", BOOKS)
@pytest.mark.parametrize("user", ["wildcard", "root"])
def test_books_are_kept_in_their_namespace_only(scene: Scene, user: str, kind: str) -> None:
    path, refused = scene.path(kind, scene.studio), f"in namespace {scene.server.books} only"
    with scene.speaking_as(user) as speaker, pytest.raises(ForbiddenError, match=refused):
        speaker.request("post", path, body=fresh(kind), dry_run="All")


def test_a_storage_migration_rewrites_an_invoice_as_it_is(scene: Scene) -> None:
    found = scene.objects["RenderInvoice"]
    path = scene.path("RenderInvoice", scene.server.books, found["metadata"]["name"])
    with scene.speaking_as("root") as root:
        root.request("put", path, body=found, dry_run="All")
        with pytest.raises(ForbiddenError, match="never edited"):
            owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "b"}
            body = {"metadata": {"ownerReferences": [owner]}}  # the collector would delete it
            root.request("patch", path, body=body, content_type=MERGE, dry_run="All")


@pytest.mark.parametrize("user", ["admin", "wildcard", "ops"])
def test_nobody_lists_their_own_namespace_in_an_account(scene: Scene, user: str) -> None:
    meta = scene.objects["RenderAccount"]["metadata"]
    path = scene.path("RenderAccount", meta["namespace"], meta["name"])
    body = {"spec": {"namespaces": [scene.studio]}}
    with scene.speaking_as(user) as speaker:
        with pytest.raises(ForbiddenError, match="cannot patch resource"):
            speaker.request("patch", path, body=body, content_type=MERGE)
        with pytest.raises(ForbiddenError, match="cannot get resource"):
            speaker.request("get", path)


def deleted(scene: Scene, kind: str, status: Object | None) -> Callable[[], object]:
    """An attempt of billing's to delete an object with that status."""
    body, path = fresh(kind), scene.path(kind, scene.server.books)
    name = body["metadata"]["name"]
    with scene.speaking_as("billing") as billing, scene.speaking_as("operator") as operator:
        made = parsed(billing.request("post", path, body=body))
        if status is not None:
            operator.request("put", f"{path}/{name}/status", body={**made, "status": status})

    def attempt() -> None:
        with scene.speaking_as("billing") as billing:
            billing.request("delete", f"{path}/{name}")

    return attempt


RESERVATION = {
    "sessionUid": "0b7e8a6a-3f0e-4b55-9a55-1d6f6a7f0c11",
    "namespace": "studio-a",
    "sessionName": "teapots",
    "className": "cpu-small",
    "generation": 1,
    "nodes": 2,
    "seconds": 3600,
    "amount": "0",
    "terms": "a1",
}


def _booked(reason: str) -> Object:
    """A payment's conditions, with the reason why it is not Booked."""
    told = {"type": "Booked", "status": "False", "reason": reason, "message": ""}
    return {"conditions": [{**told, "lastTransitionTime": "2026-11-25T10:00:00Z"}]}


IS_TAKEN, IS_LEFT_BEHIND = _booked("Booking"), _booked("AccountNotFound")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("RenderPayment", {"phase": "Booking"}),
        ("RenderPayment", {"phase": "Booking", "accountUid": "a", **IS_TAKEN}),
        ("RenderPayment", {"phase": "Booking", **IS_LEFT_BEHIND}),
        ("RenderPayment", {"phase": "Booked"}),
        ("RenderPayment", {"phase": "Booked", "accountUid": "a", **IS_LEFT_BEHIND}),
        ("RenderAccount", {"balance": "0.01"}),
        ("RenderAccount", {"balance": "0.00", "reserved": "5"}),
        ("RenderAccount", {"balance": "0", "reserved": "0", "reservations": [RESERVATION]}),
        ("RenderAccount", {"booking": [{"uid": RESERVATION["sessionUid"], "name": "first"}]}),
    ],
)
def test_what_counts_is_not_deleted(scene: Scene, kind: str, status: Object) -> None:
    attempt = deleted(scene, kind, status)
    with pytest.raises(ForbiddenError, match="of the opposite amount"):
        attempt()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("RenderPayment", None),
        ("RenderPayment", {"phase": "Waiting"}),
        ("RenderPayment", {"phase": "Booking", "accountUid": "a", **IS_LEFT_BEHIND}),
        ("RenderPayment", {"phase": "Refused"}),
        ("RenderAccount", None),
        ("RenderAccount", {"balance": "0.00", "reserved": "0", "reservations": []}),
    ],
)
def test_what_does_not_count_may_go(scene: Scene, kind: str, status: Object | None) -> None:
    deleted(scene, kind, status)()


def test_the_books_namespace_is_not_deleted(scene: Scene) -> None:
    core = client.CoreV1Api(scene.server.api)
    with pytest.raises(client.ApiException, match="the books of DrQueue are in this namespace"):
        core.delete_namespace(scene.server.books)
    assert core.read_namespace(scene.server.books).status.phase == "Active"

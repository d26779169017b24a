"""Who may do what: every kind and verb of ours, for customers, ops and the operator's accounts.

The API server's own authorizer answers (SubjectAccessReview), with Kubernetes' own view, edit and
admin roles, into which the chart's customer roles are aggregated.
"""

from collections.abc import Iterator

import pytest
from kubernetes import client
from kubernetes.dynamic.exceptions import ForbiddenError

from tests.api.installed import Server, allowed, binding, chart_on, eventually

TENANTS = ("rendersessions", "renderjobs", "rendernodes", "rendernodeclasses")
BOOKS = ("renderaccounts", "renderpayments", "renderinvoices")
KINDS = (*TENANTS, *BOOKS)
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
READ = {"get", "list", "watch"}
WRITE = {"create", "update", "patch", "delete", "deletecollection"}
NONE: set[str] = set()

# who: (in the studio, in another tenant's, in the books' namespace), by kind
CUSTOMER_SEES = dict.fromkeys(TENANTS, READ)
CUSTOMER_EDITS = {
    **CUSTOMER_SEES,
    "rendersessions": READ | WRITE,
    "renderjobs": READ | WRITE,
}
CLASSES_ONLY = {"rendernodeclasses": READ}
OPS = {
    "rendersessions": READ | {"update", "patch", "delete"},
    "renderjobs": READ | {"update", "patch", "delete"},
    "rendernodes": READ,
    "rendernodeclasses": READ | {"create", "update", "patch", "delete"},
}
KEEPS_BOOKS = READ | {"create", "update", "patch", "delete"}
Rights = dict[str, set[str]]
MAY: dict[str, tuple[Rights, Rights, Rights]] = {
    "stranger": (CLASSES_ONLY, CLASSES_ONLY, CLASSES_ONLY),
    "viewer": (CUSTOMER_SEES, CLASSES_ONLY, CLASSES_ONLY),
    "editor": (CUSTOMER_EDITS, CLASSES_ONLY, CLASSES_ONLY),
    "admin": (CUSTOMER_EDITS, CLASSES_ONLY, CLASSES_ONLY),
    # everywhere, and nothing of the books anywhere
    "ops": (OPS, OPS, OPS),
    "billing": (
        CLASSES_ONLY,
        CLASSES_ONLY,
        {
            **CLASSES_ONLY,
            "renderaccounts": KEEPS_BOOKS,
            "renderpayments": KEEPS_BOOKS,
            "renderinvoices": READ,
        },
    ),
}


@pytest.fixture(scope="module")
def server(cluster, api_client: client.ApiClient) -> Iterator[Server]:  # type: ignore[no-untyped-def]
    with chart_on(cluster.kubeconfig, api_client) as made:
        yield made


@pytest.fixture(scope="module")
def studio(server: Server) -> Iterator[str]:
    """A namespace in which viewer, editor and admin have Kubernetes' own roles, and ops ours."""
    name = "test-rights-studio"
    server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    rbac = client.RbacAuthorizationV1Api(server.api)
    for user, role, namespace in (
        ("viewer", "view", name),
        ("editor", "edit", name),
        ("admin", "admin", name),
        ("billing", f"{server.role}:billing", server.books),
    ):
        rbac.create_namespaced_role_binding(namespace, binding(user, "ClusterRole", role))
    ops = binding("ops", "ClusterRole", f"{server.role}:ops")
    rbac.create_cluster_role_binding({**ops, "metadata": {"name": "test-rights-ops"}})
    # roles are aggregated by a controller, and both they and bindings heard of, a moment later
    for user, verb, kind, namespace in (
        ("viewer", "list", "rendernodes", name),
        ("editor", "create", "renderjobs", name),
        ("admin", "create", "renderjobs", name),
        ("billing", "create", "renderpayments", server.books),
        ("ops", "list", "rendersessions", name),
    ):
        eventually(
            lambda asked=(user, verb, kind, namespace): allowed(server, *asked),  # type: ignore[misc]
            f"the role of {user} in force",
        )
    yield name
    client.CoreV1Api(server.api).delete_namespace(name)
    rbac.delete_cluster_role_binding("test-rights-ops")


def verbs(
    server: Server, user: str, kind: str, namespace: str | None, subresource: str = ""
) -> set[str]:
    where = None if kind == "rendernodeclasses" else namespace
    return {v for v in VERBS if allowed(server, user, v, kind, where, subresource=subresource)}


def test_ops_may_do_what_their_guide_says(server: Server, studio: str) -> None:
    """docs/operations.md: `kubectl get drqueue -A`, `logs deployment/…`, `logs job/…`."""
    crds = client.ApiextensionsV1Api(server.api).list_custom_resource_definition().items
    ours = [crd.spec.names for crd in crds if "drqueue" in (crd.spec.names.categories or ())]
    assert len(ours) == 4
    for names in ours:
        assert allowed(server, "ops", "list", names.plural, None), names.plural
    for group, resource, subresource in (
        ("apps", "deployments", ""),
        ("batch", "jobs", ""),
        ("", "pods", ""),
        ("", "pods", "log"),
    ):
        for namespace in (server.namespace, studio):
            assert allowed(
                server, "ops", "get", resource, namespace, subresource=subresource, group=group
            ), resource


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("user", MAY)
def test_verbs(server: Server, studio: str, user: str, kind: str) -> None:
    own, other, books = MAY[user]
    assert verbs(server, user, kind, studio) == own.get(kind, NONE)
    assert verbs(server, user, kind, "default") == other.get(kind, NONE)
    assert verbs(server, user, kind, server.books) == books.get(kind, NONE)


@pytest.mark.parametrize("subresource", ["status", "finalizers", "scale"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("user", MAY)
def test_nobody_writes_statuses(
    server: Server, studio: str, user: str, kind: str, subresource: str
) -> None:
    for namespace in (studio, server.books):
        assert verbs(server, user, kind, namespace, subresource) == NONE


def test_a_refusal_reaches_the_customer(server: Server, studio: str) -> None:
    """The table above asks the authorizer; this sends the request itself."""
    with server.speaking_as("editor") as speaker:
        nodes = speaker.resources.get(api_version="drqueue.org/v1alpha1", kind="RenderNode")
        with pytest.raises(ForbiddenError, match='cannot create resource \\\\"rendernodes'):
            nodes.create(body={"metadata": {"name": "own"}, "spec": {}}, namespace=studio)


def test_frames_are_read_by_pods_exec(server: Server, studio: str) -> None:
    """`drqueue job download` goes by exec, with the customer's own right."""
    assert allowed(server, "editor", "create", "pods", studio, subresource="exec", group="")
    assert not allowed(server, "viewer", "create", "pods", studio, subresource="exec", group="")


OPERATOR_NEVER = [
    ("create", "rendersessions", ""),
    ("create", "renderjobs", ""),
    ("create", "rendernodeclasses", ""),
    ("delete", "rendersessions", ""),
    ("delete", "rendernodeclasses", ""),
    ("deletecollection", "renderjobs", ""),
    ("deletecollection", "rendernodes", ""),
    *((verb, kind, "") for verb in sorted(WRITE) for kind in ("renderaccounts", "renderpayments")),
    *((verb, "renderinvoices", "") for verb in sorted(WRITE - {"create"})),
]


@pytest.mark.parametrize(("verb", "kind", "subresource"), OPERATOR_NEVER)
def test_the_operator_makes_nothing_in_a_customers_name(
    server: Server, studio: str, verb: str, kind: str, subresource: str
) -> None:
    for namespace in (studio, server.books):
        assert not allowed(server, server.operator, verb, kind, namespace, subresource=subresource)


@pytest.mark.parametrize("kind", BOOKS)
@pytest.mark.parametrize("which", ["operator", "uninstall"])
def test_books_are_read_where_they_are_and_nowhere_else(
    server: Server, studio: str, which: str, kind: str
) -> None:
    account = getattr(server, which)
    assert verbs(server, account, kind, studio) == NONE
    expected = {"get", "create"} if kind == "renderinvoices" else READ
    found = verbs(server, account, kind, server.books)
    assert found == (expected if which == "operator" else NONE)


@pytest.mark.parametrize("which", ["operator", "uninstall"])
def test_no_account_of_ours_reaches_beyond(server: Server, studio: str, which: str) -> None:
    account = getattr(server, which)
    rbac = "rbac.authorization.k8s.io"
    beyond = [
        ("create", "clusterrolebindings", rbac),
        ("create", "rolebindings", rbac),
        ("update", "clusterroles", rbac),
        ("create", "serviceaccounts", ""),
        ("impersonate", "users", ""),
        ("delete", "namespaces", ""),
        ("create", "deployments", "apps"),
        ("update", "validatingadmissionpolicies", "admissionregistration.k8s.io"),
        ("patch", "customresourcedefinitions", "apiextensions.k8s.io"),
    ]
    for verb, resource, group in beyond:
        assert not allowed(server, account, verb, resource, studio, group=group), (verb, resource)
    assert not allowed(server, account, "create", "pods", studio, subresource="exec", group="")

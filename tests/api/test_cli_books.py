"""The examples of docs/billing.md, and the command line on books that a real API server guards."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from drqueue.cli.exits import Exit
from drqueue.cli.main import cli
from kubernetes import client
from kubernetes.dynamic.exceptions import ApiException, ForbiddenError

from tests.api.installed import Server, binding, chart_on, eventually

EXAMPLES = Path(__file__).parents[2] / "examples" / "billing"
BOOKS_IN_EXAMPLES = "drqueue-system-billing"

Object = dict[str, Any]
Program = Callable[..., Result]


@pytest.fixture(scope="module")
def server(cluster, api_client: client.ApiClient) -> Iterator[Server]:  # type: ignore[no-untyped-def]
    with chart_on(cluster.kubeconfig, api_client) as made:
        rbac = client.RbacAuthorizationV1Api(api_client)
        keeper = binding("keeper", "ClusterRole", f"{made.role}:billing")
        rbac.create_namespaced_role_binding(made.books, keeper)
        # as docs/install.md gives one account to a customer
        rule = {
            "apiGroups": ["drqueue.org"],
            "resources": ["renderaccounts"],
            "verbs": ["get"],
            "resourceNames": ["studio-a"],
        }
        role = {"metadata": {"name": "studio-a"}, "rules": [rule]}
        rbac.create_namespaced_role(made.books, role)
        rbac.create_namespaced_role_binding(made.books, binding("ann", "Role", "studio-a"))
        yield made


def example(name: str, server: Server, tenant: str) -> Object:
    """Read an example; its namespaces become those of this test."""
    [path] = EXAMPLES.glob(f"*-{name}.yaml")
    obj: Object = yaml.safe_load(path.read_text("utf-8"))
    where = {BOOKS_IN_EXAMPLES: server.books, "studio-a": tenant}
    meta = obj["metadata"]
    if "namespace" in meta:
        meta["namespace"] = where[meta["namespace"]]
    if "namespaces" in obj["spec"]:
        obj["spec"]["namespaces"] = [where[n] for n in obj["spec"]["namespaces"]]
    return obj


def create(server: Server, user: str, obj: Object, **options: Any) -> Object:
    """Create as that user; empty: with every right. Unknown fields are refused."""
    with server.speaking_as(user or "root", "" if user else "system:masters") as api:
        kind = api.resources.get(api_version=obj["apiVersion"], kind=obj["kind"])
        namespace = obj["metadata"].get("namespace")
        strict = {"query_params": [("fieldValidation", "Strict")], **options}
        made: Object = kind.create(body=obj, namespace=namespace, **strict).to_dict()
        return made


def set_status(server: Server, obj: Object, status: Object) -> None:
    """Write a status, as the operator does."""
    with server.speaking_as(server.operator) as api:
        kind = api.resources.get(api_version=obj["apiVersion"], kind=obj["kind"])
        meta = obj["metadata"]
        held = kind.get(name=meta["name"], namespace=meta["namespace"]).to_dict()
        body = {**held, "status": {"observedGeneration": 1, **status}}
        kind.status.replace(body=body, name=meta["name"], namespace=meta["namespace"])


@pytest.fixture(scope="module")
def tenant(server: Server) -> Iterator[str]:
    core = client.CoreV1Api(server.api)
    made = core.create_namespace({"metadata": {"generateName": "test-"}}).metadata.name
    yield made
    core.delete_namespace(made)


@pytest.fixture(scope="module")
def books(server: Server, tenant: str) -> Iterator[Object]:
    """Apply the examples as those who write them; give them by name."""
    found = {name: example(name, server, tenant) for name in ("account", "payment", "correction")}
    made = {name: create(server, "keeper", obj) for name, obj in found.items()}
    node_class = create(server, "", example("priced-class", server, tenant))
    made["session"] = create(server, "", example("session", server, tenant))
    yield {**made, "priced-class": node_class}
    objects = client.CustomObjectsApi(server.api)
    objects.delete_cluster_custom_object(
        "drqueue.org", "v1alpha1", "rendernodeclasses", node_class["metadata"]["name"]
    )


@pytest.fixture
def program(server: Server, tmp_path: Path) -> Program:
    """Run the program with the rights that a user has in the books."""

    def run(user: str, *arguments: str, namespace: str | None = None) -> Result:
        chosen = ["--kubeconfig", str(kubeconfig_of(server, user, tmp_path)), *arguments]
        if namespace is not None:
            chosen += ["--billing-namespace", namespace]
        result = CliRunner().invoke(cli, chosen)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def kubeconfig_of(server: Server, user: str, folder: Path) -> Path:
    """Write a kubeconfig for a service account that has the same rights as that user."""
    core, rbac = client.CoreV1Api(server.api), client.RbacAuthorizationV1Api(server.api)
    account = f"as-{user}"
    try:
        core.create_namespaced_service_account(server.books, {"metadata": {"name": account}})
    except client.ApiException as error:
        if error.status != 409:
            raise
    else:
        for held in rbac.list_namespaced_role_binding(server.books).items:
            if any(subject.name == user for subject in held.subjects or ()):
                subject = {"kind": "ServiceAccount", "name": account, "namespace": server.books}
                role = held.role_ref.to_dict()
                copy = {
                    "metadata": {"name": account},
                    "roleRef": {
                        "apiGroup": role["api_group"],
                        "kind": role["kind"],
                        "name": role["name"],
                    },
                    "subjects": [subject],
                }
                rbac.create_namespaced_role_binding(server.books, copy)
    token = core.create_namespaced_service_account_token(account, server.books, {"spec": {}})
    config = yaml.safe_load(server.kubeconfig.read_text("utf-8"))
    for entry in config["users"]:
        entry["user"] = {"token": token.status.token}
    path = folder / f"{user}.kubeconfig"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


# the examples --------------------------------------------------------------------------------


def test_every_example_is_tried(books: Object) -> None:
    names = {path.stem.partition("-")[2] for path in EXAMPLES.glob("*.yaml")}
    assert names == set(books)


def test_examples_are_refused_to_those_who_may_not(
    server: Server, tenant: str, books: Object
) -> None:
    for name in ("account", "payment", "correction"):
        for user in ("ann", "nobody"):
            with pytest.raises(ForbiddenError):
                create(server, user, example(name, server, tenant))
    for name in ("account", "payment"):
        elsewhere = example(name, server, tenant)
        elsewhere["metadata"]["namespace"] = tenant
        with pytest.raises(ApiException) as refused:
            create(server, "", elsewhere)
        assert server.books in str(refused.value.body)


@pytest.mark.parametrize(
    ("slip", "said"),
    [
        (("payment", "amount", "0"), "zero is no payment"),
        (("payment", "amount", "12,50"), "write decimal text"),
        (("payment", "currency", "Euro"), "Too long"),
        (("account", "currency", "eur"), "three capital letters"),
        (("priced-class", "price.machinePerHour", "-1"), "no sign"),
        (("priced-class", "idle.shutdownBefore", "2h"), "write a shorter time"),
        (("session", "priority", 101), "less than or equal to 100"),
        (("session", "idlePolicy", "Sleep"), "supported values"),
    ],
)
def test_slips_in_the_examples_are_told_by_field(
    server: Server, tenant: str, slip: tuple[str, str, object], said: str
) -> None:
    name, path, value = slip
    obj = example(name, server, tenant)
    obj["metadata"]["name"] = "slip"
    target = obj["spec"]
    *parents, last = path.split(".")
    for part in parents:
        target = target[part]
    target[last] = value
    with pytest.raises(ApiException) as refused:
        create(server, "", obj, dry_run="All")
    told = json.loads(refused.value.body)
    causes = [(c["field"], c["message"]) for c in told["details"]["causes"]]
    assert any(field == f"spec.{path}" and said in why for field, why in causes), causes


def test_the_books_are_not_rewritten_by_those_who_keep_them(server: Server, books: Object) -> None:
    payment = books["payment"]
    meta = payment["metadata"]
    where = {"name": meta["name"], "namespace": meta["namespace"]}
    with server.speaking_as("keeper") as api:
        payments = api.resources.get(api_version="drqueue.org/v1alpha1", kind="RenderPayment")
        change = {"spec": {"amount": "1000.00"}}
        merge = "application/merge-patch+json"
        with pytest.raises(ApiException) as refused:
            payments.patch(body=change, content_type=merge, **where)
        assert "opposite amount" in str(refused.value.body)
        set_status(server, payment, {"phase": "Booked", "bookedAt": "2026-11-25T10:00:00Z"})
        with pytest.raises(ForbiddenError) as refused:
            payments.delete(**where)
        assert "never deleted" in str(refused.value.body)


# the command line ------------------------------------------------------------------------------


def test_a_quote_takes_no_right_but_to_read_classes(
    server: Server, books: Object, program: Program
) -> None:
    asked = ("--class", "cpu-paid", "--nodes", "2", "--render-time", "4h")
    result = program("nobody", "quote", *asked, "-o", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["total"], found["currency"]) == ("4.80", "EUR")
    assert [part["amount"] for part in found["parts"]] == ["4.00", "0.80"]


def test_a_session_names_who_pays(tenant: str, server: Server) -> None:
    base = ["--kubeconfig", str(server.kubeconfig), "-n", tenant, "session", "create", "by-hand"]
    base += ["--class", "cpu-paid", "--nodes", "2", "--render-time", "4h"]
    chosen = ["--account", "studio-a", "--idle-policy", "Park", "--priority", "0", "-o", "json"]
    made = json.loads(CliRunner().invoke(cli, [*base, *chosen]).stdout)
    fields = {"accountName": "studio-a", "idlePolicy": "Park", "priority": 0}
    assert {name: made["spec"][name] for name in fields} == fields
    for wrong, said in (
        (["--account", "Studio A"], "accountName"),
        (["--priority", "101"], "0<=x<=100"),
        (["--idle-policy", "Sleep"], "'Sleep' is not one of"),
    ):
        result = CliRunner().invoke(cli, [*base, *wrong])
        assert result.exit_code in (Exit.USAGE, Exit.REFUSED)
        assert said in result.stderr


def test_a_statement_of_booked_payments_and_a_reservation(
    server: Server, tenant: str, books: Object, program: Program
) -> None:
    account, session = books["account"], books["session"]
    set_status(server, books["payment"], {"phase": "Booked", "bookedAt": "2026-11-25T10:00:00Z"})
    set_status(server, books["correction"], {"phase": "Waiting"})
    terms = {
        **{"id": "t1", "currency": "EUR", "machinePerHour": "0.5", "servicePerHour": "0.1"},
        **{"discounts": [], "rounding": "HalfUp", "minimum": "1", "unused": "Refund"},
    }
    reservation = {
        **{"sessionUid": session["metadata"]["uid"], "namespace": tenant, "generation": 1},
        **{"sessionName": "paid-teapots", "className": "cpu-paid", "nodes": 2, "seconds": 28_800},
        **{"amount": "4.80", "terms": "t1"},
    }
    status = {"paid": "100.00", "invoiced": "0.00", "reserved": "4.80", "balance": "95.20"}
    whole = {**status, "reservations": [reservation], "terms": [terms]}
    set_status(server, account, whole)
    keeper = ("keeper", "account", "statement", "studio-a", "-o", "json")
    eventually(
        lambda: program(*keeper, namespace=server.books).exit_code == 0,
        "the right to read the books",
    )
    result = program(*keeper, namespace=server.books)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [(line["kind"], line["amount"], line["balance"]) for line in found["lines"]] == [
        ("payment", "100.00", "100.00"),
        ("reservation", "-4.80", "95.20"),
    ]
    assert [p["amount"] for p in found["openPayments"]] == ["-100.00"]
    assert "studio-a" in program("keeper", "account", "list", namespace=server.books).stdout
    shown = program("keeper", "account", "show", "studio-a", namespace=server.books)
    assert "95.20 EUR" in shown.stdout
    # and a cent that nobody can account for
    set_status(server, account, {**whole, "balance": "95.21"})
    result = program(*keeper, namespace=server.books)
    assert result.exit_code == Exit.BOOKS_DIFFER
    assert "status.balance is 95.21, its parts add up to 95.20" in result.stderr
    set_status(server, account, whole)


def test_a_customer_sees_the_one_account_that_they_were_given(
    server: Server, books: Object, program: Program
) -> None:
    eventually(
        lambda: (
            program("ann", "account", "show", "studio-a", namespace=server.books).exit_code == 0
        ),
        "the right to get the account",
    )
    for command, right in (
        (("list",), "list renderaccounts.drqueue.org"),
        (("show", "studio-b"), "get renderaccounts.drqueue.org 'studio-b'"),
        (("statement", "studio-a"), "list renderpayments.drqueue.org"),
    ):
        result = program("ann", "account", *command, namespace=server.books)
        assert result.exit_code == Exit.CLUSTER
        assert f"the right to {right} in namespace {server.books} is missing" in result.stderr


def test_who_may_not_look_everywhere_is_told_where_was_looked(
    server: Server, books: Object, program: Program
) -> None:
    result = program("nobody", "account", "show", "studio-a")
    assert result.exit_code == Exit.CLUSTER
    assert f"in namespace {BOOKS_IN_EXAMPLES} is missing" in result.stderr
    assert "--billing-namespace" in result.stderr

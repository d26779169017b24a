"""The chart, rendered with every option: what it refuses, and what its pods and rights may be."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from drqueue.api.names import FINALIZER, POD_FINALIZER
from drqueue.control.metrics import Metrics
from drqueue.control.settings import Settings
from drqueue.control.store import Store

from helm.chart import Helm, HelmError, Object
from helm.values import SCHEMA, VALUES, Values, schema

NODE_CLASS = {
    "name": "cpu-small",
    "labels": {"team": "render"},
    "spec": {
        "provider": {"kubernetes": {"resources": {"cores": 2, "memory": "4Gi"}}},
        "renderers": ["povray"],
        "drainGrace": "5m",
    },
}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "standby": {"replicas": 2},
    "names": {"nameOverride": "farm", "fullnameOverride": "the-farm"},
    "images": {
        "images": {
            "registry": "registry.example.org:5000/render",
            "pullPolicy": "Always",
            "pullSecrets": ["one", "two"],
            "operator": {"repository": "op", "tag": "v1"},
            "slave": {"repository": "sl", "digest": "sha256:" + "a" * 64},
        }
    },
    "namespaces": {"watchNamespaces": ["studio-a", "studio-b"]},
    "farm": {
        "storageClassName": "fast",
        "leaseSeconds": 30,
        "sweepSeconds": 60,
        "apiQps": 500,
        "logFormat": "plain",
        "masterResources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
        "resources": {"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}},
    },
    "placement": {
        "podAnnotations": {"example.org/a": "b"},
        "podLabels": {"example.org/c": "d"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "farm", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "serviceAccount": {"name": "render", "annotations": {"example.org/role": "x"}},
    },
    "no roles": {
        "roles": {
            "customers": False,
            "ops": False,
            "billing": False,
            "nodeClassReaders": {"groups": []},
        }
    },
    "no extras": {
        "crds": {"install": False},
        "policies": {"finalizers": False, "statuses": False, "books": False},
        "billing": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "uninstall": {"enabled": False},
    },
    "network": {
        "networkPolicy": {
            "apiServerPorts": [6443],
            "apiServerCidrs": ["10.0.0.1/32"],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        }
    },
    "monitoring": {
        "monitoring": {
            "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prom"}},
            "alerts": {"enabled": True, "labels": {"release": "prom"}},
            "dashboard": {"enabled": True, "annotations": {"folder": "Farms"}},
        }
    },
    "uninstall": {"uninstall": {"timeoutSeconds": 60}},
    "books elsewhere": {"billing": {"namespace": "books", "createNamespace": False}},
    "free": {"billing": {"enabled": False}, "policies": {"podStatusWriters": ["virtual"]}},
    "dry run": {"dryRun": True},
    "node classes": {"nodeClasses": [NODE_CLASS]},
    "as a subchart": {"global": {"anything": "goes"}},
}


@pytest.fixture(scope="module")
def helm() -> Helm:
    return Helm()


@pytest.fixture(scope="module")
def rendered(helm: Helm) -> dict[str, list[Object]]:
    return {name: helm.template(values) for name, values in OPTIONS.items()}


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [obj for obj in objects if obj["kind"] == kind]


def named(objects: list[Object], kind: str, end: str) -> Object:
    """The one object of the kind whose name ends so."""
    found = [
        o for o in of_kind(objects, kind) if re.split("[-:]", o["metadata"]["name"])[-1] == end
    ]
    assert len(found) == 1, (kind, end, found)
    return found[0]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for obj in objects:
        if obj["kind"] in ("Deployment", "Job"):
            yield f"{obj['kind']}/{obj['metadata']['name']}", obj["spec"]["template"]["spec"]


def rights(role: Object) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_lint(helm: Helm) -> None:
    helm.lint()


def test_every_value_is_tried() -> None:
    """A value that no option above sets would be a template line that nothing renders."""
    tried = {key for values in OPTIONS.values() for key in values}
    assert tried == {field.alias for field in Values.model_fields.values()}


def test_values_are_the_model() -> None:
    found = yaml.safe_load(VALUES.read_text())
    assert Values.model_validate(found) == Values()
    written = Values().model_dump(by_alias=True, exclude_none=True, exclude={"global_"})
    assert found == written, "values.yaml leaves out, or adds, what helm/values.py has"


def test_schema_is_up_to_date() -> None:
    assert json.loads(SCHEMA.read_text()) == schema(), "run `make chart-schema`"


def closed(node: Any, path: str = "#") -> Iterator[str]:
    """Paths of objects in a schema that let unknown keys in."""
    if isinstance(node, dict):
        if "properties" in node and node.get("additionalProperties") is not False:
            yield path
        for key, value in node.items():
            yield from closed(value, f"{path}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from closed(value, f"{path}/{index}")


def test_no_object_of_the_schema_is_open() -> None:
    assert list(closed(schema())) == []


def levels(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for key, value in node.items():
        # maps of labels and annotations, and `affinity`, take any key
        if isinstance(value, dict) and value and not key.endswith(("abels", "nnotations")):
            yield from levels(value, (*path, key))


@pytest.mark.parametrize("path", list(levels(yaml.safe_load(VALUES.read_text()))), ids=".".join)
def test_a_typo_is_refused_at_every_level(helm: Helm, path: tuple[str, ...]) -> None:
    values: dict[str, Any] = {}
    level = values
    for key in path:
        level = level.setdefault(key, {})
    level["replcas"] = 2
    with pytest.raises(HelmError, match="additional properties 'replcas' not allowed"):
        helm.template(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 3}, "/replicas"),
        ({"replicas": 0}, "/replicas"),
        ({"apiQps": 0}, "/apiQps"),
        ({"leaseSeconds": "60s"}, "/leaseSeconds"),
        ({"logFormat": "xml"}, "/logFormat"),
        ({"images": {"pullPolicy": "Sometimes"}}, "/images/pullPolicy"),
        ({"images": {"operator": {"digest": "abc"}}}, "/images/operator/digest"),
        ({"watchNamespaces": ["Studio_A"]}, "/watchNamespaces/0"),
        ({"billing": {"namespace": "The_Books"}}, "/billing/namespace"),
        ({"dryRun": "yes"}, "/dryRun"),
        ({"resources": {"limits": {"memory": "lots"}}}, "/resources/limits/memory"),
        ({"nodeClasses": [{"name": "x"}]}, "spec"),
        ({"nodeClasses": [{"name": "x", "spec": {"provder": {}}}]}, "provder"),
        (
            {"nodeClasses": [{"name": "x", "spec": {"provider": {"kubernetes": {"img": "a"}}}}]},
            "img",
        ),
    ],
)
def test_a_wrong_value_is_refused(helm: Helm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmError, match="values don't meet the specifications") as refused:
        helm.template(values)
    assert said in str(refused.value)


def stays(obj: Object, values: dict[str, Any]) -> bool:
    """Whether `helm uninstall` leaves it: the kinds, the books and what guards them."""
    if obj["kind"] in ("CustomResourceDefinition", "Namespace"):
        return True
    guards = obj["kind"].startswith("ValidatingAdmissionPolicy")
    with_billing = values.get("billing", {}).get("enabled", True)
    return guards and with_billing and not obj["metadata"]["name"].endswith("-finalizers")


@pytest.mark.parametrize("option", OPTIONS)
def test_objects_are_whole(rendered: dict[str, list[Object]], option: str) -> None:
    seen = set()
    for obj in rendered[option]:
        meta = obj["metadata"]
        name = (obj["apiVersion"], obj["kind"], meta.get("namespace"), meta["name"])
        assert name not in seen
        seen.add(name)
        kept = meta.get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        assert kept == stays(obj, OPTIONS[option]), name
        if obj["kind"] == "CustomResourceDefinition":
            continue
        assert meta["labels"]["app.kubernetes.io/part-of"] == "drqueue"
        if "helm.sh/hook" in meta.get("annotations", {}):
            assert "before-hook-creation" in meta["annotations"]["helm.sh/hook-delete-policy"]
    assert seen


@pytest.mark.parametrize("option", OPTIONS)
def test_pods_are_restricted(rendered: dict[str, list[Object]], option: str) -> None:
    found = list(pods(rendered[option]))
    assert found
    for name, spec in found:
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] == 10001, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert all("hostPath" not in volume for volume in spec["volumes"]), name
        for container in spec["containers"]:
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False, name
            assert inner["readOnlyRootFilesystem"] is True, name
            assert inner["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["requests"], name


@pytest.mark.parametrize("option", OPTIONS)
def test_no_right_is_a_wildcard(rendered: dict[str, list[Object]], option: str) -> None:
    for obj in rendered[option]:
        if obj["kind"] in ("ClusterRole", "Role"):
            assert not {part for right in rights(obj) for part in right if "*" in part}
            # impersonation, escalation and the writing of roles would be ways around all of this
            verbs = {verb for _, _, verb in rights(obj)}
            assert not verbs & {"impersonate", "escalate", "bind"}


def test_images(rendered: dict[str, list[Object]]) -> None:
    prefix = "registry.example.org:5000/render"
    for name, spec in pods(rendered["images"]):
        container = spec["containers"][0]
        assert container["image"] == f"{prefix}/op:v1", name
        assert container["imagePullPolicy"] == "Always", name
        assert spec["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}], name
    env = environment(rendered["images"])
    assert env["DRQUEUE_OPERATOR_IMAGE"] == f"{prefix}/op:v1"
    assert env["DRQUEUE_SLAVE_IMAGE"] == f"{prefix}/sl@sha256:{'a' * 64}"
    assert env["DRQUEUE_IMAGE_PULL_SECRETS"] == "one,two"
    assert environment(rendered["defaults"])["DRQUEUE_OPERATOR_IMAGE"] == "drqueue/operator:0.1.0"


def environment(objects: list[Object]) -> dict[str, str]:
    deployment = of_kind(objects, "Deployment")[0]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {e["name"]: e.get("value", "from-pod") for e in container["env"]}


def test_two_replicas_keep_one_through_a_drain(rendered: dict[str, list[Object]]) -> None:
    assert of_kind(rendered["defaults"], "PodDisruptionBudget") == []
    budget = of_kind(rendered["standby"], "PodDisruptionBudget")[0]
    deployment = of_kind(rendered["standby"], "Deployment")[0]
    assert budget["spec"]["minAvailable"] == 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    for option in ("defaults", "standby"):
        strategy = of_kind(rendered[option], "Deployment")[0]["spec"]["strategy"]
        assert strategy["rollingUpdate"]["maxUnavailable"] == 0


def test_selectors_find_the_operator_only(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["node classes"]
    wanted = of_kind(objects, "Service")[0]["spec"]["selector"].items()
    for obj in objects:
        if obj["kind"] in ("Deployment", "Job"):
            labels = obj["spec"]["template"]["metadata"]["labels"].items()
            assert (wanted <= labels) == (obj["kind"] == "Deployment")


def test_watched_namespaces_bound_one_by_one(rendered: dict[str, list[Object]]) -> None:
    def bound(option: str, kind: str) -> set[tuple[str | None, str]]:
        return {
            (b["metadata"].get("namespace"), b["roleRef"]["name"])
            for b in of_kind(rendered[option], kind)
            if b["roleRef"]["name"].endswith(":tenants")
        }

    role = "drqueue-system:drqueue-operator:tenants"
    assert bound("defaults", "ClusterRoleBinding") == {(None, role)}
    assert bound("defaults", "RoleBinding") == set()
    assert bound("namespaces", "ClusterRoleBinding") == set()
    assert bound("namespaces", "RoleBinding") == {("studio-a", role), ("studio-b", role)}
    assert environment(rendered["namespaces"])["DRQUEUE_WATCH_NAMESPACES"] == "studio-a,studio-b"
    guarded = {
        binding["metadata"]["name"].rsplit("-", 1)[1]: binding["spec"]["matchResources"][
            "namespaceSelector"
        ]["matchExpressions"][0]["values"]
        for binding in of_kind(rendered["namespaces"], "ValidatingAdmissionPolicyBinding")
    }
    tenants = ["studio-a", "studio-b"]
    with_books = [*tenants, "drqueue-system-billing"]
    assert guarded == {
        "finalizers": tenants,
        **dict.fromkeys(("books", "statuses", "nodes", "evidence"), with_books),
    }
    # cluster-scoped, so that no selector would keep it to this release
    statuses = named(rendered["namespaces"], "ValidatingAdmissionPolicy", "statuses")
    guarded_kinds = statuses["spec"]["matchConstraints"]["resourceRules"][0]["resources"]
    assert "rendernodeclasses/status" not in guarded_kinds


@pytest.mark.parametrize("option", [o for o in OPTIONS if o != "no extras"])
def test_the_policies_name_accounts_that_are_there(
    rendered: dict[str, list[Object]], option: str
) -> None:
    objects = rendered[option]
    deployment = of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]
    hook = next(spec for name, spec in pods(objects) if name.endswith("-uninstall"))
    both = {deployment["serviceAccountName"], hook["serviceAccountName"]}
    assert both <= {a["metadata"]["name"] for a in of_kind(objects, "ServiceAccount")}
    for policy in of_kind(objects, "ValidatingAdmissionPolicy"):
        conditions = policy["spec"].get("matchConditions", ())
        rules = [*conditions, *policy["spec"]["validations"]]
        text = " ".join(rule["expression"] for rule in rules)
        named_users = set(re.findall(r"'system:serviceaccount:drqueue-system:([^']*)'", text))
        books = policy["metadata"]["name"].endswith("-books")
        assert named_users == ({deployment["serviceAccountName"]} if books else both)
    policy = named(objects, "ValidatingAdmissionPolicy", "finalizers")
    ours = next(v["expression"] for v in policy["spec"]["variables"] if v["name"] == "ours")
    assert ours == f"['{FINALIZER}', '{POD_FINALIZER}']"


def test_customers_write_sessions_and_jobs_only(rendered: dict[str, list[Object]]) -> None:
    roles = {
        r["metadata"]["name"].rsplit(":", 1)[1]: r
        for r in of_kind(rendered["defaults"], "ClusterRole")
    }
    writing = {(res, verb) for _, res, verb in rights(roles["customer-edit"])}
    assert {res for res, _ in writing} == {"rendersessions", "renderjobs"}
    assert {verb for _, _, verb in rights(roles["customer-view"])} == {"get", "list", "watch"}
    aggregated = {
        name: {
            label.removeprefix("rbac.authorization.k8s.io/aggregate-to-")
            for label in role["metadata"]["labels"]
            if "aggregate-to" in label
        }
        for name, role in roles.items()
    }
    assert aggregated == {
        **{name: set() for name in roles},
        "customer-view": {"view", "edit", "admin"},
        "customer-edit": {"edit", "admin"},
    }


BOOKS = {"renderaccounts", "renderpayments", "renderinvoices"}


def test_billing_is_apart_from_ops_and_customers(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["defaults"]
    billing = rights(named(objects, "ClusterRole", "billing"))
    read = {"get", "list", "watch"}
    write = {"create", "update", "patch", "delete"}
    allowed = dict.fromkeys(("renderaccounts", "renderpayments"), read | write)
    allowed |= dict.fromkeys(("renderinvoices", "events"), read)
    assert billing == {
        (group, resource, verb)
        for resource, verbs in allowed.items()
        for group in (("", "events.k8s.io") if resource == "events" else ("drqueue.org",))
        for verb in verbs
    }
    for role in (*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")):
        # the operator's own is a Role, in the billing namespace
        mine = role is named(objects, "ClusterRole", "billing") or role["kind"] == "Role"
        assert mine or not {r for _, r, _ in rights(role) if r.split("/")[0] in BOOKS}


@pytest.mark.parametrize(
    ("option", "namespace"),
    [("defaults", "drqueue-system-billing"), ("books elsewhere", "books")],
)
def test_the_operators_rights_on_books_are_in_their_namespace(
    rendered: dict[str, list[Object]], option: str, namespace: str
) -> None:
    objects = rendered[option]
    role, binding = named(objects, "Role", "books"), named(objects, "RoleBinding", "books")
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == namespace
    assert environment(objects)["DRQUEUE_BILLING_NAMESPACE"] == namespace
    books = named(objects, "ValidatingAdmissionPolicy", "books")["spec"]
    assert f"request.namespace == '{namespace}'" in str(books["validations"])
    assert {"get", "list", "watch", "create", "update"} == {v for _, _, v in rights(role)}
    made = {n["metadata"]["name"] for n in of_kind(objects, "Namespace")}
    assert made == ({namespace} if option == "defaults" else set())


def test_without_billing_the_farm_is_free_and_old_books_are_safe(
    rendered: dict[str, list[Object]],
) -> None:
    objects = rendered["free"]
    assert environment(objects)["DRQUEUE_BILLING_NAMESPACE"] == ""
    assert of_kind(objects, "Namespace") == []
    names = {o["metadata"]["name"] for o in objects if "Role" in o["kind"]}
    assert not [n for n in names if n.endswith((":billing", "-books"))]
    assert named(objects, "ValidatingAdmissionPolicy", "books")
    evidence = named(objects, "ValidatingAdmissionPolicy", "evidence")
    assert ", 'virtual'])" in str(evidence["spec"]["matchConditions"])


def test_books_are_not_kept_in_a_tenants_namespace(helm: Helm) -> None:
    values = {"watchNamespaces": ["studio-a"], "billing": {"namespace": "studio-a"}}
    with pytest.raises(HelmError, match="choose a namespace in which no tenant has rights"):
        helm.template(values)


def test_books_in_the_releases_own_namespace_bring_none(helm: Helm) -> None:
    """Helm would take a namespace that it did not make for someone else's."""
    objects = helm.template({"billing": {"namespace": helm.namespace}})
    assert of_kind(objects, "Namespace") == []


def test_options_leave_out_what_they_say(rendered: dict[str, list[Object]]) -> None:
    kinds = {obj["kind"] for obj in rendered["no extras"]}
    assert not kinds & {"CustomResourceDefinition", "ValidatingAdmissionPolicy", "NetworkPolicy"}
    assert not [o for o in rendered["no extras"] if o["metadata"]["name"].endswith("uninstall")]
    names = {o["metadata"]["name"] for o in rendered["no roles"]}
    ends = (":ops", ":billing", ":customer-view", ":node-class-reader")
    assert not [n for n in names if n.endswith(ends)]


def test_node_classes_are_applied_after_install_only_where_there_are_some(
    rendered: dict[str, list[Object]],
) -> None:
    def events(option: str) -> str:
        job = next(
            j for j in of_kind(rendered[option], "Job") if "node-classes" in j["metadata"]["name"]
        )
        hook: str = job["metadata"]["annotations"]["helm.sh/hook"]
        return hook

    assert events("defaults") == "post-upgrade,post-rollback"
    assert events("node classes") == "post-install,post-upgrade,post-rollback"


def test_long_names_stay_labels(helm: Helm) -> None:
    long = Helm(release="r" * 53, namespace="n" * 60, executable=helm.executable)
    for obj in long.template({"watchNamespaces": ["t"]}):
        name = obj["metadata"]["name"]
        limit = 253 if obj["kind"] not in ("Service", "Job", "Deployment", "ServiceAccount") else 63
        assert len(name) <= limit, name


def metric_names() -> set[str]:
    """What a scrape of the operator answers, sample by sample."""
    metrics = Metrics()
    store = Store(lambda: 0.0)
    metrics.watch_queue(lambda: 0, lambda: 0)
    metrics.watch_store(store)
    metrics.reconciled("RenderJob", "done", 0.1)
    metrics.requested("get", "Pod", 200)
    families = list(metrics.registry.collect())
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    return {family.name + end for family in families for end in suffixes.get(family.type, [""])}


def test_dashboard_and_alerts_ask_for_metrics_that_are_there(
    rendered: dict[str, list[Object]],
) -> None:
    objects = rendered["monitoring"]
    dashboard = json.loads(
        next(o for o in objects if o["metadata"]["name"].endswith("-dashboard"))["data"][
            "drqueue.json"
        ]
    )
    asked = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    rules = of_kind(objects, "PrometheusRule")[0]["spec"]["groups"][0]["rules"]
    asked += [rule["expr"] for rule in rules]
    found = {name for expr in asked for name in re.findall(r"drqueue_\w+", expr)}
    assert found <= metric_names(), "no such metric"
    # the other way round: what is measured is shown
    bases = {re.sub("_(bucket|count|sum)$", "", name) for name in metric_names()}
    assert bases == {re.sub("_(bucket|count|sum)$", "", name) for name in found}


def test_service_monitor_scrapes_the_service(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["monitoring"]
    monitor = of_kind(objects, "ServiceMonitor")[0]
    service = of_kind(objects, "Service")[0]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prom"
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {end["port"] for end in monitor["spec"]["endpoints"]} <= ports


@pytest.mark.parametrize("option", OPTIONS)
def test_the_operator_reads_what_the_chart_sets(
    rendered: dict[str, list[Object]], option: str
) -> None:
    env = environment(rendered[option])
    settings = Settings.from_env(env)
    values = OPTIONS[option]
    assert settings.api_qps == values.get("apiQps", Settings.api_qps)
    assert settings.lease_seconds == values.get("leaseSeconds", 60)
    assert settings.sweep_seconds == values.get("sweepSeconds", 300)
    assert settings.watch_namespaces == tuple(values.get("watchNamespaces", ()))
    assert settings.storage_class == values.get("storageClassName")
    assert settings.log_format == values.get("logFormat", "json")
    assert settings.dry_run == values.get("dryRun", False)
    assert settings.billing_namespace == env["DRQUEUE_BILLING_NAMESPACE"]
    wanted = values.get("masterResources", {"limits": {"memory": "512Mi"}})["limits"]
    assert settings.master_resources["limits"] == wanted
    unread = {name for name in env if name.startswith("DRQUEUE_")} - read_names()
    assert not unread, "set by the chart, read by nobody"


def read_names() -> set[str]:
    """The variables that the settings ask their environment for."""
    asked: set[str] = set()

    class Environment(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.add(key)
            return super().get(key, default)

        def __getitem__(self, key: str) -> str:
            asked.add(key)
            return super().__getitem__(key)

        def __contains__(self, key: object) -> bool:
            asked.add(str(key))
            return super().__contains__(key)

    Settings.from_env(Environment())
    return asked

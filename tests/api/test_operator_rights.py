"""The operator as a program, with its own account's token: no right is missing, and none is spare.

A session's life is played through without a kubelet: the test says what one would, in the pods'
statuses. Then the operator's own count of its requests is held against the chart's roles.
"""

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from drqueue.api.values import format_time
from drqueue.control.kinds import BOOKS, CHILDREN, KINDS, RECONCILED
from kubernetes import client

from helm.chart import Helm
from tests.api.installed import Server, chart_on, eventually
from tests.api.test_hooks import Farm, token_config
from tests.manifests import manifest
from tests.ports import Port

Object = dict[str, Any]
Right = tuple[str, str, str]
MERGE = "application/merge-patch+json"

RARE: dict[Right, str] = {
    ("drqueue.org", "renderjobs", "delete"): "a job's ttl, once it has finished",
    ("drqueue.org", "renderjobs", "get"): "a job that a master has, and the store has not",
    ("drqueue.org", "rendersessions", "get"): "to be sure that a session is gone",
    ("drqueue.org", "rendernodes", "get"): "a create that met one which the store had not heard of",
    ("", "pods", "get"): "the same of pods, and to be sure that a node has none",
    ("events.k8s.io", "events", "list"): "why a claim does not bind",
    ("drqueue.org", "renderinvoices", "get"): "before a session without one goes",
    ("drqueue.org", "renderaccounts", "get"): "before money is committed",
    ("drqueue.org", "renderpayments", "get"): "before money is committed",
    ("drqueue.org", "rendersessions/finalizers", "update"): "where a plugin asks owners for it",
    ("drqueue.org", "rendernodes/finalizers", "update"): "where a plugin asks owners for it",
}
"""Rights that the chart gives and this life need not use, and what for they are."""


@pytest.fixture(scope="module")
def server(cluster, api_client: client.ApiClient) -> Iterator[Server]:  # type: ignore[no-untyped-def]
    with chart_on(cluster.kubeconfig, api_client) as made:
        yield made


class Operator:
    """The operator as a process."""

    def __init__(
        self, server: Server, kubeconfig: Path, folder: Path, tenants: tuple[str, ...] = ()
    ) -> None:
        """`tenants`: the namespaces it watches; none: all."""
        self._port = Port()
        self.log = folder / "operator.log"
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "DRQUEUE_NAMESPACE": server.namespace,
            "DRQUEUE_BILLING_NAMESPACE": server.books,
            "DRQUEUE_WATCH_NAMESPACES": ",".join(tenants),
            "DRQUEUE_LISTEN": self._port.address,
            "DRQUEUE_SWEEP_SECONDS": "2",
            "DRQUEUE_LOG_FORMAT": "plain",
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "drqueue.control.main"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def end(self) -> None:
        """End it, and by force if that takes it too long."""
        self.process.terminate()
        try:
            self.process.wait(timeout=120)
        finally:
            self.process.kill()
            self._port.close()

    def metrics(self) -> str:
        """What Prometheus would see."""
        url, said = f"http://{self._port.address}/metrics", []

        def answers() -> bool:
            with suppress(OSError), urllib.request.urlopen(url, timeout=20) as answer:
                said.append(answer.read().decode())
            return bool(said)

        eventually(answers, "the operator's metrics")
        return str(said[0])

    def requests(self) -> set[tuple[str, str, str]]:
        """Verb, kind and code of all requests so far."""
        found = re.findall(r"^drqueue_api_requests_total\{(.*?)\}", self.metrics(), re.MULTILINE)
        labels = [dict(re.findall(r'(\w+)="(.*?)"', line)) for line in found]
        return {(each["verb"], each["kind"], each["code"]) for each in labels}


@pytest.fixture
def operator(server: Server, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    """Of this namespace only: where others are being deleted, it is refused what no right gives."""
    core = client.CoreV1Api(server.api)
    eventually(
        lambda: core.list_namespaced_service_account(namespace).items,
        "the namespace's service account, without which it takes no pods",
    )
    kubeconfig = token_config(server, server.operator, tmp_path)
    made = Operator(server, kubeconfig, tmp_path, (namespace,))
    yield made
    made.end()


def rights_of(requests: set[tuple[str, str, str]]) -> set[Right]:
    """The RBAC rights that such requests need."""
    needed: set[Right] = set()
    for verb, name, code in requests:
        kind = KINDS[name]
        if verb == "update" and name != "Lease":
            needed.add((kind.group, f"{kind.plural}/status", "update"))
        elif verb == "apply":
            # a server-side apply that makes the object needs both
            verbs = {"patch", "create"} if code == "201" else {"patch"}
            needed |= {(kind.group, kind.plural, each) for each in verbs}
        else:
            needed.add((kind.group, kind.plural, verb))
    for name in (*RECONCILED, *BOOKS, *CHILDREN):
        needed.add((KINDS[name].group, KINDS[name].plural, "watch"))
    return needed


def granted() -> set[Right]:
    """What the chart's roles for the operator say."""
    mine = (":tenants", ":cluster", "drqueue-operator", "-books")
    return {
        (group, resource, verb)
        for obj in Helm().template({})
        if obj["kind"] in ("ClusterRole", "Role") and obj["metadata"]["name"].endswith(mine)
        for rule in obj["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


class Kubelet:
    """Says of pods what a kubelet would."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm

    def pods(self, component: str) -> list[Object]:
        found = self.farm.kind("Pod").get(
            namespace=self.farm.namespace, label_selector=f"drqueue.org/component={component}"
        )
        return [pod.to_dict() for pod in found.items]

    def get_ready(self, component: str, count: int) -> None:
        """Wait for so many pods, and have them Ready."""
        eventually(lambda: len(self.pods(component)) >= count, f"{count} pods: {component}")
        now = format_time(datetime.now(UTC))
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
        for pod in self.pods(component):
            self.farm.kind("Pod").status.patch(
                body={"status": {"phase": "Running", "conditions": [ready]}},
                name=pod["metadata"]["name"],
                namespace=self.farm.namespace,
                content_type=MERGE,
            )


def prepay(server: Server, tenant: str) -> None:
    """An account for the tenant, with money in it."""
    account = manifest(
        "RenderAccount", {"spec.namespaces": [tenant], "spec.currency": "EUR"}, tenant
    )
    payment = manifest(
        "RenderPayment",
        {"spec.accountName": tenant, "spec.amount": "1000", "spec.currency": "EUR"},
        tenant,
    )
    for obj in (account, payment):
        obj["metadata"]["namespace"] = server.books
        server.apply(obj)


def invoices(server: Server, tenant: str) -> set[str]:
    """The sessions of the tenant that were invoiced."""
    found = client.CustomObjectsApi(server.api).list_namespaced_custom_object(
        "drqueue.org", "v1alpha1", server.books, "renderinvoices"
    )["items"]
    return {o["spec"]["sessionName"] for o in found if o["spec"]["namespace"] == tenant}


def play(farm: Farm, kubelet: Kubelet) -> None:
    """One session's life, and a second one's on a claim that was there before."""
    core = farm.core

    def edit(kind: str, name: str, body: Object) -> None:
        farm.kind(kind).patch(body=body, name=name, namespace=farm.namespace, content_type=MERGE)

    def session(name: str, storage: Object) -> None:
        spec = {"nodeClassName": "rights", "nodes": 2, "renderTime": "1000h", "storage": storage}
        farm.make("RenderSession", name, spec, finalizers=[])

    core.create_namespaced_config_map(
        farm.namespace, {"metadata": {"name": "scene"}, "data": {"scene.pov": "sphere {0, 1}"}}
    )
    session("teapots", {"storageClassName": "rights", "retain": False})
    for name, wanted in (("turntable", "teapots"), ("later", "second")):
        spec = {
            "sessionName": wanted,
            "renderer": "povray",
            "frames": "1-8",
            "scene": {"configMap": {"name": "scene", "key": "scene.pov"}},
        }
        farm.make("RenderJob", name, spec, finalizers=[])
    bind_claim(farm)
    kubelet.get_ready("master", 1)
    kubelet.get_ready("slave", 2)
    eventually(lambda: phases(farm) == {"Ready"}, "both nodes Ready")
    edit("RenderSession", "teapots", {"spec": {"suspend": True}})
    eventually(lambda: not phases(farm), "the nodes gone, for the session is suspended")
    request = {"request.drqueue.org/r1": '{"verb": "reader"}'}
    edit("RenderSession", "teapots", {"metadata": {"annotations": request}})
    eventually(lambda: kubelet.pods("reader"), "a reader's pod")

    claim = {
        "metadata": {"name": "by-hand"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    core.create_namespaced_persistent_volume_claim(farm.namespace, claim)
    session("second", {"claimName": "by-hand"})
    eventually(
        lambda: farm.get("RenderSession", "second").get("status", {}).get("claimName"),
        "the second session on its claim",
    )

    for kind in ("RenderSession", "RenderJob"):
        for name in farm.names(kind):
            farm.kind(kind).delete(name=name, namespace=farm.namespace)
    left: Callable[[], set[str]] = lambda: {  # noqa: E731
        f"{kind}/{name}"
        for kind in ("RenderSession", "RenderJob", "RenderNode", "Pod")
        for name in farm.names(kind)
    }
    eventually(lambda: not left(), "all of it gone")
    claims = core.list_namespaced_persistent_volume_claim(farm.namespace).items
    eventually(lambda: {c.metadata.name for c in claims} >= {"by-hand"}, "the claim made by hand")


def bind_claim(farm: Farm) -> None:
    """Give the session's claim a volume, as its storage class's provisioner would."""
    core = farm.core
    eventually(
        lambda: core.list_namespaced_persistent_volume_claim(farm.namespace).items, "a claim"
    )
    claim = core.list_namespaced_persistent_volume_claim(farm.namespace).items[0]
    core.create_persistent_volume(
        {
            "metadata": {"name": f"rights-{farm.namespace}"},
            "spec": {
                "storageClassName": "rights",
                "capacity": {"storage": "100Gi"},
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Delete",
                "hostPath": {"path": "/nowhere"},
                "claimRef": {"namespace": farm.namespace, "name": claim.metadata.name},
            },
        }
    )


def phases(farm: Farm) -> set[str]:
    found = farm.kind("RenderNode").get(namespace=farm.namespace).to_dict()["items"]
    return {(node.get("status") or {}).get("phase", "New") for node in found}


def test_the_operators_rights_are_those_it_uses(
    server: Server, operator: Operator, namespace: str
) -> None:
    storage = client.StorageV1Api(server.api)
    kinds = client.CustomObjectsApi(server.api)
    group = ("drqueue.org", "v1alpha1", "rendernodeclasses")
    storage.create_storage_class(
        {"metadata": {"name": "rights"}, "provisioner": "none.example.org"}
    )
    kinds.create_cluster_custom_object(
        *group,
        {
            "apiVersion": "drqueue.org/v1alpha1",
            "kind": "RenderNodeClass",
            "metadata": {"name": "rights"},
            # no master answers here that could say a node is idle
            "spec": {
                "provider": {"kubernetes": {}},
                "drainGrace": "1s",
                "price": {"currency": "EUR", "machinePerHour": "0.01"},
            },
        },
    )
    farm = Farm(server, namespace)
    prepay(server, namespace)
    try:
        play(farm, Kubelet(farm))
        sessions = {"teapots", "second"}
        eventually(lambda: invoices(server, namespace) == sessions, "an invoice for each session")
        seen = operator.requests()
    except BaseException:
        for kind in ("RenderSession", "RenderJob", "RenderNode", "Pod"):
            for name in farm.names(kind):
                sys.stderr.write(f"{kind}/{name}: {farm.get(kind, name).get('status')}\n")
        sys.stderr.write(operator.log.read_text()[-6000:])
        raise
    finally:
        storage.delete_storage_class("rights")
        kinds.delete_cluster_custom_object(*group, "rights")
        farm.core.delete_persistent_volume(f"rights-{namespace}")
    assert not [each for each in seen if each[2] == "403"], "a right is missing"
    used = rights_of(seen)
    assert used <= granted()
    assert granted() - used <= set(RARE), "a right that nothing uses"
    assert set(RARE) <= granted()

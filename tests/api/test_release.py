"""The release's life on a real API server: install, upgrade, uninstall, install again.

There is no kubelet here, so hooks are left out; tests/e2e/test_chart.py has them.
"""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from helm.chart import CHART, Helm, HelmError
from tests.api.installed import take_away

ROOT = Path(__file__).parents[2]
NO_HOOKS = ("--no-hooks",)
# the CRDs are there before the chart, applied by the fixture `cluster`
TAKE = (*NO_HOOKS, "--take-ownership")


@pytest.fixture
def release(cluster, api_client: client.ApiClient) -> Iterator[Helm]:  # type: ignore[no-untyped-def]
    helm = Helm(kubeconfig=cluster.kubeconfig, namespace=f"test-release-{uuid.uuid4().hex[:6]}")
    yield helm
    helm.uninstall(arguments=NO_HOOKS)
    take_away(api_client, [o for o in helm.template({}) if o["kind"].startswith("Validating")])
    core = client.CoreV1Api(api_client)
    for name in (helm.namespace, f"{helm.namespace}-billing"):
        core.delete_namespace(name)


def crds(api: client.ApiClient) -> dict[str, Any]:
    found = client.ApiextensionsV1Api(api).list_custom_resource_definition().items
    return {crd.metadata.name: crd for crd in found if crd.spec.group == "drqueue.org"}


def test_install_upgrade_uninstall_and_again(release: Helm, api_client: client.ApiClient) -> None:
    apps = client.AppsV1Api(api_client)
    release.upgrade({"replicas": 1}, arguments=TAKE)
    assert apps.read_namespaced_deployment("drqueue-operator", release.namespace).spec.replicas == 1
    uids = {name: crd.metadata.uid for name, crd in crds(api_client).items()}
    assert len(uids) == len(list((ROOT / "crds").glob("*.yaml")))

    release.upgrade({"replicas": 2}, arguments=NO_HOOKS)
    assert apps.read_namespaced_deployment("drqueue-operator", release.namespace).spec.replicas == 2

    said = release.uninstall(arguments=NO_HOOKS)
    assert "kept due to the resource policy" in said
    assert apps.list_namespaced_deployment(release.namespace).items == []
    assert {name: crd.metadata.uid for name, crd in crds(api_client).items()} == uids
    # the books stay, and what guards them and what they are reckoned from
    books = f"{release.namespace}-billing"
    assert client.CoreV1Api(api_client).read_namespace(books).status.phase == "Active"
    policies = client.AdmissionregistrationV1Api(api_client)
    for found in (
        policies.list_validating_admission_policy(),
        policies.list_validating_admission_policy_binding(),
    ):
        names = {obj.metadata.name for obj in found.items}
        mine = {name.rsplit("-", 1)[1] for name in names if name.startswith(release.namespace)}
        assert mine == {"books", "statuses", "nodes", "evidence"}

    release.upgrade({}, arguments=NO_HOOKS)
    assert {name: crd.metadata.uid for name, crd in crds(api_client).items()} == uids

    # under another name it takes a word more, as docs/install.md says
    other = Helm(kubeconfig=release.kubeconfig, release="other", namespace=release.namespace)
    with pytest.raises(HelmError, match="invalid ownership metadata"):
        other.upgrade({}, arguments=NO_HOOKS)


def test_upgrade_from_the_commit_before(
    release: Helm, tmp_path: Path, api_client: client.ApiClient
) -> None:
    listed = subprocess.run(
        ["git", "archive", "HEAD~1", "helm/drqueue-operator"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:  # a checkout with a commit before
        subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=listed.stdout, check=True)
    before = tmp_path / "helm" / "drqueue-operator"
    old = Helm(
        kubeconfig=release.kubeconfig,
        namespace=release.namespace,
        chart=before if before.exists() else CHART,
    )
    old.upgrade({}, arguments=TAKE)
    release.upgrade({}, arguments=NO_HOOKS)
    rendered = {
        obj["metadata"]["name"]: obj["spec"]
        for obj in release.template({})
        if obj["kind"] == "CustomResourceDefinition"
    }
    for name, crd in crds(api_client).items():
        schema = api_client.sanitize_for_serialization(crd)["spec"]["versions"][0]["schema"]
        wanted = rendered[name]["versions"][0]["schema"]["openAPIV3Schema"]
        got = schema["openAPIV3Schema"]["properties"]["spec"]
        assert set(got["properties"]) == set(wanted["properties"]["spec"]["properties"]), name


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"replicas": 2, "watchNamespaces": ["default", "kube-public"]},
        {
            "monitoring": {"dashboard": {"enabled": True}},
            "tolerations": [{"key": "farm", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"nodeAffinity": {}},
            "networkPolicy": {"metricsFrom": [{"podSelector": {}}]},
            "podAnnotations": {"a": "b"},
        },
    ],
    ids=["defaults", "two replicas, two namespaces", "monitoring and placement"],
)
def test_the_api_server_takes_every_object(release: Helm, values: dict[str, Any]) -> None:
    """All of it, strictly: an unknown field in a template would be refused, hooks included."""
    release.upgrade(values, arguments=TAKE)
    kubectl = [str(Path(sys.executable).parent / "kubectl"), "--kubeconfig"]
    options = ["--validate=strict", "--server-side", "--force-conflicts", "--dry-run=server"]
    done = subprocess.run(
        [*kubectl, str(release.kubeconfig), "apply", *options, "-f", "-"],
        input=release.raw(values),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "job.batch/drqueue-operator-uninstall" in done.stdout

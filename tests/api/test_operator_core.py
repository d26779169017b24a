"""The operator's loop against a real API server: Lease, watches, sweep, health, and its end."""

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drqueue.api.names import LABEL_MANAGED_BY, LABEL_NODE, MANAGED_BY
from drqueue.control.leader import LEASE
from kubernetes import client

from tests.api.operator_process import OperatorProcess
from tests.api.tcp_proxy import TcpProxy
from tests.control_plane import Cluster

Start = Callable[..., OperatorProcess]


@pytest.fixture
def start(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Start]:
    started: list[OperatorProcess] = []

    def start_one(kubeconfig: Path = cluster.kubeconfig, **settings: str) -> OperatorProcess:
        folder = tmp_path / f"operator-{len(started)}"
        operator = OperatorProcess(kubeconfig, namespace, folder, **settings)  # type: ignore[arg-type]
        started.append(operator)
        return started[-1]

    yield start_one
    for operator in started:
        operator.kill()


class Sessions:
    """Makes and changes sessions of the test's namespace."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api = client.CustomObjectsApi(api)
        self._where = ("drqueue.org", "v1alpha1", namespace, "rendersessions")
        self.namespace = namespace

    def create(self, name: str) -> str:
        spec = {"nodeClassName": "none", "nodes": 1, "renderTime": "1h"}
        body = {"apiVersion": "drqueue.org/v1alpha1", "kind": "RenderSession"}
        self._api.create_namespaced_custom_object(
            *self._where, {**body, "metadata": {"name": name}, "spec": spec}
        )
        return f"RenderSession/{self.namespace}/{name}"

    def set_nodes(self, name: str, nodes: int) -> None:
        self._api.patch_namespaced_custom_object(*self._where, name, {"spec": {"nodes": nodes}})

    def delete(self, name: str) -> None:
        self._api.delete_namespaced_custom_object(*self._where, name)


@pytest.fixture
def sessions(api_client: client.ApiClient, namespace: str) -> Sessions:
    return Sessions(api_client, namespace)


@pytest.fixture
def lease(api_client: client.ApiClient, namespace: str) -> Callable[[], Any]:
    coordination = client.CoordinationV1Api(api_client)
    return lambda: coordination.read_namespaced_lease(LEASE, namespace).spec


def test_what_is_there_and_what_changes_is_reconciled(start: Start, sessions: Sessions) -> None:
    before = sessions.create("before")
    operator = start()
    operator.wait_leading()
    operator.wait_reconciled(before)
    later = sessions.create("later")
    operator.wait_reconciled(later)
    changes: tuple[Callable[[], None], ...] = (
        lambda: sessions.set_nodes("later", 2),
        lambda: sessions.delete("later"),
    )
    for change in changes:
        seen = len(operator.reconciled())
        change()
        operator.wait_reconciled(later, since=seen)
    assert operator.metric("drqueue_objects", kind="RenderSession") == 1
    assert operator.get("/healthz") == (200, "ok\n")


def test_our_pods_are_watched_and_foreign_ones_are_not(
    start: Start, api_client: client.ApiClient, namespace: str
) -> None:
    operator = start()
    operator.wait_leading()
    core = client.CoreV1Api(api_client)
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_NODE: "teapots-1a2b3-0"}
    for name, carried in (("foreign", {"app": "web"}), ("ours", labels)):
        pod = {
            "metadata": {"name": name, "labels": carried},
            "spec": {"containers": [{"name": "main", "image": "none"}]},
        }
        _create_pod(core, namespace, pod)
    operator.wait_reconciled(f"RenderNode/{namespace}/teapots-1a2b3-0")
    assert operator.metric("drqueue_objects", kind="Pod") == 1
    assert operator.metric("drqueue_watch_events_total", kind="Pod") >= 1
    assert f"/{namespace}/foreign" not in "".join(operator.reconciled())


def _create_pod(core: client.CoreV1Api, namespace: str, pod: dict[str, Any]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            core.create_namespaced_pod(namespace, pod)
            return
        except client.ApiException as error:
            # The namespace's default service account is made a moment after the namespace.
            if "serviceaccount" not in str(error.body) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_a_standby_is_ready_idle_and_takes_over_at_once_after_sigterm(
    start: Start, sessions: Sessions, lease: Callable[[], Any]
) -> None:
    first = start(IDENTITY="first", LEADER_SECONDS="60")
    first.wait_leading()
    second = start(IDENTITY="second", LEADER_SECONDS="60")
    second.wait("standby ready", lambda: second.get("/readyz")[0] == 200)
    key = sessions.create("one")
    first.wait_reconciled(key)
    assert second.metric("drqueue_leader") == 0.0
    assert second.reconciled() == []
    assert lease().holder_identity == "first"
    assert first.end(signal.SIGTERM) == 0
    second.wait("takes over", lambda: second.metric("drqueue_leader") == 1.0, 40)
    second.wait_reconciled(key)
    assert lease().lease_transitions == 1


def test_after_sigkill_the_standby_waits_the_lease_out(start: Start) -> None:
    first = start(IDENTITY="first", LEADER_SECONDS="10")
    first.wait_leading()
    second = start(IDENTITY="second", LEADER_SECONDS="10")
    second.wait("standby ready", lambda: second.get("/readyz")[0] == 200)
    first.end(signal.SIGKILL)
    second.wait_leading()


def test_a_leader_that_was_frozen_past_its_lease_ends_without_acting(
    start: Start, sessions: Sessions, lease: Callable[[], Any]
) -> None:
    first = start(IDENTITY="first", LEADER_SECONDS="10")
    first.wait_leading()
    second = start(IDENTITY="second", LEADER_SECONDS="10")
    second.wait("standby ready", lambda: second.get("/readyz")[0] == 200)
    first.process.send_signal(signal.SIGSTOP)
    second.wait_leading()
    key = sessions.create("meanwhile")
    second.wait_reconciled(key)
    first.process.send_signal(signal.SIGCONT)
    first.wait("ended", lambda: first.process.poll() is not None)
    assert first.process.returncode != 0
    assert key not in first.reconciled()
    assert lease().holder_identity == "second"


def test_sigterm_ends_it_cleanly_and_gives_the_lease_up(
    start: Start, lease: Callable[[], Any]
) -> None:
    operator = start(IDENTITY="only")
    operator.wait_leading()
    began = time.monotonic()
    assert operator.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 30
    assert not lease().holder_identity


def test_a_deaf_watch_is_noticed_by_the_sweep(
    start: Start, sessions: Sessions, cluster: Cluster, tmp_path: Path
) -> None:
    with TcpProxy(cluster.kubeconfig, tmp_path) as proxy:
        operator = start(proxy.kubeconfig, SWEEP_SECONDS="3")
        operator.wait_leading()
        heard = sessions.create("heard")
        operator.wait_reconciled(heard)
        # Streams that are open now deliver nothing any more, and say nothing of it.
        proxy.deafen()
        unheard = sessions.create("unheard")
        operator.wait_reconciled(unheard)
        # Only the watch of sessions owes something, so only it is doubted.
        operator.wait(
            "the missed change is counted",
            lambda: operator.metric("drqueue_sweeps_total", why="doubt") >= 1,
        )
        assert operator.process.poll() is None


def test_idle_it_writes_nothing_but_its_lease(start: Start, sessions: Sessions) -> None:
    operator = start()
    operator.wait_leading()
    operator.wait_reconciled(sessions.create("one"))

    def requests() -> Counter[str]:
        """One look at them all: a renewal of the Lease could come between two."""
        counts: Counter[str] = Counter()
        for line in operator.get("/metrics")[1].splitlines():
            if line.startswith("drqueue_api_requests_total"):
                written = not re.search('verb="(get|list|watch)"', line)
                what = "Lease" if 'kind="Lease"' in line else "others"
                counts[f"{what} {'written' if written else 'read'}"] += int(float(line.split()[-1]))
        return counts

    before = requests()
    time.sleep(13)  # what is measured is this time itself
    now = requests()
    assert before["Lease written"] < now["Lease written"] <= before["Lease written"] + 6
    assert now["others written"] == before["others written"]
    assert now["others read"] <= before["others read"] + 12, "the sweep of what may vanish"

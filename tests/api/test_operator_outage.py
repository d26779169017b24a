"""An API server that goes away for 20 s, or says nothing for as long, costs no leader."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes import client, config
from urllib3.exceptions import HTTPError

from devcluster import local
from tests.api.operator_process import OperatorProcess
from tests.control_plane import apply_crds

AWAY = 20.0


@pytest.fixture(scope="module")
def control_plane() -> Iterator[local.Cluster]:
    """A control plane of the test's own, for others would not bear its end."""
    name = f"outage-{uuid.uuid4().hex[:6]}"
    try:
        started = local.start(name, "control-plane")
        apply_crds(started.kubeconfig)
        yield started
    finally:
        local.stop(name)


@pytest.mark.parametrize(
    ("take", "give_back", "lease_seconds"),
    [
        # an end and a start of no known length are part of this outage
        (local.stop_apiserver, local.start_apiserver, "120"),
        (local.freeze_apiserver, local.thaw_apiserver, "45"),
    ],
    ids=["stopped", "frozen"],
)
def test_an_outage_of_20_seconds_is_survived(
    control_plane: local.Cluster,
    tmp_path: Path,
    take: Callable[[str], None],
    give_back: Callable[[str], None],
    lease_seconds: str,
) -> None:
    operator = OperatorProcess(
        control_plane.kubeconfig,
        "default",
        tmp_path,
        LEADER_SECONDS=lease_seconds,
        SWEEP_SECONDS="300",
        IDENTITY="only",
    )
    try:
        operator.wait_leading()
        take(control_plane.name)
        time.sleep(AWAY)  # the outage itself
        give_back(control_plane.name)
        name = f"after-{uuid.uuid4().hex[:6]}"
        with config.new_client_from_config(str(control_plane.kubeconfig)) as api:
            _create_session(api, name)
        operator.wait_reconciled(f"RenderSession/default/{name}")
        operator.wait("renews", lambda: operator.metric("drqueue_leader") == 1.0)
        assert operator.get("/healthz") == (200, "ok\n")
        assert operator.process.poll() is None
    finally:
        operator.kill()


def _create_session(api: client.ApiClient, name: str) -> None:
    body = {
        "apiVersion": "drqueue.org/v1alpha1",
        "kind": "RenderSession",
        "metadata": {"name": name},
        "spec": {"nodeClassName": "none", "nodes": 1, "renderTime": "1h"},
    }
    deadline = time.monotonic() + 120
    while True:
        try:
            client.CustomObjectsApi(api).create_namespaced_custom_object(
                "drqueue.org", "v1alpha1", "default", "rendersessions", body
            )
            return
        except (client.ApiException, HTTPError) as error:
            status = getattr(error, "status", None)  # None: the connection broke off
            if status == 409:
                return  # made by a try whose answer was lost
            # For a moment after its start the server does not serve custom resources yet.
            passing = status in (None, 404, 429, 500, 503, 504)
            if not passing or time.monotonic() > deadline:
                raise
            time.sleep(0.5)

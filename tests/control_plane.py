"""A control plane for tests, with the CRDs of this tree: see `tests/api/conftest.py`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config
from kubernetes.dynamic.exceptions import DynamicApiError

ROOT = Path(__file__).parents[1]
CRDS = ROOT / "crds"
DEADLINE_SECONDS = 180


@dataclass(frozen=True)
class Cluster:
    """A running API server with our CRDs."""

    kubeconfig: Path


def apply_crds(kubeconfig: Path) -> None:
    """Apply the CRDs and wait until all of them are served."""
    with config.new_client_from_config(str(kubeconfig)) as api:
        extensions = client.ApiextensionsV1Api(api)
        paths = sorted(CRDS.glob("*.yaml"))
        assert paths, f"no CRDs in {CRDS}"
        for path in paths:
            manifest = yaml.safe_load(path.read_text("utf-8"))
            extensions.patch_custom_resource_definition(
                manifest["metadata"]["name"],
                manifest,
                field_manager="drqueue-tests",
                force=True,
                _content_type="application/apply-patch+yaml",
            )
            wait_until(partial(_served, api, manifest), manifest["metadata"]["name"])


def _served(api: client.ApiClient, manifest: dict[str, Any]) -> bool:
    """Tell whether the kind can be listed: a fresh one answers 404, then 429, for a moment."""
    version = manifest["spec"]["versions"][0]["name"]
    kinds = client.CustomObjectsApi(api)
    try:
        kinds.list_cluster_custom_object(
            manifest["spec"]["group"], version, manifest["spec"]["names"]["plural"], limit=1
        )
    except client.ApiException as error:
        if error.status not in (404, 429):
            raise
        return False
    return True


def busy(error: client.ApiException | DynamicApiError) -> bool:
    """Whether the API server may well answer the next time."""
    status = error.status or 0
    return status == 429 or status >= 500


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait for a condition, polling; fails with what was awaited after three minutes."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not so within {DEADLINE_SECONDS} s")
        time.sleep(0.1)

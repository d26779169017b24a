"""Two tenants on one class: shares by weight, and one's failing nodes are its own."""

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from drqueue.api.names import LABEL_COMPONENT
from drqueue.control.launches import mark

from tests.api.kubelet import Kubelet, Pod
from tests.api.reconciling import Farm

RUNS: dict[str, Any] = {"spec__renderer": "general", "spec__parameters": {"Command": "true"}}


@pytest.fixture
def tenants(farm: Farm) -> Iterator[tuple[Farm, Farm]]:
    """The farm, and another namespace of the same operator. No master answers there."""
    other = copy.copy(farm)
    other.namespace = f"test-{uuid.uuid4().hex[:10]}"
    farm.core.create_namespace({"metadata": {"name": other.namespace}})
    other.kubelet = Kubelet(farm.core.api_client, other.namespace)
    farm.operator.kill()
    with other.kubelet:
        other.operator = farm.start_operator(WATCH_NAMESPACES=f"{farm.namespace},{other.namespace}")
        farm.operator.wait_leading()
        try:
            yield farm, other
            other.clean_up()
        finally:
            farm.core.delete_namespace(other.namespace)


def live(tenant: Farm) -> int:
    nodes = tenant.all("RenderNode")
    return sum("endedAt" not in (node.get("status") or {}) for node in nodes)


def test_two_tenants_share_by_weight(tenants: tuple[Farm, Farm]) -> None:
    light, heavy = tenants
    weights = [{"namespace": heavy.namespace, "weight": 3}]
    limits = {"nodes": 4, "weights": weights}
    light.patch("RenderNodeClass", light.class_name, {"spec": {"limits": limits}})
    light.make("RenderSession", spec__nodes=4)
    light.make("RenderJob", **RUNS)
    light.wait_nodes(4)
    heavy.make("RenderSession", spec__nodes=4)
    heavy.make("RenderJob", **RUNS)
    seen: list[int] = []

    def shared() -> bool:
        # who grows is counted first: a node that changes hands meanwhile is not counted twice
        now = live(heavy), live(light)
        seen.append(sum(now))
        return now == (3, 1)

    light.wait("each has its share", shared)
    assert max(seen) <= 4
    light.delete("RenderSession", "teapots")
    heavy.wait_nodes(4)


def test_a_tenant_whose_nodes_fail_holds_up_nobody_else(tenants: tuple[Farm, Farm]) -> None:
    well, ill = tenants

    def starts(pod: Pod) -> bool:
        if pod["metadata"]["labels"][LABEL_COMPONENT] == "master":
            return True
        ill.kubelet.end(pod["metadata"]["name"], 1)
        return False

    ill.kubelet.starts = starts
    ill.make("RenderSession", spec__nodes=2)
    ill.make("RenderJob", **RUNS)

    def launch() -> dict[str, Any]:
        return well.status("RenderNodeClass", well.class_name).get("launch") or {}

    well.wait("the one fails again and again", lambda: launch().get("failures", 0) >= 2)
    well.make("RenderSession", spec__nodes=2)
    well.make("RenderJob", **RUNS)
    well.wait_nodes(2)

    def its_own() -> bool:
        told = _message(well)
        held_up = "the sessions concerned wait" in told or "one is tried" in told
        return held_up and launch().get("tenants") == [mark(ill.namespace)]

    well.wait("the class says who fails, and whom that holds up", its_own)


def _message(farm: Farm) -> str:
    return str(farm.condition("RenderNodeClass", farm.class_name, "Launching").get("message"))

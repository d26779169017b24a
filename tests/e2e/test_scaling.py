"""The node count changes while rendering and in mid creation."""

import pytest

from tests.e2e.commands import FILES, GATED
from tests.e2e.farm import Farm, counted_once

pytestmark = pytest.mark.e2e


def test_scaled_up_and_down_while_rendering(farm: Farm) -> None:
    """Scaling down kills no running block: each frame starts once."""
    # the gate is opened within the drain's grace
    farm.session(nodes=1, nodeClassName=farm.own_class(drainGrace="10m"))
    farm.job(command=GATED, frames="1-6", output={"files": FILES})
    farm.wait_rendering(1)
    farm.patch("RenderSession", "show", {"spec": {"nodes": 3}})
    farm.wait_rendering(3)
    farm.patch("RenderSession", "show", {"spec": {"nodes": 1}})
    farm.wait(
        "two nodes draining",
        lambda: (
            sum(
                farm.node_phase(n["metadata"]["name"]) == "Draining"
                for n in farm.objects("RenderNode")
            )
            == 2
        ),
    )
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-6")
    assert sorted(farm.noted("started")) == [1, 2, 3, 4, 5, 6]


def test_what_is_no_longer_wanted_is_not_created(farm: Farm) -> None:
    farm.session(nodes=12, nodeClassName=farm.own_class(drainGrace="5s"))
    farm.job(command=GATED, frames="1-12", output={"files": FILES})
    farm.wait("a first node", lambda: farm.objects("RenderNode"))
    farm.patch("RenderSession", "show", {"spec": {"nodes": 2}})

    def two_left() -> bool:
        session = farm.get("RenderSession", "show") or {}
        counts = (session.get("status") or {}).get("nodes") or {}
        return counts.get("desired") == 2 and len(farm.objects("RenderNode")) == 2

    farm.wait("two nodes", two_left)
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-12")


def test_suspended_session_stops_and_goes_on(farm: Farm) -> None:
    farm.session(nodeClassName=farm.own_class(drainGrace="5s"))
    farm.job(command=GATED, frames="1-4", output={"files": FILES})
    farm.wait_rendering(2)
    farm.patch("RenderSession", "show", {"spec": {"suspend": True}})
    farm.wait("no nodes", lambda: not farm.objects("RenderNode"))
    farm.patch("RenderSession", "show", {"spec": {"suspend": False}})
    farm.wait_rendering(2)
    farm.open_gate()
    farm.wait_job()
    counted_once(farm.frames().values(), "1-4")


def test_a_node_drained_past_its_grace_gives_its_block_back(farm: Farm) -> None:
    """By its slave's own word, before it is killed: not by the operator's, once it has ended."""
    # longer than the pod is given to give back, so that a slave that waits for it anew is killed
    farm.session(nodes=1, nodeClassName=farm.own_class(drainGrace="40s"))
    farm.job(command=GATED, frames="1", output={"files": FILES})
    drained = farm.wait_rendering(1)[0]["metadata"]["name"]
    farm.drqueue("node", "drain", drained)
    farm.wait("the drained node gone", lambda: farm.node_phase(drained) is None, timeout=240)
    farm.open_gate()
    farm.wait_job()
    first, *_ = farm.frames()[1]["attempts"]
    assert (first["node"], first["result"], first["message"]) == (drained, "drained", "")
    counted_once(farm.frames().values(), "1")

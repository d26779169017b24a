"""Sessions, jobs and nodes from apply to deletion, by the real operator on a real API server."""

import time
from typing import Any

import pytest

from tests.api.reconciling import Farm
from tests.manifests import settled_seconds


@pytest.mark.parametrize("frames", [6, 600])
def test_a_job_renders_and_costs_few_writes(farm: Farm, frames: int) -> None:
    block = frames // 3
    began = time.monotonic()
    session = farm.make("RenderSession")
    farm.make(
        "RenderJob",
        spec__frames=f"1-{frames}",
        spec__blockSize=block,
        spec__renderer="general",
        spec__parameters={"Command": "true"},
    )
    first = farm.wait_nodes(2)[0]
    farm.wait_phase("RenderSession", "teapots", "Active")
    slave = farm.slave(first["metadata"]["name"], session)
    for number in range(3):
        lease = slave.lease()
        start = number * block + 1
        slave.render(lease, list(range(start, start + block)))
    status = farm.wait_phase("RenderJob", "turntable", "Succeeded")
    assert status["frames"] == {
        "total": frames,
        "waiting": 0,
        "running": 0,
        "succeeded": frames,
        "failed": 0,
    }
    assert status["succeededFrames"] == f"1-{frames}"
    assert status["progress"] == "100%"
    assert status["acceptedBy"] == session["metadata"]["uid"]
    assert (farm.master.volume / "work/outputs/turntable/image_0001.txt").exists()
    farm.wait_nodes(0)
    session_status = farm.wait_phase("RenderSession", "teapots", "Asleep")
    assert settled_seconds(session_status) >= 1
    farm.wait(
        "the session forgets its nodes",
        lambda: not farm.status("RenderSession", "teapots")["settling"],
    )
    farm.wait("no pod is left", lambda: not farm.kubelet.pods())
    # four where all is quick; progress counts, and so does what a conflict has written again
    assert farm.writes("RenderJob") <= 7 + (time.monotonic() - began) / 5
    assert {"Accepted", "Succeeded"} <= set(farm.events("turntable"))


def test_a_deleted_session_leaves_nothing_but_its_claim(farm: Farm) -> None:
    session = farm.make("RenderSession")
    farm.make("RenderJob", spec__renderer="general", spec__parameters={"Command": "true"})
    farm.wait_nodes(2)
    slave = farm.slave(farm.all("RenderNode")[0]["metadata"]["name"], session)
    slave.lease()
    farm.delete("RenderSession", "teapots")
    farm.wait("the session is gone", lambda: farm.get("RenderSession", "teapots") is None)
    assert farm.leftovers() == []
    assert len(farm.claims()) == 1
    status = farm.wait_phase("RenderJob", "turntable", "Waiting")
    farm.wait_reason("RenderJob", "turntable", "Accepted", "SessionNotFound")
    assert status["frames"]["total"] == 24
    # another session takes the claim over, and the job moves to it
    farm.wait("the job runs nowhere", lambda: running(farm) == 0)
    farm.make(
        "RenderSession", "later", spec__storage={"claimName": farm.claims()[0], "retain": False}
    )
    farm.patch("RenderJob", "turntable", {"spec": {"sessionName": "later"}})
    farm.wait_reason("RenderJob", "turntable", "Accepted", "Accepted")
    farm.wait_nodes(2)
    farm.delete("RenderSession", "later")
    farm.wait("the session is gone", lambda: farm.get("RenderSession", "later") is None)
    farm.wait("the claim went with it", lambda: not farm.claims())


def test_a_session_deleted_with_its_children_orphaned_leaves_none(farm: Farm) -> None:
    farm.make("RenderSession", spec__nodes=1, spec__storage={"retain": False})
    farm.make("RenderJob", spec__renderer="general", spec__parameters={"Command": "true"})
    farm.wait_nodes(1)
    farm.kubelet.deaf = True  # so that the collector is done before the node is
    farm.delete("RenderSession", "teapots", propagation_policy="Orphan")

    def owned() -> list[Any]:
        children = [*farm.all("RenderNode"), *farm.kubelet.pods()]
        owners = [owner for obj in children for owner in obj["metadata"].get("ownerReferences", ())]
        return [owner for owner in owners if owner["kind"] == "RenderSession"]

    farm.wait("the collector takes the owner off", lambda: not owned())
    assert farm.get("RenderSession", "teapots"), "its node is not settled yet"
    farm.kubelet.deaf = False
    farm.wait("the session is gone", lambda: farm.get("RenderSession", "teapots") is None)
    assert farm.leftovers() == []
    farm.wait("the claim went with it", lambda: not farm.claims())


def running(farm: Farm) -> int:
    return int((farm.status("RenderJob", "turntable").get("frames") or {}).get("running", 0))


def test_scaling_down_drains_idle_nodes_first(farm: Farm) -> None:
    session = farm.make("RenderSession", spec__nodes=3)
    farm.make("RenderJob", spec__renderer="general", spec__parameters={"Command": "true"})
    nodes = farm.wait_nodes(3)
    busy = nodes[1]["metadata"]["name"]
    slave = farm.slave(busy, session)
    lease = slave.lease()
    farm.wait("the block is known", lambda: running(farm) == 1)
    farm.patch("RenderSession", "teapots", {"spec": {"nodes": 1}})
    (left,) = farm.wait_nodes(1)
    assert left["metadata"]["name"] == busy
    farm.patch("RenderSession", "teapots", {"spec": {"nodes": 2}})
    farm.wait_nodes(2)
    slave.render(lease, [1])
    farm.wait("the frame counts", lambda: counts(farm)["succeeded"] == 1)


def counts(farm: Farm) -> dict[str, int]:
    return dict(farm.status("RenderJob", "turntable").get("frames") or {})


def test_a_slaves_pod_that_is_deleted_is_replaced_and_its_time_settled_once(farm: Farm) -> None:
    farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", spec__renderer="general", spec__parameters={"Command": "true"})
    (node,) = farm.wait_nodes(1)
    farm.core.delete_namespaced_pod(node["metadata"]["name"], farm.namespace)
    farm.wait(
        "another node took its place",
        lambda: [
            n for n in farm.all("RenderNode") if n["metadata"]["uid"] != node["metadata"]["uid"]
        ],
    )
    farm.wait_nodes(1)
    settled = settled_seconds(farm.status("RenderSession", "teapots"))
    assert settled >= 0


def test_the_master_is_made_again(farm: Farm) -> None:
    session = farm.make("RenderSession", spec__nodes=1)
    farm.make("RenderJob", spec__renderer="general", spec__parameters={"Command": "true"})
    (node,) = farm.wait_nodes(1)
    slave = farm.slave(node["metadata"]["name"], session)
    lease = slave.lease()
    (master,) = [p for p in farm.kubelet.pods() if p["metadata"]["name"].endswith("-master")]
    farm.core.delete_namespaced_pod(
        master["metadata"]["name"], farm.namespace, grace_period_seconds=0
    )
    farm.wait(
        "a new master runs",
        lambda: any(
            p["metadata"]["name"] == master["metadata"]["name"]
            and p["metadata"]["uid"] != master["metadata"]["uid"]
            and p["status"].get("phase") == "Running"
            for p in farm.kubelet.pods()
        ),
    )
    slave.render(lease, [1])
    farm.wait("the frame counts", lambda: counts(farm)["succeeded"] == 1)
    assert farm.all("RenderNode")[0]["metadata"]["uid"] == node["metadata"]["uid"]


def test_suspend_stops_nodes_and_master_and_continue_brings_them_back(farm: Farm) -> None:
    farm.make("RenderSession")
    farm.make("RenderJob", spec__renderer="general", spec__parameters={"Command": "true"})
    farm.wait_nodes(2)
    farm.patch("RenderSession", "teapots", {"spec": {"suspend": True}})
    farm.wait_nodes(0)
    farm.wait_phase("RenderSession", "teapots", "Suspended")
    farm.wait("the master sleeps", lambda: not farm.kubelet.pods())
    farm.wait("the job says why", lambda: "suspended" in message(farm))
    farm.patch("RenderSession", "teapots", {"spec": {"suspend": False}})
    farm.wait_nodes(2)


def message(farm: Farm) -> str:
    return str(farm.status("RenderJob", "turntable").get("message"))


def test_used_up_time_drains_the_nodes_and_a_top_up_goes_on(farm: Farm) -> None:
    farm.make("RenderSession", spec__nodes=1, spec__renderTime="3s")
    farm.make("RenderJob", spec__renderer="general", spec__parameters={"Command": "true"})
    status = farm.wait_phase("RenderSession", "teapots", "Exhausted")
    assert status["renderTime"]["remaining"] == "0s"
    farm.wait_nodes(0)
    assert settled_seconds(farm.status("RenderSession", "teapots")) <= 3
    farm.wait("the job says why", lambda: "render time" in message(farm))
    farm.patch("RenderSession", "teapots", {"spec": {"renderTime": "1h"}})
    farm.wait_nodes(1)


def test_an_operator_killed_in_mid_creation_makes_no_node_twice(farm: Farm) -> None:
    farm.make("RenderSession", spec__nodes=20)
    farm.make("RenderJob", spec__renderer="general", spec__parameters={"Command": "true"})
    farm.wait("some nodes are there", lambda: len(farm.all("RenderNode")) > 2)
    farm.operator.kill()
    farm.start_operator()
    nodes = farm.wait_nodes(20)
    pods = [p for p in farm.kubelet.pods() if not p["metadata"]["name"].endswith("-master")]
    assert len(pods) == 20
    assert len({n["metadata"]["name"] for n in nodes}) == 20


def test_requests_are_answered_and_taken_off(farm: Farm) -> None:
    session = farm.make("RenderSession", spec__nodes=1)
    farm.make(
        "RenderJob",
        spec__renderer="general",
        spec__frames="1",
        spec__parameters={"Command": "true"},
    )
    (node,) = farm.wait_nodes(1)
    slave = farm.slave(node["metadata"]["name"], session)
    slave.render(slave.lease(), [1])
    farm.wait_phase("RenderJob", "turntable", "Succeeded")
    farm.wait_phase("RenderSession", "teapots", "Asleep")
    ask(farm, "RenderJob", "turntable", "again", '{"verb": "rerun"}')
    ask(farm, "RenderJob", "turntable", "wrong", "rerun it")
    farm.wait(
        "both are answered",
        lambda: answers(farm, "RenderJob", "turntable").keys() >= {"again", "wrong"},
    )
    found = answers(farm, "RenderJob", "turntable")
    assert (found["again"], found["wrong"]) == ("Done", "Refused")
    farm.wait("the annotations are gone", lambda: not requests_on(farm, "RenderJob", "turntable"))
    farm.wait_phase("RenderJob", "turntable", "Waiting")
    farm.wait_nodes(1)
    name = farm.all("RenderNode")[0]["metadata"]["name"]
    ask(farm, "RenderSession", "teapots", "drain-it", f'{{"verb": "drain", "node": "{name}"}}')
    farm.wait(
        "it is answered",
        lambda: answers(farm, "RenderSession", "teapots").get("drain-it") == "Done",
    )
    ask(farm, "RenderJob", "turntable", "kill-it", '{"verb": "kill"}')
    farm.wait_phase("RenderJob", "turntable", "Killed")


def test_a_reader_is_opened_while_the_master_sleeps(farm: Farm) -> None:
    farm.make("RenderSession")
    farm.wait_phase("RenderSession", "teapots", "Asleep")
    ask(farm, "RenderSession", "teapots", "read", '{"verb": "reader"}')
    farm.wait(
        "it is answered", lambda: answers(farm, "RenderSession", "teapots").get("read") == "Done"
    )
    (pod,) = farm.wait("the reader runs", farm.kubelet.pods)
    mounts = pod["spec"]["containers"][0]["volumeMounts"]
    assert all(m.get("readOnly") for m in mounts if m["name"] == "volume")
    assert "tls" not in {volume["name"] for volume in pod["spec"]["volumes"]}
    assert farm.status("RenderSession", "teapots")["readerUntil"]
    farm.kubelet.end(pod["metadata"]["name"], 0)
    farm.wait("it is taken away", lambda: not farm.kubelet.pods())
    farm.wait(
        "the status says so",
        lambda: "readerUntil" not in farm.status("RenderSession", "teapots"),
    )


def ask(farm: Farm, kind: str, name: str, request: str, value: str) -> None:
    farm.patch(kind, name, {"metadata": {"annotations": {f"request.drqueue.org/{request}": value}}})


def answers(farm: Farm, kind: str, name: str) -> dict[str, Any]:
    handled = farm.status(kind, name).get("handledRequests") or []
    return {entry["id"]: entry["result"] for entry in handled}


def requests_on(farm: Farm, kind: str, name: str) -> list[str]:
    annotations = (farm.get(kind, name) or {})["metadata"].get("annotations") or {}
    return [key for key in annotations if key.startswith("request.")]

import json
import logging

import pytest
from aiohttp.test_utils import TestClient, TestServer
from drqueue.control.health import Health, LoopWatch, health_app
from drqueue.control.kinds import Key
from drqueue.control.logs import _Json, _Plain, _WithKey
from drqueue.control.metrics import Metrics
from drqueue.control.store import Store
from drqueue.control.worker import current_key


async def test_probes_say_what_is_wrong() -> None:
    health, wrong = Health(), ["changes of Pod do not arrive"]
    health.add("watch", lambda: wrong[0] if wrong else None)
    async with TestClient(TestServer(health_app(health, Metrics()))) as client:
        answer = await client.get("/healthz")
        assert answer.status == 503
        assert json.loads(await answer.text()) == {"watch": "changes of Pod do not arrive"}
        wrong.clear()
        assert (await client.get("/healthz")).status == 200
        answer = await client.get("/readyz")
        assert (answer.status, json.loads(await answer.text())) == (503, {"ready": "starting"})
        health.not_ready = lambda: None
        assert (await client.get("/readyz")).status == 200


async def test_a_scrape_counts_what_is_stored() -> None:
    metrics, store = Metrics(), Store(lambda: 0.0)
    metrics.watch_store(store)
    metrics.requested("apply", "Pod", 201)
    metrics.reconciled("RenderJob", "done", 0.02)
    for number, phase in enumerate(("Running", "Succeeded")):
        store.apply_event(
            {
                "kind": "RenderJob",
                "metadata": {"name": phase, "namespace": "a", "uid": phase, "resourceVersion": "1"},
                "spec": {"sessionName": "s"},
                "status": {"phase": phase, "frames": {"succeeded": 4 + number, "running": 1}},
            }
        )
    node = {"name": "n", "namespace": "a", "uid": "n", "resourceVersion": "1"}
    store.apply_event({"kind": "RenderNode", "metadata": node, "spec": {}})
    async with TestClient(TestServer(health_app(Health(), metrics))) as client:
        text = await (await client.get("/metrics")).text()
    for line in (
        'drqueue_frames{state="succeeded"} 9.0',
        'drqueue_frames{state="failed"} 0.0',
        'drqueue_jobs{phase="Running"} 1.0',
        'drqueue_nodes{phase="New"} 1.0',
        'drqueue_objects{kind="RenderJob"} 2.0',
        'drqueue_api_requests_total{code="201",kind="Pod",verb="apply"} 1.0',
        'drqueue_reconcile_seconds_count{kind="RenderJob",result="done"} 1.0',
    ):
        assert line in text.splitlines()


async def test_a_loop_that_stood_still_is_told(caplog: pytest.LogCaptureFixture) -> None:
    metrics, times = Metrics(), iter([0.0, 5.5, 5.5, 6.0])
    watch = LoopWatch(metrics, lambda: next(times))
    with pytest.raises(RuntimeError):  # the clock's end
        await watch.run()
    assert metrics.registry.get_sample_value("drqueue_loop_stall_seconds") == 5.0
    assert "stood still for 5.0 s" in caplog.text


@pytest.mark.parametrize("form", [_Json(), _Plain()])
def test_a_log_line_carries_its_key(form: logging.Formatter) -> None:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "no %s", ("nodes",), None)
    token = current_key.set(Key("RenderJob", "studio", "turn"))
    _WithKey().filter(record)
    current_key.reset(token)
    line = form.format(record)
    assert "RenderJob/studio/turn" in line and "no nodes" in line
    if isinstance(form, _Json):
        assert json.loads(line)["level"] == "warning"

from typing import Any

import pytest
from drqueue.api.names import LABEL_MANAGED_BY, LABEL_NODE, LABEL_SESSION, MANAGED_BY
from drqueue.control.hearing import Hearing, Scope
from drqueue.control.intake import Intake
from drqueue.control.kinds import Key, Object
from drqueue.control.metrics import Metrics
from drqueue.control.queue import WorkQueue
from drqueue.control.routes import Change, affected
from drqueue.control.store import Store

SESSION = Key("RenderSession", "studio", "teapots")
JOB, OTHER_JOB = Key("RenderJob", "studio", "turn"), Key("RenderJob", "studio", "after")
NODE = Key("RenderNode", "studio", "teapots-1a2b3-0")
CLASS = Key("RenderNodeClass", None, "cpu-small")
SPECS: dict[Key, dict[str, Any]] = {
    SESSION: {"nodeClassName": "cpu-small"},
    JOB: {"sessionName": "teapots"},
    OTHER_JOB: {"sessionName": "teapots", "dependsOn": ["turn"]},
    NODE: {"sessionName": "teapots", "nodeClassName": "cpu-small"},
    CLASS: {},
}


def make(
    key: Key,
    version: int = 1,
    status: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    **meta: Any,
) -> Object:
    scope = {"namespace": key.namespace} if key.namespace else {}
    identity = {"name": key.name, "uid": f"uid-{key.name}", "resourceVersion": str(version)}
    return {
        "apiVersion": "v1",
        "kind": key.kind,
        "metadata": {**scope, **identity, "generation": 1, "labels": labels or {}, **meta},
        "spec": dict(SPECS.get(key, {})),
        "status": status or {},
    }


@pytest.fixture
def store() -> Store:
    store = Store(lambda: 0.0)
    for key in SPECS:
        store.apply_event(make(key))
    return store


def routes(store: Store, key: Key, old: Object | None, new: Object | None) -> set[Key]:
    return {route.key for route in affected(key, Change(old, new), store)}


def test_a_jobs_progress_concerns_it_and_its_session(store: Store) -> None:
    old, new = make(JOB), make(JOB, status={"frames": {"succeeded": 3}})
    assert routes(store, JOB, old, new) == {JOB, SESSION}


def test_a_jobs_phase_concerns_those_that_wait_for_it(store: Store) -> None:
    old, new = make(JOB), make(JOB, status={"phase": "Succeeded"})
    assert routes(store, JOB, old, new) == {JOB, SESSION, OTHER_JOB}


def test_a_job_that_moves_concerns_both_sessions(store: Store) -> None:
    old, new = make(JOB), make(JOB, generation=2)
    new["spec"]["sessionName"] = "kettles"
    assert SESSION._replace(name="kettles") in routes(store, JOB, old, new)
    assert SESSION in routes(store, JOB, old, new)


def test_a_sessions_counts_concern_nobody_else(store: Store) -> None:
    old, new = make(SESSION), make(SESSION, status={"nodes": {"ready": 2}})
    assert routes(store, SESSION, old, new) == {SESSION}


@pytest.mark.parametrize(
    "new",
    [
        make(SESSION, generation=2),
        make(SESSION, status={"phase": "Active"}),
        make(SESSION, status={"master": "Running"}),
    ],
)
def test_what_a_session_has_for_its_jobs_concerns_them(store: Store, new: Object) -> None:
    assert {JOB, OTHER_JOB} <= routes(store, SESSION, make(SESSION), new)


def test_a_session_that_comes_or_goes_concerns_its_jobs_nodes_and_class(store: Store) -> None:
    assert routes(store, SESSION, make(SESSION), None) == {SESSION, JOB, OTHER_JOB, NODE, CLASS}
    going = make(SESSION, deletionTimestamp="2026-11-25T12:00:00Z")
    assert {NODE, JOB} <= routes(store, SESSION, make(SESSION), going)
    assert {JOB, CLASS} <= routes(store, SESSION, None, make(SESSION))


def test_a_claim_that_is_free_again_concerns_who_waits_for_it(store: Store) -> None:
    waiting = SESSION._replace(name="later")
    obj = make(waiting)
    obj["spec"] = {"nodeClassName": "cpu-small", "storage": {"claimName": "teapots-volume"}}
    store.apply_event(obj)
    held = make(SESSION, status={"claimName": "teapots-volume"})
    assert waiting in routes(store, SESSION, held, None)
    claim = Key("PersistentVolumeClaim", "studio", "teapots-volume")
    assert waiting in routes(store, claim, None, make(claim))
    assert waiting not in routes(store, claim._replace(name="x"), None, make(claim))


def test_a_class_concerns_its_sessions_and_their_jobs(store: Store) -> None:
    assert routes(store, CLASS, None, make(CLASS)) == {CLASS, SESSION, JOB, OTHER_JOB}
    scarce = [{"type": "EnoughNodes", "status": "False", "reason": "Shared"}]
    counted = make(CLASS, status={"nodesInUse": 3, "conditions": scarce})
    assert routes(store, CLASS, make(CLASS), counted) == {CLASS}
    ready = [{"type": "Ready", "status": "True", "reason": "Offered"}]
    wrong = [{"type": "Ready", "status": "False", "reason": "RendererUnknown"}]
    old, new = (make(CLASS, status={"conditions": found}) for found in (ready, wrong))
    assert routes(store, CLASS, old, new) == {CLASS, SESSION, JOB, OTHER_JOB}


def test_a_pod_concerns_its_node_or_else_its_session(store: Store) -> None:
    pod = Key("Pod", "studio", "p")
    slave = make(pod, labels={LABEL_NODE: NODE.name, LABEL_SESSION: "teapots"})
    assert routes(store, pod, None, slave) == {NODE}
    master = make(pod, labels={LABEL_SESSION: "teapots"})
    assert routes(store, pod, master, None) == {SESSION}


class Heard:
    """An intake with all that hangs on it."""

    def __init__(self) -> None:
        self.store = Store(lambda: 0.0)
        self.queue = WorkQueue(lambda: 100.0, lambda: 0.0)
        self.scope = Scope("RenderJob", None)
        self.hearing = Hearing([self.scope], lambda: 0.0)
        self.intake = Intake(self.store, self.queue, self.hearing, Metrics())

    def due(self) -> set[Key]:
        found = set()
        while job := self.queue.take():
            found.add(job.key)
            self.queue.done(job.key)
        return found


def test_our_own_write_is_news_once_and_its_echo_is_not() -> None:
    heard = Heard()
    heard.intake.wrote(make(JOB, version=5), False)
    assert heard.due() == {JOB}
    assert heard.hearing.suspects(0.0) == [heard.scope]
    heard.intake.watched(heard.scope, make(JOB, version=5), False)
    assert heard.due() == set()
    assert heard.hearing.suspects(0.0) == []


def test_a_404_takes_the_object_out_and_concerns_it() -> None:
    heard = Heard()
    heard.intake.watched(heard.scope, make(JOB), False)
    heard.due()
    heard.intake.absent(JOB, "another-uid")
    assert heard.store.get(JOB) is not None
    heard.intake.absent(JOB, None)
    assert heard.store.get(JOB) is None
    assert heard.due() == {JOB}


def test_what_is_not_stored_is_ignored() -> None:
    heard = Heard()
    heard.intake.wrote(make(Key("Event", "studio", "e")), False)
    heard.intake.absent(Key("ConfigMap", "studio", "c"), None)
    heard.intake.watched(Scope("RenderJob", None), make(JOB), True)
    assert heard.due() == set()


def test_labelled_children_only() -> None:
    heard = Heard()
    pod = Key("Pod", "studio", "p")
    ours = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_NODE: "n"}
    assert not heard.intake.listed(make(pod, labels={LABEL_NODE: "n"}))
    assert heard.intake.listed(make(pod, labels=ours))
    assert heard.due() == {Key("RenderNode", "studio", "n")}

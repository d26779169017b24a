import copy
import random
from typing import Any

import pytest
from drqueue.api.names import LABEL_MANAGED_BY, LABEL_SESSION, MANAGED_BY
from drqueue.control.expectations import OVERDUE
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.store import GRAVE_SECONDS, Store
from hypothesis import given
from hypothesis import strategies as st

JOB = Key("RenderJob", "studio", "a")
SESSION = Key("RenderSession", "studio", "teapots")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def job(version: int, uid: str = "u1", session: str = "teapots", name: str = "a") -> Object:
    return {
        "apiVersion": "drqueue.org/v1alpha1",
        "kind": "RenderJob",
        "metadata": {
            "name": name,
            "namespace": "studio",
            "uid": uid,
            "resourceVersion": str(version),
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {"sessionName": session},
    }


def pod(version: int, labels: dict[str, str], owner: str = "o1") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "studio",
            "uid": "p1",
            "resourceVersion": str(version),
            "labels": labels,
            "ownerReferences": [{"uid": owner}],
        },
    }


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock)


def test_an_older_version_never_replaces_a_newer_one(store: Store) -> None:
    assert store.apply_event(job(10, session="new"))
    assert not store.apply_event(job(9, session="old"))
    assert not store.apply_event(job(10, session="same"))
    held = store.get(JOB)
    assert held and held["spec"]["sessionName"] == "new"
    assert [key_of(obj) for obj in store.by_session("RenderJob", "studio", "new")] == [JOB]
    assert store.by_session("RenderJob", "studio", "old") == []


def test_versions_are_compared_as_numbers(store: Store) -> None:
    store.apply_event(job(9))
    assert store.apply_event(job(10))


def test_what_was_read_before_a_deletion_does_not_bring_the_object_back(
    store: Store, clock: Clock
) -> None:
    store.apply_event(job(5))
    assert store.apply_event(job(7), deleted=True)
    assert not store.apply_event(job(6))
    assert store.get(JOB) is None
    assert store.apply_event(job(8, uid="u2")), "a new object of the name is another one"
    clock.now += GRAVE_SECONDS + 1
    store.apply_event(job(20, uid="u3", name="b"), deleted=True)
    assert len(store._graves) == 1, "graves are not kept for ever"


def test_the_end_of_an_earlier_object_leaves_its_successor(store: Store) -> None:
    store.apply_event(job(9, uid="u2"))
    assert not store.apply_event(job(8, uid="u1"), deleted=True)
    assert not store.gone(JOB, "u1")
    assert store.get(JOB) is not None


def test_a_late_word_of_the_end_counts_for_the_same_object(store: Store) -> None:
    store.apply_event(job(9))
    assert store.apply_event(job(8), deleted=True)
    assert store.get(JOB) is None


def test_foreign_pods_and_unknown_kinds_are_not_stored(store: Store) -> None:
    assert not store.apply_event(pod(1, {}))
    assert not store.apply_event(pod(1, {LABEL_MANAGED_BY: "helm"}))
    assert not store.apply_event({**job(1), "kind": "ConfigMap"})
    assert set(store.counts().values()) == {0}


def test_children_are_found_by_session_and_owner(store: Store) -> None:
    ours = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_SESSION: "teapots"}
    store.apply_event(pod(1, ours))
    assert len(store.by_session("Pod", "studio", "teapots")) == 1
    assert len(store.by_owner("Pod", "o1")) == 1
    assert store.by_session("Pod", "elsewhere", "teapots") == []
    store.gone(Key("Pod", "studio", "p"))
    assert store.by_owner("Pod", "o1") == []


def test_of_secrets_only_metadata_is_kept(store: Store) -> None:
    secret = {**pod(1, {LABEL_MANAGED_BY: MANAGED_BY}), "kind": "Secret", "data": {"tls.key": "x"}}
    store.apply_event(secret)
    held = store.get(Key("Secret", "studio", "p"))
    assert held is not None and set(held) == {"apiVersion", "kind", "metadata"}


def test_of_a_pods_spec_only_its_machine_is_kept(store: Store) -> None:
    spec = {"nodeName": "machine-1", "containers": [{"name": "slave"}]}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    store.apply_event({**pod(1, {LABEL_MANAGED_BY: MANAGED_BY}), "spec": spec, "status": status})
    held = store.get(Key("Pod", "studio", "p"))
    assert held is not None
    assert (held["spec"], held["status"]) == ({"nodeName": "machine-1"}, status)


def test_what_no_reconciler_reads_is_dropped(store: Store) -> None:
    obj = job(1)
    obj["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "request.drqueue.org/1": '{"verb": "kill"}',
    }
    store.apply_event(obj)
    held = store.get(JOB)
    assert held is not None
    assert "managedFields" not in held["metadata"]
    assert list(held["metadata"]["annotations"]) == ["request.drqueue.org/1"]


def test_a_sweep_drops_ghosts_but_not_what_is_newer_than_its_list(store: Store) -> None:
    store.apply_event(job(5, uid="ghost", name="ghost"))
    store.apply_event(job(6, uid="kept", name="kept"))
    store.apply_event(job(99, uid="newer", name="newer"))
    dropped = store.retain("RenderJob", None, {"kept"}, list_version=50)
    assert [obj["metadata"]["name"] for obj in dropped] == ["ghost"]
    names = [obj["metadata"]["name"] for obj in store.list("RenderJob")]
    assert names == ["kept", "newer"]


def test_a_sweep_of_one_namespace_leaves_the_others(store: Store) -> None:
    store.apply_event(job(5))
    assert store.retain("RenderJob", "elsewhere", set(), list_version=50) == []
    assert store.get(JOB) is not None


def test_expectations_hold_until_the_child_is_seen(store: Store) -> None:
    store.expect_created(SESSION, JOB)
    assert not store.satisfied(SESSION)
    store.apply_event(job(1))
    assert store.satisfied(SESSION)
    store.expect_deleted(SESSION, JOB, "u1")
    store.apply_event(job(2))
    assert not store.satisfied(SESSION)
    going = job(3)
    going["metadata"]["deletionTimestamp"] = "2026-11-25T10:00:00Z"
    store.apply_event(going)
    assert store.satisfied(SESSION)


def test_expectations_end_when_refused_or_overdue_or_gone(store: Store, clock: Clock) -> None:
    store.expect_created(SESSION, JOB)
    store.unexpect(SESSION, JOB)
    assert store.satisfied(SESSION)
    store.expect_created(SESSION, JOB)
    clock.now += OVERDUE - 1
    assert not store.satisfied(SESSION)
    clock.now += 2
    assert store.satisfied(SESSION)
    store.apply_event(job(1))
    store.expect_deleted(SESSION, JOB, "u1")
    store.gone(JOB)
    assert store.satisfied(SESSION)


Life = list[tuple[int, Object, bool]]


@st.composite
def lives(draw: st.DrawFn) -> tuple[Life, dict[Key, Object]]:
    """Events of objects that come, change and go, and what is there in the end."""
    events: Life = []
    truth: dict[Key, Object] = {}
    for version in range(1, 1 + draw(st.integers(1, 25))):
        name = draw(st.sampled_from(["a", "b", "c"]))
        key = JOB._replace(name=name)
        there = truth.get(key)
        uid = there["metadata"]["uid"] if there else f"u{version}"
        obj = job(version, uid, draw(st.sampled_from(["x", "y"])), name)
        deleted = there is not None and draw(st.booleans())
        if deleted:
            del truth[key]
        else:
            truth[key] = obj
        events.append((version, obj, deleted))
    return events, truth


@given(lives(), st.integers(0, 2**32))
def test_events_in_any_order_and_number_end_in_the_truth(
    life: tuple[Life, dict[Key, Object]], seed: int
) -> None:
    events, truth = life
    chance = random.Random(seed)  # noqa: S311 repeatable on purpose
    heard = events + [event for event in events if chance.random() < 0.5]
    chance.shuffle(heard)
    store = Store(lambda: 0.0)
    for _, obj, deleted in heard:
        store.apply_event(copy.deepcopy(obj), deleted=deleted)
    assert {key_of(obj): _plain(obj) for obj in store.list("RenderJob")} == {
        key: _plain(obj) for key, obj in truth.items()
    }
    for session in ("x", "y"):
        assert {key_of(obj) for obj in store.by_session("RenderJob", "studio", session)} == {
            key for key, obj in truth.items() if obj["spec"]["sessionName"] == session
        }


def _plain(obj: Object) -> tuple[Any, ...]:
    return (obj["metadata"]["uid"], obj["metadata"]["resourceVersion"], obj["spec"])

"""The dry run: what it tells, once, and that what it asks for is never stored."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from drqueue.control import session_jobs
from drqueue.control.client import Client
from drqueue.control.dry_run import Rehearsal, concerning, rehearsed
from drqueue.control.errors import MasterAway
from drqueue.control.fit import Offer, offer_of
from drqueue.control.kinds import Key, Object
from drqueue.control.master_link import MasterLink
from drqueue.control.masters import Masters
from drqueue.control.metrics import Metrics
from drqueue.farm.protocol import NodeOrder
from drqueue.security.ca import CertificateAuthority

from tests.unit.fake_api import FakeApi

OWNER = {
    "apiVersion": "drqueue.org/v1alpha1",
    "kind": "RenderNode",
    "name": "teapots-0",
    "uid": "uid-node",
    "controller": True,
}


class Told:
    """Events that were told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, obj: Object, type: str, reason: str, message: str) -> None:
        assert (type, reason) == ("Normal", "DryRun")
        self.events.append((obj["kind"], obj["metadata"]["name"], message))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def rehearsal(told: Told) -> Rehearsal:
    made = Rehearsal()
    made.recorder = told
    return made


def obj(kind: str, name: str, **parts: Any) -> Object:
    meta = {"name": name, "namespace": "studio", "uid": f"uid-{name}", "resourceVersion": "1"}
    meta |= parts.pop("metadata", {})
    version = "v1" if kind in ("Pod", "Secret") else "drqueue.org/v1alpha1"
    return {"apiVersion": version, "kind": kind, "metadata": meta, **parts}


@pytest.mark.parametrize(
    ("verb", "query", "body", "expected"),
    [
        ("create", None, {"a": 1}, ({"dryRun": "All"}, {"a": 1})),
        ("apply", {"force": "true"}, {}, ({"force": "true", "dryRun": "All"}, {})),
        # with a body, a delete's query is not read
        ("delete", None, {"kind": "D"}, (None, {"kind": "D", "dryRun": ["All"]})),
        (
            "delete",
            None,
            None,
            (None, {"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"]}),
        ),
    ],
)
def test_requests_ask_for_a_dry_run(
    verb: str, query: Mapping[str, str] | None, body: Any, expected: Any
) -> None:
    assert rehearsed(verb, query, body) == expected


def test_an_event_is_on_what_people_look_at(rehearsal: Rehearsal, told: Told) -> None:
    session = {"drqueue.org/session": "teapots", "drqueue.org/session-uid": "uid-session"}
    rehearsal.would("create", obj("Pod", "a", metadata={"ownerReferences": [OWNER]}))
    rehearsal.would("apply", obj("PersistentVolumeClaim", "b", metadata={"labels": session}))
    rehearsal.would("patch", obj("RenderNode", "c"), {"spec": {"drain": True}})
    rehearsal.would("delete", obj("RenderNode", "c"))
    assert told.events == [
        ("RenderNode", "teapots-0", "would create Pod a"),
        ("RenderSession", "teapots", "would apply PersistentVolumeClaim b"),
        ("RenderNode", "c", "would patch RenderNode c: spec.drain"),
        ("RenderNode", "c", "would delete RenderNode c"),
    ]


def test_housekeeping_is_no_event(rehearsal: Rehearsal, told: Told) -> None:
    rehearsal.would("patch", obj("RenderSession", "a"), {"metadata": {"finalizers": ["x"]}})
    rehearsal.would("apply", obj("Secret", "keys", metadata={"ownerReferences": [OWNER]}))
    assert told.events == []


def test_what_was_only_rehearsed_gets_no_event_of_its_own() -> None:
    assert concerning(obj("RenderInvoice", "a"), "create") is None


def test_a_node_that_is_there_hears_of_itself(rehearsal: Rehearsal, told: Told) -> None:
    """One that would be made has only its session to hear of it."""
    session = {**OWNER, "kind": "RenderSession", "name": "teapots"}
    node = obj("RenderNode", "a", metadata={"ownerReferences": [session]})
    rehearsal.would("delete", node)
    rehearsal.would("create", node)
    assert [(kind, name) for kind, name, _ in told.events] == [
        ("RenderNode", "a"),
        ("RenderSession", "teapots"),
    ]


def test_events_themselves_are_really_written(rehearsal: Rehearsal, told: Told) -> None:
    rehearsal.would("create", obj("Event", "a", metadata={"ownerReferences": [OWNER]}))
    assert (told.events, rehearsal._told) == ([], {})


def test_each_thing_is_told_once(rehearsal: Rehearsal, told: Told) -> None:
    for _ in range(3):
        rehearsal.would("create", obj("Pod", "a", metadata={"ownerReferences": [OWNER]}))
    assert len(told.events) == 1
    for index in range(20_000):
        rehearsal.nodes(obj("RenderSession", f"s{index}", spec=SPEC), 1)
    assert len(rehearsal._told) == 10_000


def test_a_status_that_says_the_same_is_not_told(rehearsal: Rehearsal, told: Told) -> None:
    node = obj("RenderNode", "a", status={"phase": "Ready", "block": "a 1-2"})
    rehearsal.status(node, {"phase": "Ready", "block": "a 3-4"})
    assert told.events == []


def test_what_reconcilers_would_tell_is_told_as_such(rehearsal: Rehearsal, told: Told) -> None:
    payment = obj("RenderPayment", "first")
    for amount in ("100", "200"):
        rehearsal.event(payment, "Normal", "Booking", f"{amount} EUR: in the books")
    assert told.events == [
        ("RenderPayment", "first", "would tell of Booking: 100 EUR: in the books")
    ]


def ready(status: str, reason: str, message: str = "") -> Object:
    return {"type": "Ready", "status": status, "reason": reason, "message": message}


def test_a_status_is_told_when_it_says_something_else(rehearsal: Rehearsal, told: Told) -> None:
    session = obj("RenderSession", "teapots")
    for message in ("3 s left", "2 s left"):
        conditions = [ready("False", "MasterStarting", message)]
        rehearsal.status(session, {"phase": "Active", "conditions": conditions})
    rehearsal.status(session, {"phase": "Active", "conditions": [ready("True", "Active")]})
    assert [message for _, _, message in told.events] == [
        "would say: Active, Ready=False (MasterStarting): 3 s left",
        "would say: Active, Ready=True (Active)",
    ]


SPEC = {"nodeClassName": "small", "nodes": 4, "renderTime": "1h"}


@pytest.mark.parametrize(
    ("spec", "blocks", "said"),
    [
        ({}, 12, "would have 4 of 4 nodes of class small for 12 blocks"),
        ({}, 3, "would have 3 of 4 nodes of class small for 3 blocks"),
        ({"suspend": True}, 3, "would have 0 of 4 nodes"),
    ],
)
def test_a_session_is_told_how_many_nodes_it_would_have(
    rehearsal: Rehearsal, told: Told, spec: Object, blocks: int, said: str
) -> None:
    rehearsal.nodes(obj("RenderSession", "teapots", spec={**SPEC, **spec}), blocks)
    (event,) = told.events
    assert event[2].startswith(said)


def job(**parts: Any) -> Object:
    spec = {"frames": "1-24", "blockSize": 5, "renderer": "povray", **parts.pop("spec", {})}
    return obj("RenderJob", "turntable", spec=spec, **parts)


@pytest.mark.parametrize(
    ("job", "blocks"),
    [
        (job(), 5),  # no status was ever written
        (job(status={"frames": {"total": 24, "succeeded": 20, "failed": 1}}), 1),
        (job(spec={"suspend": True}), 0),
        (job(spec={"renderer": "blender"}), 0),
        (job(status={"phase": "Killed"}), 0),
        (job(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), 0),
    ],
)
def test_blocks_are_counted_without_a_status(job: Object, blocks: int) -> None:
    offer: Offer = offer_of({"provider": {"kubernetes": {}}, "renderers": ["povray"]})
    assert session_jobs.expected_blocks([job], [offer]) == blocks


async def test_a_client_takes_no_answer_in(rehearsal: Rehearsal, told: Told) -> None:
    heard: list[Object] = []
    absent: list[Key] = []
    api = FakeApi()  # stores, as no dry run would: only what the client does is looked at
    client = Client(
        api,
        lambda obj, deleted: heard.append(obj),
        lambda key, uid: absent.append(key),
        rehearsal,
    )
    session = await client.create(obj("RenderSession", "teapots", spec=SPEC))
    assert await client.update_status(session, {"phase": "Active"}) is session
    assert (heard, absent) == ([], [])
    assert told.events == [("RenderSession", "teapots", "would say: Active")]


async def test_masters_are_told_nothing() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    ca = CertificateAuthority.create(lambda: now)[0]
    link = MasterLink(ca, lambda: now, Metrics())
    masters = Masters(link, lambda _: None, silent=True)
    session = Key("RenderSession", "studio", "teapots")
    with pytest.raises(MasterAway, match="dry run"):
        await masters.delete_job(session, "a")
    with pytest.raises(MasterAway, match="dry run"):
        await masters.put_node(session, "a", NodeOrder(name="n", state="closed"))
    await masters.close()

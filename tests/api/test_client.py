"""The client against a real API server: what it sends is understood, and refusals are sorted."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from drqueue.api import API_VERSION
from drqueue.api.names import FINALIZER, LABEL_MANAGED_BY, MANAGED_BY
from drqueue.control import errors
from drqueue.control.authority import ensure_authority
from drqueue.control.client import Client
from drqueue.control.events import EventRecorder
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.limiter import Limiter
from drqueue.control.metrics import Metrics
from drqueue.control.store import Store
from drqueue.control.transport import Transport, connect

from tests.control_plane import Cluster


class Sent:
    """A client, the store that it keeps fresh, and the API to ask directly."""

    def __init__(self, transport: Transport, namespace: str) -> None:
        self.store = Store(time.monotonic)
        self.client = Client(transport, self._heard, self.store.gone)
        self.namespace = namespace

    def _heard(self, obj: Object, deleted: bool) -> None:
        self.store.apply_event(obj, deleted=deleted)

    def session(self, name: str = "teapots", **spec: Any) -> Object:
        return {
            "apiVersion": API_VERSION,
            "kind": "RenderSession",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"nodeClassName": "cpu", "nodes": 1, "renderTime": "1h", **spec},
        }

    def key(self, kind: str = "RenderSession", name: str = "teapots") -> Key:
        return Key(kind, self.namespace, name)


@pytest.fixture
async def sent(cluster: Cluster, namespace: str) -> AsyncIterator[Sent]:
    async with await connect(cluster.kubeconfig) as api:
        limiter = Limiter(1000, 100, time.monotonic)
        yield Sent(Transport(api, limiter, Metrics()), namespace)


async def test_what_writes_answer_is_in_the_store_at_once(sent: Sent) -> None:
    client, store, key = sent.client, sent.store, sent.key()
    made = await client.create(sent.session())
    assert store.get(key) == made
    again = await client.apply(sent.session(nodes=3))
    held = store.get(key)
    assert held and held["spec"]["nodes"] == again["spec"]["nodes"] == 3
    assert (await client.get(key))["spec"] == held["spec"]
    assert await client.delete(key)
    assert store.get(key) is None
    assert not await client.delete(key)


async def test_the_whole_status_is_replaced_under_resource_version(sent: Sent) -> None:
    client = sent.client
    made = await client.create(sent.session())
    first = await client.update_status(made, {"phase": "Active", "claimName": "volume"})
    assert first["status"] == {"phase": "Active", "claimName": "volume"}
    second = await client.update_status(first, {"phase": "Asleep"})
    assert second["status"] == {"phase": "Asleep"}
    assert second["spec"] == made["spec"]
    with pytest.raises(errors.Conflict):
        await client.update_status(first, {"phase": "Ending"})
    unwritten = await client.update_status(second, {"phase": "Asleep"})
    assert unwritten["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_finalizers_hold_and_let_go(sent: Sent) -> None:
    client, key = sent.client, sent.key()
    held = await client.add_finalizer(await client.create(sent.session()), FINALIZER)
    assert await client.add_finalizer(held, FINALIZER) is held
    assert await client.delete(key, uid=held["metadata"]["uid"])
    going = sent.store.get(key)
    assert going and "deletionTimestamp" in going["metadata"]
    await client.remove_finalizer(going, FINALIZER)
    assert sent.store.get(key) is None
    await client.remove_finalizer(going, FINALIZER)
    with pytest.raises(errors.NotFound):
        await client.get(key)


async def test_another_object_of_the_name_is_left_alone(sent: Sent) -> None:
    made = await sent.client.create(sent.session())
    another = "00000000-0000-0000-0000-000000000000"
    assert not await sent.client.delete(sent.key(), uid=another)
    assert (await sent.client.get(sent.key()))["metadata"]["uid"] == made["metadata"]["uid"]
    with pytest.raises(errors.Conflict):
        await sent.client.delete(sent.key(), resource_version="1")


async def test_merge_patches_may_be_held_to_a_version(sent: Sent) -> None:
    made = await sent.client.create(sent.session())
    await sent.client.patch(sent.key(), {"metadata": {"annotations": {"a": "1"}}})
    with pytest.raises(errors.Conflict):
        await sent.client.patch(
            sent.key(), {"spec": {"nodes": 2}}, made["metadata"]["resourceVersion"]
        )
    freed = await sent.client.patch(sent.key(), {"metadata": {"annotations": {"a": None}}})
    assert "annotations" not in freed["metadata"]


async def test_refusals_are_sorted(sent: Sent) -> None:
    client = sent.client
    await client.create(sent.session())
    with pytest.raises(errors.AlreadyExists):
        await client.create(sent.session())
    with pytest.raises(errors.Invalid, match="nodes"):
        await client.create(sent.session("none", nodes=0))
    with pytest.raises(errors.NotFound):
        await client.get(sent.key(name="absent"))
    with pytest.raises(errors.NotFound):
        await client.update_status(sent.session("absent"), {"phase": "Active"})
    nowhere = sent.session()
    nowhere["metadata"]["namespace"] = "no-such-namespace"
    for write in (client.create, client.apply):
        with pytest.raises(errors.NamespaceEnding):
            await write(nowhere)


async def test_a_quota_that_is_used_up_is_no_capacity(sent: Sent) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": sent.namespace},
        "spec": {"hard": {"count/secrets": "0"}},
    }
    path = f"/api/v1/namespaces/{sent.namespace}/resourcequotas"
    transport: Any = sent.client._transport
    await transport.request("create", "ResourceQuota", path, body=quota)
    async with asyncio.timeout(120):
        for number in range(2000):  # until the quota has been counted
            meta = {"name": f"s-{number}", "namespace": sent.namespace}
            try:
                await sent.client.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta})
            except errors.NoCapacity as error:
                assert error.cooldown > 0
                return
            await asyncio.sleep(0.1)
    pytest.fail("2000 Secrets were made against a quota of none")


async def test_a_namespace_that_is_being_deleted_is_its_own_sort(sent: Sent) -> None:
    held = await sent.client.add_finalizer(await sent.client.create(sent.session()), FINALIZER)
    await sent.client.delete(Key("Namespace", None, sent.namespace))
    with pytest.raises(errors.NamespaceEnding):
        await sent.client.create(sent.session("late"))
    going = await sent.client.get(key_of(held))
    await sent.client.remove_finalizer(going, FINALIZER)


async def test_lists_come_whole_by_pages_and_selectors(sent: Sent) -> None:
    labels = {LABEL_MANAGED_BY: MANAGED_BY}
    for number in range(5):
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": f"s-{number}",
                "namespace": sent.namespace,
                "labels": labels if number else {},
            },
            "stringData": {"key": "value"},
        }
        await sent.client.create(secret)
    selector = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
    pages = sent.client.pages(
        "Secret", sent.namespace, labels=selector, metadata_only=True, limit=3
    )
    found = [(page, version) async for page, version in pages]
    assert [len(page) for page, _ in found] == [3, 1]
    assert len({version for _, version in found}) == 1 and found[0][1] > 0
    assert {obj["kind"] for page, _ in found for obj in page} == {"Secret"}
    assert not any("data" in obj for page, _ in found for obj in page)
    assert len(await sent.client.list("Secret", sent.namespace)) == 5
    metadata = await sent.client.get_metadata(sent.key("Secret", "s-1"))
    assert set(metadata) == {"apiVersion", "kind", "metadata"}
    assert metadata["metadata"]["labels"] == labels


async def test_of_many_replicas_that_make_the_authority_all_take_the_same(sent: Sent) -> None:
    made = await asyncio.gather(
        *(ensure_authority(sent.client, sent.namespace, lambda: datetime.now(UTC)) for _ in "abcde")
    )
    assert len({authority.fingerprint for authority in made}) == 1


async def test_events_are_on_their_objects_once(sent: Sent) -> None:
    now: Callable[[], datetime] = lambda: datetime.now(UTC)  # noqa: E731
    recorder = EventRecorder(sent.client, "operator-1", now, time.monotonic)
    made = await sent.client.create(sent.session())
    for _ in range(3):
        recorder.event(made, "Warning", "NodeClassNotFound", "there is no class cpu")
    recorder.event(made, "Normal", "Ready", "é" * 5000)
    posting = asyncio.create_task(recorder.run())
    events: list[Object] = []
    async with asyncio.timeout(60):
        while len(events) < 2:
            events = await sent.client.list("Event", sent.namespace)
            await asyncio.sleep(0.1)
    posting.cancel()
    assert sorted((event["reason"], event["type"]) for event in events) == [
        ("NodeClassNotFound", "Warning"),
        ("Ready", "Normal"),
    ]
    assert {event["regarding"]["uid"] for event in events} == {made["metadata"]["uid"]}
    assert max(len(event["note"].encode()) for event in events) == 1023

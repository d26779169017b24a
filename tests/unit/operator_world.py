"""The operator's parts around an API server in memory: reconcilers run, nothing else does."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from drqueue.api.names import FINALIZER
from drqueue.control.children import session_id
from drqueue.control.client import Client
from drqueue.control.context import Context
from drqueue.control.kinds import Key, Object
from drqueue.control.masters import Masters
from drqueue.control.queue import WorkQueue
from drqueue.control.reconcilers import providers
from drqueue.control.settings import Settings
from drqueue.control.store import STORED, Store
from drqueue.farm.orders import MAX_REQUESTS_KEPT
from drqueue.farm.protocol import (
    Changes,
    JobOrder,
    JobReport,
    NodeOrder,
    NodeReport,
    RequestOrder,
    RequestReport,
)
from drqueue.security.ca import CertificateAuthority

from tests.manifests import manifest
from tests.unit.fake_api import FakeApi

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TENANT = "studio-a"


class FakeMasters:
    """All masters are one, which reports what the test says and takes every order."""

    def __init__(self) -> None:
        self.reported: Changes | None = None
        self.told: list[JobOrder] = []
        self.forgotten: list[str] = []

    def start(self, session: Key, session_uid: str, service: str) -> None: ...

    def stop(self, session: Key) -> None: ...

    def changes(self, session: Key) -> Changes | None:
        return self.reported

    def connected(self, session: Key) -> bool:
        return self.reported is not None

    def job(self, session: Key, uid: str) -> JobReport | None:
        jobs = self.reported.jobs if self.reported else ()
        return next((report for report in jobs if report.uid == uid), None)

    def node(self, session: Key, uid: str) -> NodeReport | None:
        nodes = self.reported.nodes if self.reported else ()
        return next((report for report in nodes if report.uid == uid), None)

    async def put_job(self, session: Key, order: JobOrder) -> JobReport:
        """Journals the requests in it, and answers the latest, as a master does."""
        self.told.append(order)
        report, reported = self.job(session, order.uid), self.reported
        assert report is not None and reported is not None
        answers = [*report.requests, *(_done(request) for request in order.requests)]
        latest = tuple(answers)[-MAX_REQUESTS_KEPT:]
        report = report.model_copy(update={"requests": latest})
        others = [job for job in reported.jobs if job.uid != order.uid]
        self.reported = reported.model_copy(update={"jobs": (*others, report)})
        return report

    async def delete_job(self, session: Key, uid: str) -> None:
        self.forgotten.append(uid)

    async def put_node(self, session: Key, uid: str, order: NodeOrder) -> NodeReport:
        return NodeReport(uid=uid, name=order.name, state=order.state)


def _done(request: RequestOrder) -> RequestReport:
    return RequestReport(id=request.id, verb=request.verb, result="Done", message="", time=NOW)


def report(uid: str, name: str, **parts: Any) -> JobReport:
    """What a master says of a job that waits, all of it."""
    counts = {"total": 24, "waiting": 24, "running": 0, "succeeded": 0, "failed": 0}
    texts = {"succeeded_frames": "", "failed_frames": "", "output_folder": name}
    blocks = {"waiting_blocks": 24, "running_blocks": 0}
    fields = {"uid": uid, "name": name, "generation": 1, "state": "waiting"}
    return JobReport.model_validate({**fields, **counts, **texts, **blocks, **parts})


class World:
    """One operator, one tenant."""

    def __init__(self) -> None:
        self.api, self.now = FakeApi(), NOW
        self.masters = FakeMasters()
        self.events: list[tuple[str, str]] = []
        self.store = Store(lambda: 0.0)
        settings = Settings()
        client = Client(
            self.api,
            self._heard,
            lambda key, uid: key.kind in STORED and self.store.gone(key, uid),
        )
        authority, _ = CertificateAuthority.create(lambda: self.now)
        self.ctx = Context(
            settings=settings,
            client=client,
            store=self.store,
            queue=WorkQueue(lambda: 0.0, lambda: 0.5),
            masters=cast(Masters, self.masters),
            events=self,
            clock=lambda: self.now,
            ca=authority,
            providers=providers(client, settings, self.store),
        )

    def _heard(self, obj: Object, deleted: bool) -> None:
        self.store.apply_event(obj, deleted=deleted)

    def event(self, obj: Object, type: str, reason: str, message: str) -> None:
        """The recorder's."""
        self.events.append((reason, message))

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def put(self, obj: Object) -> Object:
        """Have an object be there, made by somebody else, and heard of."""
        key = Key(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"])
        made = await Client(self.api, self._heard).create(obj)
        return self.get(key) or made

    async def make(self, kind: str, changes: Mapping[str, Any] | None = None) -> Object:
        """Have one of ours be there, with our finalizer."""
        made = manifest(kind, dict(changes or {}))
        made["metadata"] = {
            "uid": f"uid-{kind.lower()}",
            "generation": 1,
            "finalizers": [FINALIZER],
            "namespace": TENANT,
            **made["metadata"],
        }
        if kind == "RenderNodeClass":
            del made["metadata"]["namespace"]
        return await self.put(made)

    async def bound_claim(self, name: str) -> None:
        """Have a claim be there that all machines can mount."""
        meta = {"name": name, "namespace": TENANT}
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10Gi"}}}
        status = {"phase": "Bound", "capacity": {"storage": "10Gi"}}
        await self.put(
            {"kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec, "status": status}
        )

    async def ready_master(self, session: Object) -> None:
        """Have a session's master run."""
        known = session_id(session)
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        meta = known.meta(known.master, "master")
        await self.put({"kind": "Pod", "metadata": meta, "spec": {}, "status": ready})

    def get(self, key: Key) -> Object | None:
        return self.api.objects.get(key)

    def names(self, *kinds: str) -> list[str]:
        """What there is of these kinds on the API server."""
        return sorted(f"{key.kind} {key.name}" for key in self.api.objects if key.kind in kinds)

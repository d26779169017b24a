"""Where all news comes in: into the store, and the keys it touches onto the queue."""

from drqueue.control.hearing import Hearing, Scope
from drqueue.control.kinds import Key, Object, Objects, key_of
from drqueue.control.metrics import Metrics
from drqueue.control.queue import WorkQueue
from drqueue.control.routes import Change, affected
from drqueue.control.store import STORED, Store, version_of


class Intake:
    """Takes in objects from watches, sweeps and the answers to our own writes."""

    def __init__(self, store: Store, queue: WorkQueue, hearing: Hearing, metrics: Metrics) -> None:
        self._store = store
        self._queue = queue
        self._hearing = hearing
        self._metrics = metrics

    def watched(self, scope: Scope, obj: Object, deleted: bool) -> None:
        """A watch delivered an object."""
        self._metrics.watch_events.labels(scope.kind).inc()
        self._hearing.delivered(scope, version_of(obj))
        self._take(obj, deleted)

    def wrote(self, obj: Object, deleted: bool) -> None:
        """A write of ours was answered by an object."""
        if obj.get("kind") not in STORED:
            return
        version = version_of(obj)
        if self._take(obj, deleted):
            self._owe(obj, version)

    def absent(self, key: Key, uid: str | None) -> None:
        """The server says that there is no such object."""
        if key.kind not in STORED:
            return
        old = self._store.get(key)
        if self._store.gone(key, uid):
            self._route(key, Change(old, None))

    def listed(self, obj: Object) -> bool:
        """A LIST sweep showed an object; True if that was news."""
        version = version_of(obj)
        news = self._take(obj, deleted=False)
        if news:
            self._owe(obj, version)
        return news

    def dropped(self, objects: Objects) -> None:
        """A LIST sweep no longer had these, and the store has dropped them."""
        for obj in objects:
            self._route(key_of(obj), Change(obj, None))

    def _take(self, obj: Object, deleted: bool) -> bool:
        key = key_of(obj)
        old = self._store.get(key) if key.kind in STORED else None
        if not self._store.apply_event(obj, deleted=deleted):
            return False
        self._route(key, Change(old, self._store.get(key)))
        return True

    def _route(self, key: Key, change: Change) -> None:
        for route in affected(key, change, self._store):
            self._queue.add(route.key, route.after)

    def _owe(self, obj: Object, version: int) -> None:
        scope = self._hearing.scope_of(obj["kind"], obj["metadata"].get("namespace"))
        if scope is not None:
            self._hearing.owes(scope, version)

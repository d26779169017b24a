"""A model API server, and operators with old caches whose rounds stop between any two steps.

Objects are JSON and never changed in place. A round is a generator that yields one request at a
time; the world carries it out when the test says so, or never (a crash).
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from drqueue.api.names import FINALIZER

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace, name."""
KINDS = (
    "RenderAccount",
    "RenderPayment",
    "RenderInvoice",
    "RenderSession",
    "RenderNode",
    "RenderNodeClass",
)
START = datetime(2026, 11, 25, 22, 0, tzinfo=UTC)


class ConflictError(Exception):
    """The object is another by now, is there already, or is gone."""


@dataclass
class Server:
    """Objects with resourceVersions, and all that ever happened to them."""

    objects: dict[Key, Object] = field(default_factory=dict)
    log: list[tuple[Key, str, Object | None]] = field(default_factory=list)
    """Key, UID, and the object from then on (None: gone)."""
    version: int = 0
    now: datetime = START
    on_write: Callable[[Object | None, Object | None], None] = lambda old, new: None

    def get(self, key: Key) -> Object | None:
        return self.objects.get(key)

    def all(self, kind: str) -> list[Object]:
        return [obj for key, obj in sorted(self.objects.items()) if key[0] == kind]

    def create(self, kind: str, namespace: str, name: str, **parts: Any) -> Object:
        key = (kind, namespace, name)
        if key in self.objects:
            raise ConflictError(f"{key} is there already")
        meta = {
            "name": name,
            "namespace": namespace,
            "uid": f"{kind[6:9].lower()}-{self.version + 1}",
            "generation": 1,
            # the order of creation; the clock may go backwards
            "creationTimestamp": f"{self.version + 1:06}",
            **parts.pop("metadata", {}),
        }
        return self._put(key, {"kind": kind, "metadata": meta, **parts})

    def write_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        now = self._same(obj)
        if (now.get("status") or {}) == status:
            return now
        return self._put(key_of(now), {**now, "status": dict(status)})

    def set_finalizers(self, obj: Mapping[str, Any], finalizers: list[str]) -> Object | None:
        now = self._same(obj)
        meta = {**now["metadata"], "finalizers": finalizers}
        if not finalizers and "deletionTimestamp" in meta:
            self._put(key_of(now), None)
            return None
        return self._put(key_of(now), {**now, "metadata": meta})

    def edit(self, key: Key, **spec: Any) -> None:
        now = self.objects[key]
        changed = {**now["spec"], **spec}
        if changed == now["spec"]:
            return
        meta = {**now["metadata"], "generation": now["metadata"]["generation"] + 1}
        self._put(key, {**now, "metadata": meta, "spec": changed})

    def delete(self, key: Key, uid: str | None = None) -> None:
        now = self.objects.get(key)
        if now is None or (uid is not None and now["metadata"]["uid"] != uid):
            return
        if not now["metadata"].get("finalizers"):
            self._put(key, None)
        elif "deletionTimestamp" not in now["metadata"]:
            stamp = {"deletionTimestamp": self.now.isoformat()}
            self._put(key, {**now, "metadata": {**now["metadata"], **stamp}})

    def _same(self, obj: Mapping[str, Any]) -> Object:
        now = self.objects.get(key_of(obj))
        mark = obj["metadata"]
        if (
            now is None
            or now["metadata"]["uid"] != mark["uid"]
            or now["metadata"]["resourceVersion"] != mark["resourceVersion"]
        ):
            raise ConflictError(f"{key_of(obj)} is another by now")
        return now

    def _put(self, key: Key, obj: Object | None) -> Object:
        self.version += 1
        old = self.objects.get(key)
        if obj is None:
            del self.objects[key]
        else:
            meta = {**obj["metadata"], "resourceVersion": str(self.version)}
            obj = {**obj, "metadata": meta}
            self.objects[key] = obj
        self.log.append((key, ((obj or old) or {})["metadata"]["uid"], obj))
        self.on_write(old, obj)
        return obj or {}


def key_of(obj: Mapping[str, Any]) -> Key:
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]


@dataclass(frozen=True)
class Request:
    """One request to the server: what a round yields."""

    verb: str
    run: Callable[[Server], Any]


Round = Generator[Request, Any, None]


@dataclass
class Operator:
    """A cache that lags behind, kind by kind, and rounds in flight."""

    server: Server
    cache: dict[Key, Object] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    rounds: dict[Key, Round] = field(default_factory=dict)
    answers: dict[Key, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def hear(self, kind: str, count: int | None = None) -> None:
        """Take in the next events of a kind, or all of them."""
        log, at = self.server.log, self.heard[kind]
        while at < len(log) and count != 0:
            key, _, obj = log[at]
            at += 1
            if key[0] != kind:
                continue
            self._take(key, obj)
            count = None if count is None else count - 1
        self.heard[kind] = at

    def hear_all(self) -> None:
        for kind in KINDS:
            self.hear(kind)

    def relist_late(self, kind: str, back: int) -> None:
        """Take in a list that was made some events ago: ghosts come back, the newest is missing."""
        past: dict[Key, Object] = {}
        for key, _, obj in self.server.log[: max(len(self.server.log) - back, 0)]:
            if key[0] == kind:
                past.pop(key, None)
                if obj is not None:
                    past[key] = obj
        for key in [key for key in self.cache if key[0] == kind]:
            del self.cache[key]
        self.cache.update(past)

    def restart(self) -> None:
        """Die, and begin anew with what there is."""
        self.crash()
        self.cache = dict(self.server.objects)
        self.heard = dict.fromkeys(KINDS, len(self.server.log))

    def crash(self) -> None:
        self.rounds.clear()
        self.answers.clear()

    def all(self, kind: str) -> list[Object]:
        return [obj for key, obj in sorted(self.cache.items()) if key[0] == kind]

    def start(self, key: Key) -> None:
        if key not in self.rounds:
            self.rounds[key] = ROUNDS[key[0]](self, key)
            self.answers[key] = None

    def step(self, key: Key) -> bool:
        """Carry out the next request of a round; False when it is over."""
        round_ = self.rounds[key]
        try:
            request = round_.send(self.answers[key])
            self.answers[key] = request.run(self.server)
        except (StopIteration, ConflictError):
            self.rounds.pop(key, None)
            return False
        return True

    def finish(self, key: Key) -> None:
        self.start(key)
        for _ in range(200):
            if not self.step(key):
                return
        raise AssertionError(f"the round of {key} does not end")

    def took(self, obj: Object | None) -> Object | None:
        """The answer to an own write goes into the cache at once, as in the real store."""
        if obj:
            self._take(key_of(obj), obj)
        return obj

    def _take(self, key: Key, obj: Object | None) -> None:
        old = self.cache.get(key)
        if obj is None:
            self.cache.pop(key, None)
        elif old is None or int(old["metadata"]["resourceVersion"]) < int(
            obj["metadata"]["resourceVersion"]
        ):
            self.cache[key] = obj


ROUNDS: dict[str, Callable[[Operator, Key], Round]] = {}
"""Filled by `ledger_rounds`: how each kind is reconciled."""


def reconciled(server: Server) -> Iterator[Key]:
    """Keys of what the operator reconciles, as they are now."""
    return iter([key for key in sorted(server.objects) if key[0] in ROUNDS])


def with_finalizer(obj: Mapping[str, Any]) -> bool:
    return FINALIZER in (obj["metadata"].get("finalizers") or ())


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def later(server: Server, seconds: int) -> None:
    server.now += timedelta(seconds=seconds)

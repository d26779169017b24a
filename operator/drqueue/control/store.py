"""What exists, as last heard: by watch, by the LIST sweep, and by the answers to our own writes.

Objects are Kubernetes' JSON without managedFields; treat them as read-only. Of the kinds in
`kinds.PARTS` only kind and metadata are kept, and of a pod's spec only where it was scheduled. An
older version never replaces a newer one, and a deleted object is not brought back by what was read
before its end.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from drqueue.api.names import LABEL_MANAGED_BY, LABEL_SESSION, MANAGED_BY
from drqueue.control.expectations import Expectations
from drqueue.control.kinds import BOOKS, CHILDREN, PARTS, RECONCILED, Key, Object, Objects, key_of

Keys = list[Key]

_WHOLE = frozenset((*RECONCILED, *BOOKS, *CHILDREN))
_LABELLED = frozenset((*CHILDREN, *PARTS))
STORED = _WHOLE | frozenset(PARTS)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_NESTED = (dict, list)
_SHORT = 24
_POD_SPEC = ("nodeName",)
"""What reconcilers read of a pod's spec."""
GRAVE_SECONDS = 600.0
"""How long a deleted object's UID is remembered: longer than any read can be under way."""


def version_of(obj: Mapping[str, Any]) -> int:
    """The resourceVersion as a number: since Kubernetes 1.35 they may be compared as such."""
    version = obj["metadata"].get("resourceVersion", "")
    return int(version) if version.isdigit() else 0


class Store:
    """Objects by key, with indexes by session, owner and class, and expectations of children."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._objects: dict[str, dict[Key, Object]] = {kind: {} for kind in STORED}
        self._index: dict[tuple[str, ...], set[Key]] = defaultdict(set)
        self._graves: dict[str, float] = {}
        self._expectations = Expectations(monotonic)

    def get(self, key: Key) -> Object | None:
        """The object, or None. Raises KeyError for a kind that is not stored."""
        return self._objects[key.kind].get(key)

    def list(self, kind: str, namespace: str | None = None) -> Objects:
        """All of a kind, in a namespace or everywhere; sorted by namespace and name."""
        if namespace is None:
            return self._sorted(kind, set(self._objects[kind]))
        return self._sorted(kind, self._index.get(("namespace", kind, namespace), set()))

    def iterate(self, kind: str) -> Iterator[Object]:
        """All of a kind, in no order. The store must not change meanwhile: do not await."""
        return iter(self._objects[kind].values())

    def by_session(self, kind: str, namespace: str | None, session_name: str) -> Objects:
        """Objects whose spec.sessionName or session label is that session; sorted by name."""
        term = ("session", kind, namespace or "", session_name)
        return self._sorted(kind, self._index.get(term, set()))

    def by_owner(self, kind: str, uid: str) -> Objects:
        """Objects that have an ownerReference to that UID; sorted by name."""
        return self._sorted(kind, self._index.get(("owner", kind, uid), set()))

    def by_class(self, kind: str, class_name: str) -> Objects:
        """Sessions or nodes whose spec.nodeClassName is that class; sorted by name."""
        return self._sorted(kind, self._index.get(("class", kind, class_name), set()))

    def by_account(self, kind: str, account: str) -> Objects:
        """Payments to that account, or sessions that ask it or spend from it; sorted by name."""
        return self._sorted(kind, self._index.get(("account", kind, account), set()))

    def account(self, name: str) -> Object | None:
        """The RenderAccount of that name: all are in the one billing namespace."""
        found = self._sorted("RenderAccount", self._index.get(("named", name), set()))
        return found[0] if found else None

    def accounts_for(self, namespace: str) -> Objects:
        """The RenderAccounts that list that namespace; sorted by name."""
        return self._sorted("RenderAccount", self._index.get(("spends", namespace), set()))

    def count_by_class(self, kind: str, class_name: str) -> int:
        """How many sessions or nodes there are of that class."""
        return len(self._index.get(("class", kind, class_name), ()))

    def counts(self) -> dict[str, int]:
        """How many objects there are of each kind."""
        return {kind: len(objects) for kind, objects in self._objects.items()}

    def _sorted(self, kind: str, keys: set[Key]) -> Objects:
        objects = self._objects[kind]
        return [objects[key] for key in sorted(keys, key=lambda k: (k.namespace or "", k.name))]

    # what is heard ---------------------------------------------------------------------------

    def apply_event(self, obj: Object, *, deleted: bool = False) -> bool:
        """Take in an object from a watch, a list or the answer to a write; True if it was news.

        The object becomes the store's own: it is slimmed in place.
        """
        if obj.get("kind") not in STORED or not _is_ours(obj):
            return False
        key, meta = key_of(obj), obj["metadata"]
        uid = meta["uid"]
        self._expectations.seen(key, uid, going=deleted or "deletionTimestamp" in meta)
        if deleted:
            return self._bury(key, uid)  # gone is gone, however old the news
        old = self._objects[key.kind].get(key)
        if uid in self._graves or (old is not None and version_of(obj) <= version_of(old)):
            return False
        if old is not None:
            self._unindex(key, old)
        obj = slim(obj)
        self._objects[key.kind][key] = obj
        for term in _terms(key, obj):
            self._index[term].add(key)
        return True

    def gone(self, key: Key, uid: str | None = None) -> bool:
        """Take in that there is no such object (a 404); True if that was news."""
        old = self._objects[key.kind].get(key) if key.kind in STORED else None
        if old is None or (uid is not None and old["metadata"]["uid"] != uid):
            return False
        self._expectations.seen(key, old["metadata"]["uid"], going=True)
        return self._bury(key, old["metadata"]["uid"])

    def retain(
        self, kind: str, namespace: str | None, listed: set[str], list_version: int
    ) -> Objects:
        """End a LIST sweep: drop what a list of that resourceVersion did not have, by UID.

        Answers what was dropped. What is newer than the list stays.
        """
        dropped = []
        for obj in self.list(kind, namespace):
            if obj["metadata"]["uid"] not in listed and version_of(obj) <= list_version:
                self.gone(key_of(obj))
                dropped.append(obj)
        return dropped

    def _bury(self, key: Key, uid: str) -> bool:
        now = self._monotonic()
        while self._graves and next(iter(self._graves.values())) <= now:
            del self._graves[next(iter(self._graves))]
        self._graves.setdefault(uid, now + GRAVE_SECONDS)
        old = self._objects[key.kind].get(key)
        if old is None or old["metadata"]["uid"] != uid:
            return False
        self._unindex(key, old)
        del self._objects[key.kind][key]
        return True

    def _unindex(self, key: Key, obj: Object) -> None:
        for term in _terms(key, obj):
            keys = self._index[term]
            keys.discard(key)
            if not keys:
                del self._index[term]

    # expectations: what was asked for, and may not have been heard of yet ------------------

    def expect_created(self, parent: Key, child: Key) -> None:
        """Note, before creating: until the child is seen, the parent's view is old."""
        self._expectations.expect(parent, child)

    def expect_deleted(self, parent: Key, child: Key, uid: str) -> None:
        """Note, before deleting: until that child is seen gone or going, likewise."""
        self._expectations.expect(parent, child, gone_uid=uid)

    def unexpect(self, parent: Key, child: Key) -> None:
        """Take a note back: the request was refused."""
        self._expectations.forget(parent, child)

    def satisfied(self, parent: Key) -> bool:
        """Whether all that was expected of the parent's children was seen, or is long overdue."""
        return self._expectations.satisfied(parent)


def _is_ours(obj: Mapping[str, Any]) -> bool:
    if obj["kind"] not in _LABELLED:
        return True
    labels = obj["metadata"].get("labels") or {}
    return labels.get(LABEL_MANAGED_BY) == MANAGED_BY


def slim(obj: Object) -> Object:
    """Take off what no reconciler reads, and have equal field names share their memory."""
    meta = obj["metadata"]
    meta.pop("managedFields", None)
    annotations = meta.get("annotations")
    if annotations:
        annotations.pop(_LAST_APPLIED, None)
    if obj["kind"] == "Pod":
        # By far the largest part of a pod, and of 10,000 of them.
        spec = obj.get("spec") or {}
        obj = {**obj, "spec": {name: spec[name] for name in _POD_SPEC if name in spec}}
    if obj["kind"] not in _WHOLE:
        obj = {name: obj[name] for name in ("apiVersion", "kind", "metadata") if name in obj}
    shared: Object = _share(obj)
    return shared


def _share(value: Any) -> Any:
    """Rebuild JSON so that equal names and short texts are one object each. Hot: a call for each
    object that a watch delivers, so leaves are handled in place."""
    if type(value) is list:
        return [_share(item) if type(item) in _NESTED else item for item in value]
    shared = {}
    for name, item in value.items():
        if type(item) in _NESTED:
            item = _share(item)  # noqa: PLW2901
        elif type(item) is str and len(item) < _SHORT:
            item = sys.intern(item)  # noqa: PLW2901
        shared[sys.intern(name)] = item
    return shared


def account_of(kind: str, obj: Mapping[str, Any] | None) -> str | None:
    """The account that a payment names, or that a session has bound itself to or asks."""
    if obj is None or kind not in ("RenderPayment", "RenderSession"):
        return None
    if kind == "RenderPayment":
        return (obj.get("spec") or {}).get("accountName")
    funding = (obj.get("status") or {}).get("funding") or {}
    return funding.get("accountName")


def _terms(key: Key, obj: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    kind, namespace, _ = key
    if namespace is not None:
        yield "namespace", kind, namespace
    meta, spec = obj["metadata"], obj.get("spec") or {}
    session = spec.get("sessionName") or (meta.get("labels") or {}).get(LABEL_SESSION)
    if session:
        yield "session", kind, namespace or "", session
    if kind in RECONCILED and spec.get("nodeClassName"):
        yield "class", kind, spec["nodeClassName"]
    if kind == "RenderAccount":
        yield "named", key.name
        for tenant in spec.get("namespaces") or ():
            yield "spends", tenant
    if account := account_of(kind, obj):
        yield "account", kind, account
    for owner in meta.get("ownerReferences") or ():
        yield "owner", kind, owner["uid"]

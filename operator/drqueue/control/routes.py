"""Who is to be reconciled when an object changed."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from drqueue.api.names import LABEL_NODE, LABEL_SESSION
from drqueue.control import conditions
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.store import Store, account_of

GATHER = 0.1
"""Seconds for which news to a parent is gathered: 500 children starting are not 500 reconciles."""


class Route(NamedTuple):
    """A key to reconcile, so many seconds from now."""

    key: Key
    after: float = 0.0


class Change(NamedTuple):
    """An object before and after; one of them may be None, not both."""

    old: Object | None
    new: Object | None

    def both(self) -> Iterator[Object]:
        """The sides that exist."""
        return (obj for obj in self if obj is not None)

    def differs(self, *path: str) -> bool:
        """Whether the field at the path is another, absent counting as a value."""
        return bool(_field(self.old, path) != _field(self.new, path))

    @property
    def is_coarse(self) -> bool:
        """Whether it appeared, went, is being deleted, or has another spec."""
        return (
            self.old is None
            or self.new is None
            or self.differs("metadata", "uid")
            or self.differs("metadata", "generation")
            or self.differs("metadata", "deletionTimestamp")
        )


def affected(key: Key, change: Change, store: Store) -> Iterator[Route]:
    """The keys whose reconcilers would see a difference. May name one twice."""
    yield from _ROUTES.get(key.kind, _of_child)(key, change, store)


def _of_session(key: Key, change: Change, store: Store) -> Iterator[Route]:
    yield Route(key)
    if change.is_coarse or any(
        change.differs("status", name) for name in ("phase", "master", "claimName")
    ):
        for job in store.by_session("RenderJob", key.namespace, key.name):
            yield Route(key_of(job), GATHER)
        for obj in change.both():
            if class_name := _field(obj, ("spec", "nodeClassName")):
                yield Route(Key("RenderNodeClass", None, class_name), GATHER)
    yield from _accounts_of_session(change, store)
    if change.new is None or change.differs("metadata", "deletionTimestamp"):
        for node in store.by_session("RenderNode", key.namespace, key.name):
            yield Route(key_of(node), GATHER)
        claim = _field(change.old, ("status", "claimName"))
        yield from _sessions_on_claim(key.namespace, claim, store)


def _accounts_of_session(change: Change, store: Store) -> Iterator[Route]:
    if (
        change.is_coarse
        or change.differs("status", "funding")
        or change.differs("status", "settled")
        or change.differs("metadata", "finalizers")
    ):
        for name in {account_of("RenderSession", obj) for obj in change.both()} - {None}:
            if account := store.account(str(name)):
                yield Route(key_of(account), GATHER)


def _account_that_is_asked(session: Object, store: Store) -> Iterator[Route]:
    """A class has a price now, or another one: what is waited for is another sum."""
    if _field(session, ("status", "funding", "state")) != "Funded":
        name = account_of("RenderSession", session)
        if name and (account := store.account(name)):
            yield Route(key_of(account), GATHER)


def _of_job(key: Key, change: Change, store: Store) -> Iterator[Route]:
    yield Route(key)
    sessions = {obj["spec"]["sessionName"] for obj in change.both()}
    for session in sorted(sessions):
        yield Route(Key("RenderSession", key.namespace, session), GATHER)
    if change.is_coarse or change.differs("status", "phase"):
        for session in sorted(sessions):
            for job in store.by_session("RenderJob", key.namespace, session):
                if key.name in (job["spec"].get("dependsOn") or ()):
                    yield Route(key_of(job), GATHER)


def _of_node(key: Key, change: Change, store: Store) -> Iterator[Route]:
    yield Route(key)
    obj = next(change.both())
    yield Route(Key("RenderSession", key.namespace, obj["spec"]["sessionName"]), GATHER)
    if change.is_coarse or change.differs("status", "phase"):
        yield Route(Key("RenderNodeClass", None, obj["spec"]["nodeClassName"]), 1.0)


def _of_class(key: Key, change: Change, store: Store) -> Iterator[Route]:
    yield Route(key)
    # that its nodes are scarce, or do not start, concerns only those whose share or wait changes
    if change.is_coarse or _truth(change.old, "Ready") != _truth(change.new, "Ready"):
        for session in store.by_class("RenderSession", key.name):
            yield Route(key_of(session), GATHER)
            yield from _account_that_is_asked(session, store)
            meta = session["metadata"]
            for job in store.by_session("RenderJob", meta["namespace"], meta["name"]):
                yield Route(key_of(job), GATHER)


def _of_account(key: Key, change: Change, store: Store) -> Iterator[Route]:
    """Those whose entry in the books is another: with 1,000 reservations, one change is one."""
    yield Route(key)
    for payment in store.by_account("RenderPayment", key.name):
        if _field(payment, ("status", "phase")) != "Booked":
            yield Route(key_of(payment))
    for name in ("reservations", "invoicing", "waiting"):
        for entry in _differing(change, name):
            yield Route(Key("RenderSession", entry["namespace"], entry["sessionName"]))
    if change.is_coarse:
        tenants = {ns for obj in change.both() for ns in obj["spec"].get("namespaces") or ()}
        for tenant in sorted(tenants):
            for session in store.list("RenderSession", tenant):
                yield Route(key_of(session), GATHER)


def _differing(change: Change, name: str) -> Iterator[Object]:
    """Entries of one of an account's lists that only one side has, or that differ."""
    old, new = (
        {entry["sessionUid"]: entry for entry in _field(obj, ("status", name)) or ()}
        for obj in change
    )
    for uid in old.keys() | new.keys():
        if old.get(uid) != new.get(uid):
            yield new.get(uid) or old[uid]


def _of_payment(key: Key, change: Change, store: Store) -> Iterator[Route]:
    yield Route(key)
    for name in {account_of("RenderPayment", obj) for obj in change.both()} - {None}:
        if account := store.account(str(name)):
            yield Route(key_of(account), GATHER)


def _of_child(key: Key, change: Change, store: Store) -> Iterator[Route]:
    for obj in change.both():
        labels = obj["metadata"].get("labels") or {}
        if node := labels.get(LABEL_NODE):
            yield Route(Key("RenderNode", key.namespace, node))
        elif session := labels.get(LABEL_SESSION):
            yield Route(Key("RenderSession", key.namespace, session))
    if key.kind == "PersistentVolumeClaim":
        yield from _sessions_on_claim(key.namespace, key.name, store)


def _sessions_on_claim(namespace: str | None, claim: str | None, store: Store) -> Iterator[Route]:
    if claim is None:
        return
    for session in store.list("RenderSession", namespace):
        named = _field(session, ("spec", "storage", "claimName"))
        if claim in (named, _field(session, ("status", "claimName"))):
            yield Route(key_of(session), GATHER)


_ROUTES = {
    "RenderSession": _of_session,
    "RenderJob": _of_job,
    "RenderNode": _of_node,
    "RenderNodeClass": _of_class,
    "RenderAccount": _of_account,
    "RenderPayment": _of_payment,
}


def _truth(obj: Object | None, condition: str) -> tuple[str | None, str | None]:
    found = conditions.find(obj, condition)
    return found.get("status"), found.get("reason")


def _field(obj: Object | None, path: tuple[str, ...]) -> Any:
    value: Any = obj
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value

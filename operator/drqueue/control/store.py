"""What exists, as last heard: by watch, by the LIST sweep, and by the answers to our own writes.

Objects are Kubernetes' JSON without managedFields; treat them as read-only. Of the kinds in
`kinds.PARTS` only kind and metadata are kept. An older version never replaces a newer one, and a
deleted object is not brought back by what was read before its end.
"""

from collections.abc import Callable, Iterable

from drqueue.control.kinds import Key, Object, Objects

Keys = list[Key]


class Store:
    """Objects by key, with indexes by session, owner and class, and expectations of children."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        raise NotImplementedError

    def get(self, key: Key) -> Object | None:
        """The object, or None."""
        raise NotImplementedError

    def list(self, kind: str, namespace: str | None = None) -> Objects:
        """All of a kind, in a namespace or everywhere; sorted by namespace and name."""
        raise NotImplementedError

    def by_session(self, kind: str, namespace: str | None, session_name: str) -> Objects:
        """Objects whose spec.sessionName or session label is that session; sorted by name."""
        raise NotImplementedError

    def by_owner(self, kind: str, uid: str) -> Objects:
        """Objects that have an ownerReference to that UID; sorted by name."""
        raise NotImplementedError

    def by_class(self, kind: str, class_name: str) -> Objects:
        """Sessions or nodes whose spec.nodeClassName is that class; sorted by name."""
        raise NotImplementedError

    def apply_event(self, obj: Object, *, deleted: bool = False) -> bool:
        """Take in an object from a watch or from the answer to a write; True if it was news."""
        raise NotImplementedError

    def replace(self, kind: str, items: Iterable[Object], namespace: str | None) -> Keys:
        """Make the store hold just these of the kind (LIST sweep); answers what differed."""
        raise NotImplementedError

    # expectations: what was asked for, and may not have been heard of yet ------------------

    def expect_created(self, parent: Key, child: Key) -> None:
        """Note, before creating: until the child is seen, the parent's view is old."""
        raise NotImplementedError

    def expect_deleted(self, parent: Key, child: Key, uid: str) -> None:
        """Note, before deleting: until that child is seen gone or going, likewise."""
        raise NotImplementedError

    def unexpect(self, parent: Key, child: Key) -> None:
        """Take a note back: the request was refused."""
        raise NotImplementedError

    def satisfied(self, parent: Key) -> bool:
        """Whether all that was expected of the parent's children was seen, or is long overdue."""
        raise NotImplementedError

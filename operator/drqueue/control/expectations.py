"""What was asked for and may not have been heard of yet.

A create whose answer was lost may have made a child all the same. Until it is seen, or is long
overdue, its parent's children are not counted.
"""

from collections.abc import Callable
from typing import NamedTuple

from drqueue.control.kinds import Key

OVERDUE = 60.0


class _Expected(NamedTuple):
    deadline: float
    gone_uid: str | None


class Expectations:
    """By parent: the children expected to be there, or to be gone."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._expected: dict[Key, dict[Key, _Expected]] = {}
        self._parents: dict[Key, set[Key]] = {}

    def expect(self, parent: Key, child: Key, gone_uid: str | None = None) -> None:
        """Expect the child to exist, or that one of that UID to be gone or going."""
        deadline = self._monotonic() + OVERDUE
        self._expected.setdefault(parent, {})[child] = _Expected(deadline, gone_uid)
        self._parents.setdefault(child, set()).add(parent)

    def forget(self, parent: Key, child: Key) -> None:
        """Expect it no longer."""
        children = self._expected.get(parent, {})
        children.pop(child, None)
        if not children:
            self._expected.pop(parent, None)
        parents = self._parents.get(child, set())
        parents.discard(parent)
        if not parents:
            self._parents.pop(child, None)

    def seen(self, child: Key, uid: str, *, going: bool) -> None:
        """The child was heard of: alive, or (`going`) deleted or being deleted."""
        for parent in list(self._parents.get(child, ())):
            gone_uid = self._expected[parent][child].gone_uid
            if gone_uid is None or going or gone_uid != uid:
                self.forget(parent, child)

    def satisfied(self, parent: Key) -> bool:
        """Whether nothing is expected any more, or only what is overdue."""
        now = self._monotonic()
        for child, expected in list(self._expected.get(parent, {}).items()):
            if expected.deadline <= now:
                self.forget(parent, child)
        return parent not in self._expected

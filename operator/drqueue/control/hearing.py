"""Whether the watches hear: what a write or a list showed, a watch must deliver soon.

resourceVersions of a kind are compared as numbers (Kubernetes 1.35). A watch owes a version that
was seen elsewhere until it has delivered that version or a later one.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

SUSPECT_AFTER = 10.0
"""Seconds after which a watch that owes is doubted, and the LIST sweep looks."""
DEAF_AFTER = 120.0
"""Seconds after which it counts as deaf: longer than kopf takes to replace a silent stream."""


class Scope(NamedTuple):
    """What one watch covers: a kind, in one namespace or everywhere (None)."""

    kind: str
    namespace: str | None


class _Debt(NamedTuple):
    version: int
    since: float


class Hearing:
    """By scope: the newest version that the watch delivered, and what it owes."""

    def __init__(self, scopes: Iterable[Scope], monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heard: dict[Scope, int] = dict.fromkeys(scopes, 0)
        self._debts: dict[Scope, _Debt] = {}

    def scope_of(self, kind: str, namespace: str | None) -> Scope | None:
        """The watch that covers objects of the kind in the namespace, if any does."""
        for scope in (Scope(kind, None), Scope(kind, namespace)):
            if scope in self._heard:
                return scope
        return None

    def delivered(self, scope: Scope, version: int) -> None:
        """The watch delivered an object of that version."""
        self._heard[scope] = max(self._heard[scope], version)
        debt = self._debts.get(scope)
        if debt is not None and debt.version <= version:
            del self._debts[scope]

    def owes(self, scope: Scope, version: int) -> None:
        """An object of that version was seen elsewhere; the watch is to deliver it."""
        if version > self._heard[scope] and scope not in self._debts:
            self._debts[scope] = _Debt(version, self._monotonic())

    def listed(self, scope: Scope, newest: int) -> None:
        """A whole list had nothing newer than that: what it owes may have been deleted since."""
        if newest <= self._heard[scope]:
            self._debts.pop(scope, None)

    def suspects(self, after: float = SUSPECT_AFTER) -> list[Scope]:
        """The watches that have owed for so many seconds."""
        before = self._monotonic() - after
        return [scope for scope, debt in self._debts.items() if debt.since <= before]

    def deaf(self) -> list[Scope]:
        """The watches that have owed for too long."""
        return self.suspects(DEAF_AFTER)

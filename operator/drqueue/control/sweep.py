"""The LIST sweep: what the store holds is replaced by what there is, for watches can lie.

kopf's cache keeps ghosts of what was deleted while a watch was down, and a stream can go silent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from drqueue.api.names import LABEL_MANAGED_BY, MANAGED_BY
from drqueue.control.client import Client
from drqueue.control.errors import Conflict, Forbidden, OperatorError
from drqueue.control.hearing import Hearing, Scope
from drqueue.control.intake import Intake
from drqueue.control.kinds import BOOKS, CHILDREN, PARTS, RECONCILED, kind_of
from drqueue.control.metrics import Metrics
from drqueue.control.rights import RETRY_SECONDS, TRIES
from drqueue.control.store import Store, version_of

log = logging.getLogger(__name__)

OURS = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
LOOK_SECONDS = 2.0
"""How often it is looked whether a watch is doubted."""
PATIENCE_SECONDS = 15.0
"""Between two sweeps of a scope whose watch stays doubted."""


def watched_scopes(namespaces: Iterable[str]) -> list[Scope]:
    """One for each watch: our kinds and their pods and claims, but for the books."""
    return _scopes((*RECONCILED, *CHILDREN), tuple(namespaces))


def book_scopes(billing_namespace: str) -> list[Scope]:
    """One for each watch of the books; none where billing is off."""
    return [Scope(kind, billing_namespace) for kind in BOOKS if billing_namespace]


def swept_scopes(namespaces: Iterable[str], billing_namespace: str = "") -> list[Scope]:
    """One for each list: what is watched, and the parts that are only swept."""
    books = book_scopes(billing_namespace)
    return [*books, *_scopes((*RECONCILED, *CHILDREN, *PARTS), tuple(namespaces))]


def _scopes(kinds: tuple[str, ...], namespaces: tuple[str, ...]) -> list[Scope]:
    everywhere: tuple[str | None, ...] = (None,)
    return [
        Scope(kind, namespace)
        for kind in kinds
        for namespace in (namespaces if namespaces and kind_of(kind).namespaced else everywhere)
    ]


class Sweeper:
    """Lists every scope from time to time, and those at once whose watch is doubted."""

    def __init__(
        self,
        *,
        client: Client,
        store: Store,
        intake: Intake,
        hearing: Hearing,
        metrics: Metrics,
        scopes: Iterable[Scope],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._store = store
        self._intake = intake
        self._hearing = hearing
        self._metrics = metrics
        self._scopes = list(scopes)
        self._monotonic = monotonic
        self._sleep = sleep
        self._asked: set[Scope] = set()

    def ask(self, scope: Scope) -> None:
        """Have a scope swept soon: its watch began anew, and may have missed deletions."""
        self._asked.add(scope)

    async def served(self, kind: str) -> None:
        """Raises NotFound while the kind is not there: its CRD may be installed after us."""
        scope = next(scope for scope in self._scopes if scope.kind == kind)
        async for _ in self._client.pages(kind, scope.namespace, limit=1):
            return

    async def first(self) -> None:
        """Fill the store. Waits for an API server, rights and CRDs that are not there yet.

        Raises Forbidden where one namespace goes on to refuse: rights that were there may be gone,
        and a new process leaves it out.
        """
        for scope in self._scopes:
            refusals = 0
            while True:
                try:
                    await self.sweep(scope)
                    break
                except OperatorError as error:
                    refusals += isinstance(error, Forbidden)
                    if scope.namespace is not None and refusals >= TRIES:
                        raise
                    log.warning("Cannot list %s yet: %s", scope.kind, error)
                    await self._sleep(RETRY_SECONDS)

    async def run(self, every: float) -> None:
        """Sweep everything each so many seconds, and what is doubted or asked for at once."""
        whole = self._monotonic() + every
        patience: dict[Scope, float] = {}
        while True:
            await self._sleep(LOOK_SECONDS)
            now = self._monotonic()
            due = dict.fromkeys(self._scopes, "routine") if now >= whole else {}
            due |= dict.fromkeys(self._asked, "asked")
            due |= {
                scope: "doubt"
                for scope in self._hearing.suspects()
                if patience.get(scope, 0.0) <= now
            }
            if now >= whole:
                whole = now + every
            self._asked.clear()
            for scope, why in due.items():
                if why == "doubt":
                    patience[scope] = now + PATIENCE_SECONDS
                await self._sweep_for(scope, why)

    async def _sweep_for(self, scope: Scope, why: str) -> None:
        try:
            news = await self.sweep(scope)
        except OperatorError as error:
            log.warning("Cannot list %s: %s", scope.kind, error)
            self._asked.add(scope)
            return
        self._metrics.sweeps.labels(scope.kind, why).inc()
        if news:
            self._metrics.missed.labels(scope.kind).inc(news)
            log.info("A sweep of %s found %d changes", scope.kind, news)
        if why == "doubt":
            log.warning("The watch of %s is slow or deaf", scope.kind)

    async def sweep(self, scope: Scope) -> int:
        """List a scope and have the store hold just that; answers how many objects were news."""
        for attempt in range(3):
            try:
                return await self._sweep(scope)
            except Conflict:  # the list became too old between two pages
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    async def _sweep(self, scope: Scope) -> int:
        news, newest, list_version, listed = 0, 0, 0, set()
        async for page, version in self._client.pages(
            scope.kind,
            scope.namespace,
            labels=None if scope.kind in (*RECONCILED, *BOOKS) else OURS,
            metadata_only=scope.kind in PARTS,
        ):
            list_version = version
            for obj in page:
                listed.add(obj["metadata"]["uid"])
                newest = max(newest, version_of(obj))
                news += self._intake.listed(obj)
            await asyncio.sleep(0)
        dropped = self._store.retain(scope.kind, scope.namespace, listed, list_version)
        self._intake.dropped(dropped)
        if self._hearing.scope_of(*scope) == scope:
            self._hearing.listed(scope, newest)
        return news + len(dropped)

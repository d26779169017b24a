"""One replica of the operator: wait for the Lease, watch, fill the store, reconcile."""

import asyncio
import contextlib
import gc
import logging
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from kubernetes.aio.client import ApiClient

from drqueue.control.authority import ensure_authority
from drqueue.control.client import Client
from drqueue.control.context import Context, Reconcile
from drqueue.control.dry_run import PACE_SECONDS, Rehearsal
from drqueue.control.errors import REFUSED_AGAIN, OperatorError
from drqueue.control.events import EventRecorder
from drqueue.control.health import Health, LoopWatch, health_app, serve
from drqueue.control.hearing import Hearing, Scope
from drqueue.control.intake import Intake
from drqueue.control.kinds import BOOKS, RECONCILED
from drqueue.control.leader import Leader
from drqueue.control.limiter import Limiter
from drqueue.control.master_link import MasterLink
from drqueue.control.masters import Masters
from drqueue.control.metrics import Metrics
from drqueue.control.queue import WorkQueue
from drqueue.control.rights import RETRY_SECONDS, first_readable, refused
from drqueue.control.settings import Settings
from drqueue.control.store import Store
from drqueue.control.sweep import (
    Sweeper,
    book_scopes,
    swept_scopes,
    watched_scopes,
)
from drqueue.control.transport import Transport, connect
from drqueue.control.watch import Watch
from drqueue.control.worker import Workers

log = logging.getLogger(__name__)

BURST = 100.0
DRAIN_SECONDS = 3.0
Providers = Callable[[Client, Settings, Store], Mapping[str, Any]]


class LeaseLost(RuntimeError):
    """Another replica may lead: this process must end."""


def utc_now() -> datetime:
    """The time now, aware."""
    return datetime.now(UTC)


class Replica:
    """The operator's parts put together."""

    def __init__(
        self, settings: Settings, reconcilers: Mapping[str, Reconcile], providers: Providers
    ) -> None:
        self._settings = settings
        self._reconcilers = reconcilers
        self._providers = providers
        self._metrics = Metrics()
        self._health = Health()
        self._monotonic = time.monotonic
        self._leading = False
        self._synced = False
        self._workers: Workers | None = None
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, or until it is to begin anew. Raises LeaseLost, or what
        made it impossible to go on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        app = health_app(self._health, self._metrics)
        server = await serve(app, self._settings.listen)
        api = await connect()
        leader = self._leader(api)
        self._health.not_ready = lambda: self._not_ready(leader)
        try:
            await _until(self._stop, self._candidate(api, leader))
        finally:
            self._metrics.leader.set(0)
            await leader.release()
            await api.close()
            await server.cleanup()

    def _leader(self, api: ApiClient) -> Leader:
        """Speaks past the limiter: a busy operator must not lose its Lease by that."""
        settings = self._settings
        lease_seconds = settings.leader_seconds
        unlimited = Limiter(BURST, BURST, self._monotonic)
        requests = Transport(api, unlimited, self._metrics, seconds=lease_seconds / 5)
        return Leader(
            requests,
            settings.namespace,
            settings.identity,
            seconds=lease_seconds,
            clock=utc_now,
            monotonic=self._monotonic,
        )

    def _not_ready(self, leader: Leader) -> str | None:
        if self._leading:
            return None if self._synced else "filling the store"
        return None if leader.stands_by else "waiting for an answer about the Lease"

    async def _candidate(self, api: ApiClient, leader: Leader) -> None:
        async with _background(LoopWatch(self._metrics, self._monotonic).run()):
            await leader.acquire()
            self._leading = True
            self._metrics.leader.set(1)
            async with _background(self._lead(api, leader)) as leading:
                holding = asyncio.create_task(leader.hold(), name="hold the Lease")
                try:
                    await asyncio.wait([leading, holding], return_when=asyncio.FIRST_COMPLETED)
                    if leading.done():
                        leading.result()
                    raise LeaseLost("the Lease could not be renewed in time")
                except asyncio.CancelledError:
                    if self._workers is not None:
                        await self._workers.drain(DRAIN_SECONDS)
                    raise
                finally:
                    holding.cancel()

    async def _lead(self, api: ApiClient, leader: Leader) -> None:
        settings, monotonic = self._settings, self._monotonic
        limiter = Limiter(settings.api_qps, BURST, monotonic)
        rehearsal = Rehearsal() if settings.dry_run else None
        transport = Transport(
            api,
            limiter,
            self._metrics,
            lambda: leader.may_act,
            rehearse=rehearsal is not None,
        )
        unreadable = await refused(Client(transport), settings.watch_namespaces)
        self._tell_refused(unreadable)
        namespaces = [name for name in settings.watch_namespaces if name not in unreadable]
        billing = settings.billing_namespace
        swept, books = swept_scopes(namespaces, billing), book_scopes(billing)
        store = Store(monotonic)
        queue = WorkQueue(monotonic, random.random)
        hearing = Hearing([*watched_scopes(namespaces), *books], monotonic)
        intake = Intake(store, queue, hearing, self._metrics)
        client = Client(transport, intake.wrote, intake.absent, rehearsal)
        sweeper = Sweeper(
            client=client,
            store=store,
            intake=intake,
            hearing=hearing,
            metrics=self._metrics,
            scopes=swept,
            monotonic=monotonic,
        )
        self._metrics.watch_queue(lambda: queue.depth, lambda: queue.waiting)
        self._metrics.watch_store(store)
        self._health.add("watch", lambda: _deaf(hearing))

        ca = await _patiently(lambda: ensure_authority(client, settings.namespace, utc_now))
        for kind in (*RECONCILED, *(BOOKS if billing else ())):
            await _patiently(partial(sweeper.served, kind))
        events = EventRecorder(client, settings.identity, utc_now, monotonic)
        link = MasterLink(ca, utc_now, self._metrics)
        masters = Masters(
            link,
            queue.add,
            settings.master_address,
            random.random,
            silent=rehearsal is not None,
        )
        if rehearsal is not None:
            log.warning("A dry run: all is decided and told, and nothing is done")
            rehearsal.recorder = events
        context = Context(
            settings=settings,
            client=client,
            store=store,
            queue=queue,
            masters=masters,
            events=events if rehearsal is None else rehearsal,
            clock=utc_now,
            ca=ca,
            providers=self._providers(client, settings, store),
            rehearsal=rehearsal,
        )
        watches = [
            Watch(scopes, api.configuration, intake.watched, sweeper.ask)
            for scopes in (watched_scopes(namespaces), books)  # kopf: everywhere, or by namespace
            if scopes
        ]
        workers = Workers(
            context,
            self._reconcilers,
            self._metrics,
            monotonic,
            lambda: leader.may_act,
            pace=PACE_SECONDS if rehearsal is not None else 0.0,
        )
        self._workers = workers
        self._health.add("reconcilers", workers.stuck)
        try:
            async with asyncio.TaskGroup() as group:
                for watch in watches:
                    group.create_task(watch.run(), name="watch")
                group.create_task(events.run(), name="events")
                if unreadable:
                    group.create_task(self._begin_anew(client, unreadable), name="refused")
                await sweeper.first()
                for scope in swept:
                    if _may_vanish(scope):
                        sweeper.ask(scope)
                self._settle(store)
                group.create_task(sweeper.run(settings.sweep_seconds), name="sweep")
                group.create_task(workers.run(settings.workers), name="workers")
        finally:
            await masters.close()

    def _tell_refused(self, namespaces: Sequence[str]) -> None:
        if not namespaces:
            return
        for name in namespaces:
            self._metrics.refused.labels(name).set(1)
        log.warning(
            "No rights in %s: not served until they can be read. An upgrade binds them again; if a "
            "namespace is being deleted or is gone, docs/operations.md has what to do",
            ", ".join(namespaces),
        )

    async def _begin_anew(self, client: Client, unreadable: Sequence[str]) -> None:
        """What is watched is settled at the start, so a namespace comes in by another one."""
        every = min(REFUSED_AGAIN.total_seconds(), self._settings.sweep_seconds)
        name = await first_readable(client, unreadable, every)
        log.warning("Namespace %s can be read now: ending, to be started anew and watch it", name)
        self._stop.set()

    def _settle(self, store: Store) -> None:
        """What the store holds now mostly stays: keep the garbage collector from walking it."""
        gc.collect()
        gc.freeze()
        self._synced = True
        log.info("Ready: %s", ", ".join(f"{n} {kind}" for kind, n in store.counts().items() if n))


def _may_vanish(scope: Scope) -> bool:
    """What no finalizer of ours holds may go between the first list and the watch."""
    return scope.kind not in ("RenderSession", "RenderJob", "RenderNode")


def _deaf(hearing: Hearing) -> str | None:
    deaf = hearing.deaf()
    return f"changes of {', '.join(s.kind for s in deaf)} do not arrive" if deaf else None


async def _patiently(attempt: Callable[[], Awaitable[Any]]) -> Any:
    while True:
        try:
            return await attempt()
        except OperatorError as error:
            log.warning("%s; trying again", error)
            await asyncio.sleep(RETRY_SECONDS)


async def _until(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Do the work until it ends or the stop comes."""
    async with _background(stop.wait()) as stopped, _background(work) as working:
        await asyncio.wait([stopped, working], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        else:
            log.info("Stopping")


@contextlib.asynccontextmanager
async def _background(work: Awaitable[Any]) -> Any:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task

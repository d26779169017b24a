"""kopf watches, and that is all it does: each event is handed to the intake.

It runs in a thread with an event loop of its own, as kopf's documentation has it for embedding:
it takes all tasks of its loop for its own when it ends, and decoding a long list there does not
hold up the Lease here.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from drqueue.api.names import LABEL_MANAGED_BY, MANAGED_BY
from drqueue.control.hearing import Scope
from drqueue.control.kinds import CHILDREN, Object, kind_of

log = logging.getLogger(__name__)

Deliver = Callable[[Scope, Object, bool], None]
Relisted = Callable[[Scope], None]
STOP_SECONDS = 5.0
RELIST_GAP = 30.0
"""Seconds without a listed object after which the next one is from another list. kopf says nothing
of what went while it was not watching, so a sweep has to."""


class _NoMemory(kopf.ProgressStorage, kopf.DiffBaseStorage):
    """Keeps nothing on objects and builds nothing from them: there are no change handlers."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None: ...

    def purge(self, **_: Any) -> None: ...

    def touch(self, **_: Any) -> None: ...

    def clear(self, *, essence: Any) -> Any:
        return essence

    def build(self, **_: Any) -> Any:
        return {}


def kopf_settings() -> kopf.OperatorSettings:
    """How kopf is to watch: no posting, no discovery of kinds, patience with a lost server."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.persistence.progress_storage = _NoMemory()
    settings.persistence.diffbase_storage = _NoMemory()
    settings.queueing.idle_timeout = 0.1  # a task for each object of the first list, so brief ones
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 75  # the server's bookmarks come each minute
    settings.watching.reconnect_backoff = 1.0
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = [0.5, 1, 1, 2, 2, *[3] * 60]  # about three minutes
    for kind in CHILDREN:
        settings.watching.label_selectors[f"{kind_of(kind).plural}"] = (
            f"{LABEL_MANAGED_BY}={MANAGED_BY}"
        )
    return settings


def _settle(ended: "asyncio.Future[BaseException | None]", error: BaseException | None) -> None:
    if not ended.done():
        ended.set_result(error)


class Watch:
    """The watches of a process: begun once, ended once."""

    def __init__(
        self,
        scopes: Iterable[Scope],
        configuration: Configuration,
        deliver: Deliver,
        relisted: Relisted,
    ) -> None:
        """`deliver(scope, object, deleted)` and `relisted(scope)` are called on the loop that
        started the watch; `configuration` says how to reach the API server."""
        self._scopes = frozenset(scopes)
        self._configuration = configuration
        self._deliver = deliver
        self._relisted = relisted
        self._stop = threading.Event()
        self._began = 0.0
        self._listed_at: dict[Scope, float] = {}

    async def run(self) -> None:
        """Watch until cancelled. Raises RuntimeError when kopf gives up: then begin anew, by a
        new process."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        ended: asyncio.Future[BaseException | None] = loop.create_future()
        thread = threading.Thread(target=self._run, args=(loop, ended), name="kopf", daemon=True)
        thread.start()
        try:
            error = await ended
        finally:
            self._stop.set()
            await asyncio.shield(asyncio.to_thread(thread.join, STOP_SECONDS))
        raise RuntimeError(f"kopf stopped watching: {error!r}") from error

    def _run(
        self, loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[BaseException | None]"
    ) -> None:
        namespaces = sorted({scope.namespace for scope in self._scopes if scope.namespace})
        error: BaseException | None = None
        try:
            kopf.run(
                registry=self._registry(loop),
                settings=kopf_settings(),
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
                stop_flag=self._stop,
            )
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(_settle, ended, error)

    def _registry(self, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for name in sorted({scope.kind for scope in self._scopes}):
            kind = kind_of(name)
            kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(
                self._handler(name, loop)
            )
        return registry

    def _handler(self, kind: str, loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
        async def handle(event: Any, **_: Any) -> None:
            loop.call_soon_threadsafe(self._hand_over, kind, event["type"], event["object"])

        handle.__name__ = f"watch_{kind}"
        return handle

    def _hand_over(self, kind: str, type_: str | None, obj: Object) -> None:
        namespace = obj["metadata"].get("namespace")
        scope = Scope(kind, None)
        if scope not in self._scopes:
            scope = Scope(kind, namespace)
        if type_ is None:  # listed, not watched
            now = asyncio.get_running_loop().time()
            if now - self._listed_at.get(scope, self._began) > RELIST_GAP:
                self._relisted(scope)
            self._listed_at[scope] = now
        obj["kind"], obj["apiVersion"] = kind, kind_of(kind).api_version
        self._deliver(scope, obj, type_ == "DELETED")

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        """kopf asks again when the server answers 401: the account's token is then read anew."""
        configuration = self._configuration
        bearer = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert or None,
            ca_data=configuration.ca_cert_data or None,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file or None,
            private_key_path=configuration.key_file or None,
            token=bearer.split(" ", 1)[-1] if bearer else None,
        )

"""One replica acts: the Lease, by kubernetes.aio.leaderelection's algorithm.

The library lets connection errors escape from its lock (a blink of the API server would end the
leader), sends its requests with a timeout of five minutes (longer than the Lease), and does not
release. `PatientLock` mends the first two, `Leader.release` the third.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from kubernetes.aio import client as kube
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection import electionconfig, leaderelection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

log = logging.getLogger(__name__)

LEASE = "drqueue-operator"
_PASSING = (aiohttp.ClientError, TimeoutError, OSError)


class PatientLock(LeaseLock):  # type: ignore[misc] # the library is not followed by mypy
    """A LeaseLock for which a lost connection is a failed try, and each request is short."""

    def __init__(
        self,
        namespace: str,
        identity: str,
        api: kube.ApiClient,
        request_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(LEASE, namespace, identity, api)
        self._monotonic = monotonic
        self.held_since: float | None = None
        """When the request that took or renewed the Lease last was sent; None: not held."""
        self.api_instance = _Hurried(kube.CoordinationV1Api(api), request_seconds)

    async def get(self, name: str, namespace: str) -> Any:
        """The record, or (False, why not)."""
        try:
            return await super().get(name, namespace)
        except _PASSING as error:
            return False, ApiException(status=0, reason=f"{type(error).__name__}: {error}")

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        """Make the Lease, held by us."""
        return await self._write(super().create(name, namespace, election_record))

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        """Take or renew the Lease; the record's resourceVersion decides between two takers."""
        return await self._write(super().update(name, namespace, updated_record))

    async def _write(self, request: Awaitable[bool]) -> bool:
        sent = self._monotonic()
        try:
            done = await request
        except _PASSING as error:
            log.warning("Cannot write the Lease: %s %s", type(error).__name__, error)
            return False
        if done:
            self.held_since = sent
        return done


class _Hurried:
    """A CoordinationV1Api whose requests end within so many seconds."""

    def __init__(self, api: Any, seconds: float) -> None:
        self._api = api
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("_request_timeout", self._seconds)
            return await method(*args, **kwargs)

        return call


class Leader:
    """This replica's candidacy. The Lease lasts `seconds`; it is renewed each quarter of that."""

    def __init__(
        self,
        api: kube.ApiClient,
        namespace: str,
        identity: str,
        seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._namespace = namespace
        self._identity = identity
        self._api = kube.CoordinationV1Api(api)
        self._lock = PatientLock(namespace, identity, api, seconds / 5, monotonic)
        self._election = leaderelection.LeaderElection(
            electionconfig.Config(
                self._lock,
                lease_duration=int(seconds),  # it writes this number into the Lease
                renew_deadline=seconds * 2 / 3,
                retry_period=seconds / 4,
                onstarted_leading=_nothing,
                onstopped_leading=None,
            )
        )

    @property
    def may_act(self) -> bool:
        """Whether the Lease is surely ours still. Not so after a pause of this process longer
        than the Lease: another replica may lead by then."""
        since = self._lock.held_since
        return since is not None and self._monotonic() - since < self._seconds * 0.9

    @property
    def stands_by(self) -> bool:
        """Whether another replica is known to hold the Lease."""
        record = self._election.observed_record
        return record is not None and record.holder_identity not in (None, "", self._identity)

    async def acquire(self) -> None:
        """Wait until this replica holds the Lease."""
        await self._election.acquire()
        log.info("%s leads", self._identity)

    async def hold(self) -> None:
        """Renew the Lease; comes back when it is lost: then nothing more may be done."""
        await self._election.renew_loop()
        self._lock.held_since = None

    async def release(self) -> None:
        """Give the Lease up, so that a standby need not wait it out. Best effort."""
        if self._lock.held_since is None:
            return
        self._lock.held_since = None
        try:
            lease = await self._api.read_namespaced_lease(
                LEASE, self._namespace, _request_timeout=2
            )
            if lease.spec.holder_identity != self._identity:
                return
            lease.spec.holder_identity = ""
            await self._api.replace_namespaced_lease(
                LEASE, self._namespace, lease, _request_timeout=2
            )
        except (ApiException, *_PASSING) as error:
            log.warning("Could not release the Lease: %s", error)
        else:
            log.info("%s released the Lease", self._identity)


async def _nothing() -> None: ...

"""One replica acts: the Lease, by the algorithm of kubernetes.aio.leaderelection.

The library's own LeaseLock is not used (docs/decisions): in kubernetes 37.0.1 its create fails on
a validation of its own, connection errors escape from it and would end a leader at a blink of the
API server, its requests may hang for longer than the Lease lasts, and it never gives the Lease up.
"""

import json
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection import electionconfig, leaderelection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from drqueue.control.errors import NotFound, OperatorError
from drqueue.control.kinds import Object, kind_of
from drqueue.control.transport import Requests

log = logging.getLogger(__name__)

LEASE = "drqueue-operator"
Found = tuple[bool, LeaderElectionRecord | ApiException]


class Lock(BaseLock):  # type: ignore[misc] # mypy does not follow the library
    """The Lease as the library's election sees it: errors are failed tries, never raised."""

    def __init__(
        self,
        requests: Requests,
        namespace: str,
        identity: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(LEASE, namespace, identity)
        self._requests = requests
        self._clock = clock
        self._monotonic = monotonic
        self._collection = kind_of("Lease").path(namespace)
        self._lease: Object = {}
        self.held_since: float | None = None
        """When the request that took or renewed the Lease last was sent; None: not held."""

    async def get(self, name: str, namespace: str) -> Found:
        """The record, or (False, why not)."""
        try:
            self._lease = await self._requests.request("get", "Lease", f"{self._collection}/{name}")
        except OperatorError as error:
            code = 404 if isinstance(error, NotFound) else error.status or 0
            answer = ApiException(status=code, reason=error.message)
            answer.body = json.dumps({"code": code})
            return False, answer
        spec = self._lease.get("spec") or {}
        if spec.get("holderIdentity") != self.identity:
            self.held_since = None  # another acts from now on, or may at any moment
        return True, LeaderElectionRecord(
            spec.get("holderIdentity") or None,
            spec.get("leaseDurationSeconds"),
            spec.get("acquireTime"),
            spec.get("renewTime"),
        )

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        """Make the Lease, held by us."""
        self._lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
        }
        return await self._write("create", self._collection, election_record)

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        """Take or renew the Lease; its resourceVersion decides between two takers."""
        return await self._write("update", f"{self._collection}/{name}", updated_record)

    async def _write(self, verb: str, path: str, record: Any) -> bool:
        sent, now = self._monotonic(), _micro_time(self._clock())
        old = self._lease.get("spec") or {}
        spec = {
            "holderIdentity": record.holder_identity,
            "leaseDurationSeconds": int(record.lease_duration),
            "renewTime": now,
            "acquireTime": old.get("acquireTime") or now,
            "leaseTransitions": old.get("leaseTransitions", 0),
        }
        if old and old.get("holderIdentity") != record.holder_identity:
            spec |= {"acquireTime": now, "leaseTransitions": spec["leaseTransitions"] + 1}
        try:
            self._lease = await self._requests.request(
                verb, "Lease", path, body={**self._lease, "spec": spec}
            )
        except OperatorError as error:
            log.warning("The Lease is not written: %s", error)
            return False
        self.held_since = sent
        return True

    async def release(self) -> None:
        """Give the Lease up, if it is ours, so that a standby need not wait it out."""
        if self.held_since is None:
            return
        self.held_since = None
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._requests.request(
                "update", "Lease", f"{self._collection}/{LEASE}", body={**self._lease, "spec": spec}
            )
        except OperatorError as error:
            log.warning("The Lease is not released, and runs out by itself: %s", error)
        else:
            log.info("%s released the Lease", self.identity)


class Leader:
    """This replica's candidacy. The Lease lasts `seconds`; it is renewed each fifth of that."""

    def __init__(
        self,
        requests: Requests,
        namespace: str,
        identity: str,
        *,
        seconds: float,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """`requests` are to fail within a fifth of `seconds`."""
        self._seconds = int(seconds)
        self._monotonic = monotonic
        self._identity = identity
        self._lock = Lock(requests, namespace, identity, clock, monotonic)
        self._election = leaderelection.LeaderElection(
            electionconfig.Config(
                self._lock,
                lease_duration=self._seconds,
                renew_deadline=self._seconds * 2 / 3,
                retry_period=self._seconds / 5,
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
        return record is not None and record.holder_identity not in (None, self._identity)

    async def acquire(self) -> None:
        """Wait until this replica holds the Lease."""
        await self._election.acquire()
        log.info("%s leads", self._identity)

    async def hold(self) -> None:
        """Renew the Lease; comes back when it is lost: then nothing more may be done."""
        await self._election.renew_loop()
        self._lock.held_since = None

    async def release(self) -> None:
        """Give the Lease up if it is held. Best effort."""
        await self._lock.release()


def _micro_time(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


async def _nothing() -> None: ...

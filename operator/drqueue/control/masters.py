"""The sessions' masters: orders to them, and a mirror of what they report."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from drqueue.control.errors import MasterAway, MasterRefused, OperatorError
from drqueue.control.kinds import Key
from drqueue.control.master_link import MasterAddress, MasterLink
from drqueue.farm.protocol import Changes, JobOrder, JobReport, NodeOrder, NodeReport

log = logging.getLogger(__name__)

WAIT_SECONDS = 25.0
"""How long the master may hold a poll that has nothing to say."""
PACE_SECONDS = 0.5
"""Between two polls of a master that has much to say."""
FIRST_BACKOFF, MAX_BACKOFF = 0.25, 5.0
TELL_AT = 5
"""Polls that failed in a row, when they become worth a warning."""


@dataclass
class _Followed:
    """A master, and its mirror."""

    session: Key
    address: MasterAddress
    task: "asyncio.Task[None] | None" = None
    connected: bool = False
    epoch: str | None = None
    sequence: int = 0
    jobs: dict[str, JobReport] = field(default_factory=dict)
    nodes: dict[str, NodeReport] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    """Jobs we deleted: an answer that was under way then may still name them."""


class Masters:
    """One long-poll for each master that is awake keeps a mirror of its jobs and nodes; what
    changed puts the job's, node's and session's keys on the queue.

    Sessions are named by their Key. Orders raise MasterAway (no such master, no answer in time)
    or MasterRefused (its Problem).
    """

    def __init__(
        self,
        link: MasterLink,
        news: Callable[[Key], None],
        address_template: str | None = None,
        random: Callable[[], float] = lambda: 0.5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        silent: bool = False,
    ) -> None:
        """`silent`: follow masters, but order nothing; every order raises MasterAway."""
        self._silent = silent
        self._link = link
        self._news = news
        self._template = address_template
        self._random = random
        self._sleep = sleep
        self._followed: dict[Key, _Followed] = {}

    def start(self, session: Key, session_uid: str, service: str) -> None:
        """Follow the master behind the Service (a name in the session's namespace, port 8443).

        Idempotent; another UID or Service replaces the former. Call it once the pod is Ready.
        """
        address = MasterAddress.of(session.namespace or "", service, session_uid, self._template)
        known = self._followed.get(session)
        if known is not None and known.address == address:
            return
        self.stop(session)
        followed = _Followed(session, address)
        followed.task = asyncio.create_task(self._follow(followed), name=f"follow {session}")
        self._followed[session] = followed

    def stop(self, session: Key) -> None:
        """Follow it no longer and forget its mirror. Fine if it was not followed."""
        followed = self._followed.pop(session, None)
        if followed is not None and followed.task is not None:
            followed.task.cancel()

    def changes(self, session: Key) -> Changes | None:
        """All of the session's jobs and nodes as the master last reported; None until it has
        answered in this wake."""
        followed = self._followed.get(session)
        if followed is None or followed.epoch is None:
            return None
        return Changes(
            epoch=followed.epoch,
            sequence=followed.sequence,
            jobs=tuple(followed.jobs.values()),
            nodes=tuple(followed.nodes.values()),
        )

    def connected(self, session: Key) -> bool:
        """Whether its latest long-poll was answered (False: the mirror may be old)."""
        followed = self._followed.get(session)
        return followed is not None and followed.connected

    def job(self, session: Key, uid: str) -> JobReport | None:
        """One job of the mirror."""
        followed = self._followed.get(session)
        return followed.jobs.get(uid) if followed else None

    def node(self, session: Key, uid: str) -> NodeReport | None:
        """One node of the mirror."""
        followed = self._followed.get(session)
        return followed.nodes.get(uid) if followed else None

    async def put_job(self, session: Key, order: JobOrder) -> JobReport:
        """Tell the master what should render; its report goes into the mirror too."""
        followed = self._to_order(session)
        report = await self._link.request(
            followed.address, "PUT", f"/v1/jobs/{order.uid}", JobReport, body=order
        )
        assert report is not None  # noqa: S101 a model was asked for
        self._take_job(followed, report)
        return report

    async def delete_job(self, session: Key, uid: str) -> None:
        """Have the job's blocks cancelled and the job forgotten; fine if it is unknown."""
        followed = self._to_order(session)
        try:
            await self._link.request(followed.address, "DELETE", f"/v1/jobs/{uid}", None)
        except MasterRefused as error:
            if error.status != 404:
                raise
        followed.deleted.add(uid)
        if followed.jobs.pop(uid, None) is not None:
            self._news(session)

    async def put_node(self, session: Key, uid: str, order: NodeOrder) -> NodeReport:
        """Open, close or end a node."""
        followed = self._to_order(session)
        report = await self._link.request(
            followed.address, "PUT", f"/v1/nodes/{uid}", NodeReport, body=order
        )
        assert report is not None  # noqa: S101 a model was asked for
        self._take_nodes(followed, {**followed.nodes, uid: report})
        return report

    async def close(self) -> None:
        """Stop following all."""
        tasks = [followed.task for followed in self._followed.values() if followed.task]
        for session in list(self._followed):
            self.stop(session)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._link.close()

    def _to_order(self, session: Key) -> _Followed:
        if self._silent:
            raise MasterAway(f"{session}: its master is told nothing, for this is a dry run")
        followed = self._followed.get(session)
        if followed is None:
            raise MasterAway(f"{session}: its master is not awake")
        return followed

    async def _follow(self, followed: _Followed) -> None:
        failures = 0
        while True:
            try:
                changes = await self._poll(followed)
            except OperatorError as error:
                failures += 1
                _tell_failure(followed.session, failures, error)
                self._set_connected(followed, False)
                backoff = min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 10), MAX_BACKOFF)
                await self._sleep(backoff * (0.75 + 0.5 * self._random()))
                continue
            except Exception:
                log.exception("A bug while following the master of %s", followed.session)
                await self._sleep(MAX_BACKOFF)
                continue
            failures = 0
            news = self._take(followed, changes)
            self._set_connected(followed, True)
            if news:
                await self._sleep(PACE_SECONDS)

    async def _poll(self, followed: _Followed) -> Changes:
        wait = WAIT_SECONDS if followed.connected and followed.epoch is not None else 0.0
        changes = await self._link.request(
            followed.address,
            "GET",
            "/v1/changes",
            Changes,
            query={
                "epoch": followed.epoch or "",
                "sequence": str(followed.sequence),
                "wait": f"{wait:g}",
            },
            seconds=wait + 10.0,
        )
        assert changes is not None  # noqa: S101 a model was asked for
        return changes

    def _take(self, followed: _Followed, changes: Changes) -> bool:
        anew = changes.epoch != followed.epoch
        if anew:
            kept = {job.uid for job in changes.jobs}
            for uid in [uid for uid in followed.jobs if uid not in kept]:
                self._tell("RenderJob", followed, followed.jobs.pop(uid).name)
            self._news(followed.session)
        news = anew or changes.sequence != followed.sequence
        followed.epoch, followed.sequence = changes.epoch, changes.sequence
        for report in changes.jobs:
            self._take_job(followed, report)
        self._take_nodes(followed, {node.uid: node for node in changes.nodes})
        return news

    def _take_job(self, followed: _Followed, report: JobReport) -> None:
        if report.uid not in followed.deleted and followed.jobs.get(report.uid) != report:
            followed.jobs[report.uid] = report
            self._tell("RenderJob", followed, report.name)

    def _take_nodes(self, followed: _Followed, nodes: dict[str, NodeReport]) -> None:
        before, followed.nodes = followed.nodes, nodes
        for uid in before.keys() | nodes.keys():
            old, new = before.get(uid), nodes.get(uid)
            # When it was heard of last changes with each report, and is nobody's news.
            if _timeless(old) != _timeless(new):
                report = new or old
                assert report is not None  # noqa: S101 one of the two has the key
                self._tell("RenderNode", followed, report.name)

    def _tell(self, kind: str, followed: _Followed, name: str) -> None:
        self._news(Key(kind, followed.session.namespace, name))
        self._news(followed.session)

    def _set_connected(self, followed: _Followed, connected: bool) -> None:
        if followed.connected != connected:
            followed.connected = connected
            self._news(followed.session)


def _tell_failure(session: Key, failures: int, error: Exception) -> None:
    """The first failures quietly, for a master may just be starting; then one in five minutes."""
    level = logging.INFO if failures < TELL_AT else logging.DEBUG
    if failures == TELL_AT or failures % (TELL_AT * 12) == 0:
        level = logging.WARNING
    log.log(level, "%s: %s", session, error)


def _timeless(report: NodeReport | None) -> NodeReport | None:
    return report.model_copy(update={"seen_at": None}) if report else None

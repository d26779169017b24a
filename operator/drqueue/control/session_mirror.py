"""What a master knows and Kubernetes does not (any more): told to the master.

A job deleted while the master slept, a job that was moved to another session, a node whose end the
master missed. UIDs are never used again, so that none of it is urgent.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from drqueue.control import job_order
from drqueue.control.children import SessionId
from drqueue.control.context import Context
from drqueue.control.errors import MasterAway, MasterRefused, NotFound
from drqueue.control.kinds import Key, Object
from drqueue.farm.protocol import Changes, NodeOrder


class Differences(NamedTuple):
    """What to tell the master: UID and name of jobs to forget, of nodes that ended."""

    jobs: tuple[tuple[str, str], ...]
    nodes: tuple[tuple[str, str], ...]
    hold: tuple[Object, ...]
    """RenderJobs that name another session: not to be rendered here."""


def differences(
    session_name: str, jobs: Iterable[Object], nodes: Iterable[Object], changes: Changes
) -> Differences:
    """Compare the master's view with all RenderJobs of the namespace and the session's nodes.

    A job of another session is held, not forgotten: on a claim that was taken over, its frames are
    here, and it may be moved here yet.
    """
    known_jobs = {job["metadata"]["uid"]: job for job in jobs}
    live_nodes = {
        node["metadata"]["uid"] for node in nodes if not (node.get("status") or {}).get("endedAt")
    }
    return Differences(
        jobs=tuple((r.uid, r.name) for r in changes.jobs if r.uid not in known_jobs),
        nodes=tuple(_ended(changes, live_nodes)),
        hold=tuple(
            job
            for report in changes.jobs
            if report.state in ("waiting", "running")
            and (job := known_jobs.get(report.uid)) is not None
            and job["spec"]["sessionName"] != session_name
        ),
    )


def _ended(changes: Changes, live: set[str]) -> Iterator[tuple[str, str]]:
    for report in changes.nodes:
        if report.state != "ended" and report.uid not in live:
            yield report.uid, report.name


async def sweep(
    ctx: Context, key: Key, session: SessionId, nodes: Iterable[Object], changes: Changes
) -> None:
    """Tell the master the differences, as far as it answers."""
    jobs = ctx.store.by_session("RenderJob", session.namespace, session.name)
    mine = {job["metadata"]["uid"] for job in jobs}
    if any(report.uid not in mine for report in changes.jobs):
        jobs = ctx.store.list("RenderJob", session.namespace)
    found = differences(session.name, jobs, nodes, changes)

    async def forget(uid: str, name: str) -> None:
        # it cannot be taken back, so that the store's word is not enough
        try:
            job = await ctx.client.get(Key("RenderJob", session.namespace, name))
        except NotFound:
            job = None
        if job is None or job["metadata"]["uid"] != uid:
            await ctx.masters.delete_job(key, uid)

    async def hold(job: Object) -> None:
        scene = job_order.scene_without_content(job)
        await ctx.masters.put_job(key, job_order.order(job, scene, suspend=True))

    async def end(uid: str, name: str) -> None:
        order = NodeOrder(name=name, state="ended", drained=True)
        await ctx.masters.put_node(key, uid, order)

    work = [
        *(forget(uid, name) for uid, name in found.jobs),
        *(end(uid, name) for uid, name in found.nodes),
        *(hold(job) for job in found.hold),
    ]
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(
            outcome, MasterAway | MasterRefused
        ):
            raise outcome

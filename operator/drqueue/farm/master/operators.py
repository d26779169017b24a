"""What the operator orders and asks."""

import asyncio
import logging

from drqueue.api.frames import FramesError
from drqueue.farm.attempts import Batch
from drqueue.farm.master.checking import Check
from drqueue.farm.master.hub import Hub
from drqueue.farm.master.publisher import Publisher
from drqueue.farm.orders import (
    RefusedError,
    check_order,
    delete_job,
    put_job,
    put_node,
)
from drqueue.farm.paths import UnsafePathError, split
from drqueue.farm.protocol import (
    Changes,
    JobOrder,
    JobReport,
    JobWork,
    NodeOrder,
    NodeReport,
)
from drqueue.farm.reports import job_report, job_work, node_report
from drqueue.farm.state import Job

LOG = logging.getLogger(__name__)


class Operators:
    """Obeys and informs the operator."""

    def __init__(self, hub: Hub, publisher: Publisher, check: Check) -> None:
        self._hub = hub
        self._check = check
        self._publisher = publisher
        self._putting: dict[str, asyncio.Lock] = {}

    async def put_job(self, order: JobOrder) -> JobReport:
        """Take a job up, or take up its changes. Raises RefusedError."""
        lock = self._putting.setdefault(order.uid, asyncio.Lock())
        try:
            async with lock:
                return await self._put_job(order)
        finally:
            if not lock.locked():
                self._putting.pop(order.uid, None)

    async def _put_job(self, order: JobOrder) -> JobReport:
        hub = self._hub
        check_order(hub.farm, order)
        try:
            split(order.output_folder)
        except UnsafePathError as error:
            raise RefusedError(400, "OutputInvalid", f"spec.output.folder: {error}") from error
        known = hub.farm.jobs.get(order.uid)
        scene = await self._publisher.store_scene(order.scene)
        if scene is None and known is not None and order.scene is not None:
            scene = known.scene  # its ConfigMap may be gone by now; the content was stored
        refused = None
        if known is None or known.refused is not None:
            refused = await self._check(order, scene)
        missing = await self._publisher.scene_problem(scene)
        batch: Batch = []
        before = hub.farm.jobs.get(order.uid)
        running = list(before.running.values()) if before else []
        nodes = _nodes_of(hub, before) if before else []
        try:
            job = put_job(
                hub.change(batch),
                order,
                scene=scene,
                refused=refused,
                missing=missing,
            )
        except FramesError as error:
            raise RefusedError(400, "FramesInvalid", str(error)) from error
        await hub.commit(batch)
        if before is None:
            LOG.info("a job is here", extra={"job": order.name, "frames": job.total})
        for node_uid in nodes:
            hub.wake(node_uid)
        hub.offer_blocks()
        for number in running:
            if number not in hub.farm.attempts:
                self._publisher.clear_later(number)
        job = self._job(order.uid)
        return job_report(hub.farm, job, hub.now())

    async def delete_job(self, uid: str) -> None:
        """Delete a job: its blocks are canceled, its frames stay. Raises RefusedError."""
        hub = self._hub
        batch: Batch = []
        job = hub.farm.jobs.get(uid)
        attempts = list(job.running.values()) if job else []
        nodes = delete_job(hub.change(batch), uid)
        await hub.commit(batch)
        for node_uid in nodes:
            hub.wake(node_uid)
        hub.offer_blocks()
        for number in attempts:
            self._publisher.clear_later(number)
        if job is not None:
            LOG.info("a job was deleted", extra={"job": job.order.name})
            await self._publisher.remove_logs(uid)

    async def put_node(self, uid: str, order: NodeOrder) -> NodeReport:
        """Open, close or end a node. Raises RefusedError."""
        hub = self._hub
        batch: Batch = []
        held = hub.farm.nodes[uid].attempt if uid in hub.farm.nodes else None
        put_node(hub.change(batch), uid, order)
        await hub.commit(batch)
        hub.wake(uid)
        hub.offer_blocks()
        if held is not None and held not in hub.farm.attempts:
            self._publisher.clear_later(held)
        return node_report(hub.farm, hub.farm.node(uid, order.name))

    async def changes(self, epoch: str, sequence: int, wait: float) -> Changes:
        """What changed since; waits for it. Raises RefusedError."""
        hub = self._hub
        deadline = hub.now().ticks + wait
        while (
            epoch == hub.epoch
            and sequence >= hub.farm.sequence
            and not hub.closing
            and (left := deadline - hub.now().ticks) > 0
        ):
            await hub.changed(left)
        # nothing is told that a crash could still undo
        await hub.commit([])
        farm, now = hub.farm, hub.now()
        anew = epoch != hub.epoch
        return Changes(
            epoch=hub.epoch,
            sequence=farm.sequence,
            jobs=tuple(
                job_report(farm, job, now)
                for job in farm.jobs.values()
                if anew or job.sequence > sequence
            ),
            nodes=tuple(
                node_report(farm, node)
                for node in farm.nodes.values()
                if node.state != "ended"
                # one that holds a block may have ended while its master was away
                and (node.seen or node.state == "closed" or node.attempt)
            ),
        )

    def job_work(self, uid: str) -> JobWork:
        """What slaves need to render a job. Raises RefusedError."""
        try:
            return job_work(self._job(uid))
        except KeyError as error:
            raise RefusedError(404, "RendererUnknown", str(error)) from error

    def _job(self, uid: str) -> Job:
        job = self._hub.farm.jobs.get(uid)
        if job is None:
            raise RefusedError(404, "JobUnknown", f"there is no job {uid} here")
        return job


def _nodes_of(hub: Hub, job: Job) -> list[str]:
    return [hub.farm.attempts[number].node_uid for number in job.running.values()]

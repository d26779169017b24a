"""The reconciler of RenderJobs: tells the session's master what to render, writes what it says."""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from drqueue.api.names import FINALIZER
from drqueue.api.values import parse_time
from drqueue.control import conditions, job_order, job_plan, job_status, requests
from drqueue.control.context import Context, Result
from drqueue.control.errors import MasterAway, MasterRefused
from drqueue.control.job_trouble import Checks, find_trouble, read_scene
from drqueue.control.kinds import Key, Object, key_of
from drqueue.farm.protocol import JobReport
from drqueue.providers.base import Trouble

log = logging.getLogger(__name__)

MEND_AGAIN = 20.0
"""Seconds until something is looked for again whose coming is not watched."""


@dataclass
class _Memory:
    """What is known of a job from one reconcile to the next; lost with the process."""

    written: datetime | None = None
    told: datetime | None = None
    checks: Checks = field(default_factory=Checks)
    refused: Trouble | None = field(default=None)


class JobReconciler:
    """Keeps one RenderJob."""

    def __init__(self) -> None:
        self._memories: dict[str, _Memory] = {}

    async def __call__(self, ctx: Context, key: Key) -> Result:
        """Reconcile the job of that key."""
        obj = ctx.store.get(key)
        if obj is None:
            return Result()
        uid = obj["metadata"]["uid"]
        if "deletionTimestamp" in obj["metadata"]:
            self._memories.pop(uid, None)
            return await _finish(ctx, obj)
        obj = await ctx.client.add_finalizer(obj, FINALIZER)
        obj = await requests.take_off_answered(ctx.client, obj)
        memory = self._memories.setdefault(uid, _Memory())
        result = await _Round(ctx, obj, memory).run()
        if job_plan.is_over(obj) and result.requeue_after is None:
            self._memories.pop(uid, None)
        return result


async def _finish(ctx: Context, obj: Object) -> Result:
    """Cancel at the master, if one is awake, and let the job go.

    A master that does not answer now hears of it when it does: the session's reconciler has it
    forget every job whose RenderJob is gone (`session_mirror`). UIDs are never used again.
    """
    if FINALIZER not in (obj["metadata"].get("finalizers") or ()):
        return Result()
    meta = obj["metadata"]
    session_key = Key("RenderSession", meta["namespace"], obj["spec"]["sessionName"])
    session = job_plan.session_of(ctx.store.get(session_key))
    if session is not None and ctx.masters.changes(session_key) is not None:
        try:
            await ctx.masters.delete_job(session_key, meta["uid"])
        except (MasterRefused, MasterAway) as error:
            log.info("%s: %s", key_of(obj), error)
    await ctx.client.remove_finalizer(obj, FINALIZER)
    return Result()


class _Round:
    """One look at a job, and what follows from it."""

    def __init__(self, ctx: Context, obj: Object, memory: _Memory) -> None:
        self.ctx, self.obj, self.memory = ctx, obj, memory
        meta = obj["metadata"]
        self.uid, self.namespace = str(meta["uid"]), str(meta["namespace"])
        self.session_key = Key("RenderSession", self.namespace, obj["spec"]["sessionName"])
        self.session_object = ctx.store.get(self.session_key)
        self.session = job_plan.session_of(self.session_object)
        self.now = ctx.clock()
        self.waits: list[float] = []

    async def run(self) -> Result:
        pending = requests.pending(self.obj)
        refused, orders = self._sort(pending)
        trouble = None
        if not job_plan.is_over(self.obj):
            trouble = await find_trouble(
                self.ctx, self.obj, self.session_object, self.memory.checks, self._accepted()
            )
        if trouble is not None and trouble.reason.startswith("ConfigMap"):
            self.waits.append(MEND_AGAIN)
        report = await self._tell(trouble, orders)
        if report is not None and report.problem is not None:
            trouble = trouble or Trouble(report.problem.reason, report.problem.message)
            self.waits.append(MEND_AGAIN)
        trouble = trouble or self.memory.refused
        if (
            trouble is None
            and report is None
            and self._accepted()
            and not job_plan.is_over(self.obj)
        ):
            trouble = job_plan.remembered_trouble(self.obj)
        answers = [*refused, *self._answers(orders, report)]
        if trouble is not None and not self._accepted():
            message = f"the session's master never had the job: {trouble.message}"
            answers += [
                requests.answer(request, "Refused", message, self.now)
                for request in orders
                if not any(a["id"] == request.id for a in answers)
            ]
        await self._write(report, trouble, answers)
        await requests.take_off_answered(self.ctx.client, self.obj)
        await self._ttl()
        return Result(max(min(self.waits), 0.1) if self.waits else None)

    def _accepted(self) -> bool:
        """Whether the journal of the session that it names has the job."""
        accepted = (self.obj.get("status") or {}).get("acceptedBy")
        return self.session is not None and accepted == self.session.uid

    def _find(self, name: str) -> Object | None:
        return self.ctx.store.get(Key("RenderJob", self.namespace, name))

    # the master --------------------------------------------------------------------------------

    async def _tell(
        self, trouble: Trouble | None, orders: list[requests.Request]
    ) -> JobReport | None:
        """The master's latest report, after it was told what it does not know yet."""
        masters = self.ctx.masters
        if self.session is None or masters.changes(self.session_key) is None:
            return None
        report = masters.job(self.session_key, self.uid)
        if trouble is not None and not self._accepted():
            return None
        since = self.now - self.memory.told if self.memory.told else None
        ids = [request.id for request in orders]
        silent = self.ctx.rehearsal is not None
        if silent or not job_plan.must_tell(self.obj, report, ids, since):
            return report
        scene = job_order.scene_without_content(self.obj)
        if report is None or report.problem is not None:
            found = await read_scene(self.ctx, self.obj)
            if not isinstance(found, Trouble):
                scene = found
            elif report is None:
                self.memory.checks.scene_seen = False
                self.waits.append(1.0)
                return None
        self.memory.told = self.now
        try:
            report = await masters.put_job(
                self.session_key, job_order.order(self.obj, scene, orders)
            )
        except MasterRefused as error:
            if error.status == 409:
                raise  # of an older generation than the journal has: look again
            self.memory.refused = Trouble(
                "MasterRefused", f"the session's master refused it: {error.message}"
            )
            self.waits.append(MEND_AGAIN)
            return report
        self.memory.refused = None
        return report

    def _sort(
        self, pending: list[requests.Request]
    ) -> tuple[list[requests.Answer], list[requests.Request]]:
        """Requests that are none, answered; and those for the master."""
        refused, orders = [], []
        for request in pending:
            wrong = request.wrong or job_order.wrong_frames(request)
            if wrong:
                refused.append(requests.answer(request, "Refused", wrong, self.now))
            else:
                orders.append(request)
        return refused, orders

    def _answers(
        self, orders: list[requests.Request], report: JobReport | None
    ) -> list[requests.Answer]:
        told = {answer.id: answer for answer in report.requests} if report else {}
        return [
            requests.answer(
                request, told[request.id].result, told[request.id].message, told[request.id].time
            )
            for request in orders
            if request.id in told
        ]

    # the status --------------------------------------------------------------------------------

    async def _write(
        self, report: JobReport | None, trouble: Trouble | None, answers: list[dict[str, Any]]
    ) -> None:
        waits = job_plan.waits_for(self.obj, self._find)
        facts = job_status.Facts(
            report=report,
            session=self.session,
            trouble=trouble,
            message=job_plan.message_of(self.obj, report, self.session, trouble, waits),
            waits_for_dependency=bool(waits),
            handled=requests.with_answers(requests.handled(self.obj), answers),
        )
        status = job_status.build(self.obj, facts, self.now)
        pause = job_status.may_wait(self.obj, status)
        if pause == timedelta.max:
            return
        if pause is not None and self.memory.written is not None:
            due = self.memory.written + pause
            if due > self.now:
                self.waits.append((due - self.now).total_seconds())
                return
        before = self.obj
        self.obj = await self.ctx.client.update_status(self.obj, status)
        self.memory.written = self.now
        self._announce(before)

    def _announce(self, before: Object) -> None:
        """Tell people of transitions."""
        old, new = before.get("status") or {}, self.obj.get("status") or {}
        stalled = conditions.changed_reason(before, new, "Stalled")
        ready = conditions.find(self.obj, "Ready")
        if stalled is not None and stalled["status"] == "True":
            message = ready.get("message") or ready["reason"]
            self.ctx.events.event(self.obj, "Warning", ready["reason"], message)
        elif old.get("phase") != new["phase"] and new["phase"] in ("Succeeded", "Killed"):
            counts = new["frames"]
            message = f"{counts['succeeded']} of {counts['total']} frames are done."
            self.ctx.events.event(self.obj, "Normal", new["phase"], message)
        elif new.get("acceptedBy") != old.get("acceptedBy"):
            message = f"The master of session {self.session_key.name} has it."
            self.ctx.events.event(self.obj, "Normal", "Accepted", message)

    async def _ttl(self) -> None:
        """Delete a finished job when its time is over, unless another waits for it."""
        ttl = self.obj["spec"].get("ttlSecondsAfterFinished")
        finished = (self.obj.get("status") or {}).get("finishedAt")
        if ttl is None or finished is None or not job_plan.is_over(self.obj):
            return
        due = parse_time(finished) + timedelta(seconds=min(ttl, 10**9))
        if due > self.now:
            self.waits.append((due - self.now).total_seconds())
            return
        jobs = self.ctx.store.by_session("RenderJob", self.namespace, self.session_key.name)
        if not job_plan.may_be_removed(self.obj, jobs) or requests.pending(self.obj):
            self.waits.append(60.0)
            return
        meta = self.obj["metadata"]
        await self.ctx.client.delete(
            key_of(self.obj), uid=meta["uid"], resource_version=meta["resourceVersion"]
        )

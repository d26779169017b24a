"""The reconciler of RenderSessions: storage, keys, master; how many nodes; their time."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from drqueue.api.names import FINALIZER
from drqueue.billing.records import own_status
from drqueue.billing.settlement import ticking
from drqueue.control import (
    children,
    conditions,
    requests,
    session_end,
    session_funding,
    session_jobs,
    session_mirror,
    session_nodes,
    session_plan,
    session_reader,
    session_settling,
    session_shares,
    session_status,
)
from drqueue.control.conditions import Finding
from drqueue.control.context import Context, Result
from drqueue.control.errors import NamespaceEnding
from drqueue.control.idle import read_rules
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.session_master import Master, ensure_master
from drqueue.control.session_plan import NodeView, SessionPlan, Wanted
from drqueue.control.session_volume import Growth, Volume, ensure_volume, not_yet
from drqueue.farm.protocol import Changes

log = logging.getLogger(__name__)

_TOLD_QUIETLY = ("Free", "Reserving", "Enough", "NotStarted")
"""Reasons that are news to nobody."""
MASTER_SILENCE = timedelta(minutes=10)
"""Nodes without a master for so long have nothing left to render."""


@dataclass
class _Memory:
    """What is known of a session from one reconcile to the next; lost with the process."""

    written: datetime | None = None
    growth: Growth = field(default_factory=Growth)
    refusal: session_nodes.Refusal | None = None


class SessionReconciler:
    """Keeps one RenderSession."""

    def __init__(self) -> None:
        self._memories: dict[str, _Memory] = {}

    async def __call__(self, ctx: Context, key: Key) -> Result:
        """Reconcile the session of that key."""
        obj = ctx.store.get(key)
        if obj is None:
            ctx.masters.stop(key)
            session_shares.leave(ctx, key)
            return Result()
        if "deletionTimestamp" in obj["metadata"]:
            self._memories.pop(obj["metadata"]["uid"], None)
            return await session_end.finish(ctx, {**obj, "status": own_status(obj)})
        obj = await ctx.client.add_finalizer(obj, FINALIZER)
        obj = await requests.take_off_answered(ctx.client, obj)
        obj = {**obj, "status": own_status(obj)}
        memory = self._memories.setdefault(obj["metadata"]["uid"], _Memory())
        try:
            node_class = await session_funding.class_of(ctx, obj)
            return await _Round(ctx, obj, node_class, memory).run()
        except NamespaceEnding:
            log.info("%s: its namespace is being deleted", key)
            return Result(30.0)


class _Round:
    """One look at a session, and what follows from it."""

    def __init__(
        self, ctx: Context, obj: Object, node_class: Object | None, memory: _Memory
    ) -> None:
        self.ctx, self.obj, self.memory = ctx, obj, memory
        self.key, self.session = key_of(obj), children.session_id(obj)
        self.now = ctx.clock()
        self.jobs = ctx.store.by_session("RenderJob", self.session.namespace, self.session.name)
        self.nodes = session_nodes.nodes_of(ctx, self.session)
        self.node_class = node_class
        class_spec = node_class["spec"] if node_class else None
        self.terms = session_funding.session_terms(ctx.settings, obj, self.node_class)
        suspend, rules = bool(obj["spec"].get("suspend")), read_rules(obj["spec"], class_spec)
        self.wanted = Wanted(self.terms.nodes, self.terms.seconds, suspend, rules)
        self.waits: list[float] = []

    async def run(self) -> Result:
        ctx = self.ctx
        changes = ctx.masters.changes(self.key)
        self.nodes = await session_settling.surely_there(
            ctx,
            self.obj,
            self.nodes,
            final=session_settling.are_to_be_marked(
                self.obj, self.nodes, self.wanted.granted_seconds, self.now
            ),
        )
        volume = not_yet()
        if self.terms.started:
            volume = await ensure_volume(
                ctx, self.session, self.obj, self.node_class, self.memory.growth
            )
        self._wait(volume.look_again)
        offers = session_nodes.offers(self.nodes, self.node_class)
        demand = session_jobs.demand(self.jobs, changes, self.session.uid, offers)
        if ctx.rehearsal is not None:
            blocks = session_jobs.expected_blocks(self.jobs, offers)
            ctx.rehearsal.nodes(self.obj, blocks)
        master = await ensure_master(
            ctx, self.session, volume, self._needs_master(demand, bool(self.nodes))
        )
        self._wait(master.look_again)
        await session_reader.clear_reader(ctx, self.session)
        unpaid = session_nodes.unpaid_since(self.obj.get("status") or {})
        views = session_nodes.views(self.nodes, changes, self.jobs, unpaid)
        seen = self._see(views, demand, master, changes)
        if session_funding.is_to_be_lowered(self.obj):
            found = await session_nodes.unrecorded(ctx, self.nodes, unpaid, self.now)
            seen = replace(seen, unrecorded=found)
        reckoned = session_plan.reckon(self.wanted, seen, self.now)
        terms = session_shares.take_part(ctx, self.obj, self.node_class, seen, reckoned.wish)
        planned = session_plan.plan(self.wanted, terms.onto(seen), self.now, reckoned)
        if terms.look_again is not None:
            self._wait((terms.look_again - self.now).total_seconds())
        self._wait(planned.look_again.total_seconds() if planned.look_again else None)
        answers = await self._answer(volume)
        facts = self._facts(volume, master, planned, views, demand.active, nodes_fail=terms.why_not)
        await self._write(facts, answers)
        await requests.take_off_answered(ctx.client, self.obj)
        if ctx.store.satisfied(self.key):
            await self._act(planned, master)
        else:
            self._wait(5.0)
        if changes is not None and ctx.masters.connected(self.key):
            self._have_jobs_told(changes)
            await session_mirror.sweep(ctx, self.key, self.session, self.nodes, changes)
        return Result(max(min(self.waits), 0.05) if self.waits else None)

    def _wait(self, seconds: float | None) -> None:
        if seconds is not None:
            self.waits.append(seconds)

    def _needs_master(self, demand: session_jobs.Demand, has_nodes: bool) -> bool:
        status = self.obj.get("status") or {}
        may_render = (
            self.terms.started
            and not self.wanted.suspend
            and (status.get("phase") != "Exhausted" or self._has_time_again())
        )
        return has_nodes or demand.must_talk or (demand.active > 0 and may_render)

    def _has_time_again(self) -> bool:
        settled = session_nodes.settled_days(self.obj.get("status") or {})
        return sum(settled.values()) < self.wanted.granted_seconds

    def _see(
        self,
        views: tuple[NodeView, ...],
        demand: session_jobs.Demand,
        master: Master,
        changes: Changes | None,
    ) -> session_plan.Seen:
        status = self.obj.get("status") or {}
        leaving = sum(view.busy and view.live and not view.staying for view in views)
        blocks, known = max(demand.blocks - leaving, 0), demand.known
        if changes is None or not self.ctx.masters.connected(self.key):
            known = demand.known and not demand.active
        silent = self._master_silent(master)
        if silent:
            blocks, known = 0, True
        return session_plan.Seen(
            nodes=views,
            blocks=blocks,
            blocks_known=known,
            silent=silent,
            may_launch=self.node_class is not None and master.state == "Running",
            settled_days=session_nodes.settled_days(status),
            settling=session_settling.settling_of(self.obj),
            unpaid=session_nodes.unpaid_since(status),
        )

    def _master_silent(self, master: Master) -> bool:
        if master.state == "Running" or not self.nodes:
            return False
        condition = conditions.find(self.obj, "MasterReady")
        since = condition.get("lastTransitionTime")
        if condition.get("status") != "False" or since is None:
            return False
        until = datetime.fromisoformat(since) + MASTER_SILENCE
        self._wait((until - self.now).total_seconds() if until > self.now else None)
        return until <= self.now

    async def _answer(self, volume: Volume) -> list[dict[str, Any]]:
        """Act on what people ask for, and give all answers."""
        answers = []
        for request in requests.pending(self.obj):
            if request.wrong:
                answers.append(requests.answer(request, "Refused", request.wrong, self.now))
            elif request.verb == "reader":
                opened = await session_reader.open_reader(self.ctx, self.session, volume)
                if opened is None:
                    self._wait(1.0)
                    continue
                result = "Done" if opened.done else "Refused"
                answers.append(requests.answer(request, result, opened.message, self.now))  # type: ignore[arg-type]
            else:
                answers.append(await self._drain_on_request(request))
        return requests.with_answers(requests.handled(self.obj), answers)

    async def _drain_on_request(self, request: requests.Request) -> dict[str, Any]:
        node = next((n for n in self.nodes if n["metadata"]["name"] == request.node), None)
        if node is None:
            message = f"the session has no node {request.node!r}: drqueue node list shows its nodes"
            return requests.answer(request, "Refused", message, self.now)
        await session_nodes.drain(self.ctx, [node])
        message = f"node {request.node} takes no new block, and ends after the one it renders"
        return requests.answer(request, "Done", message, self.now)

    def _facts(
        self,
        volume: Volume,
        master: Master,
        planned: SessionPlan,
        views: tuple[NodeView, ...],
        active_jobs: int,
        *,
        nodes_fail: str,
    ) -> session_status.Facts:
        refusal = self.memory.refusal
        return session_status.Facts(
            wanted=self.wanted,
            money=session_funding.outcome(
                self.ctx, self.obj, self.node_class, planned.used_with_unrecorded
            ),
            low=self._low_time(planned, views),
            started=self.terms.started,
            class_name=self.obj["spec"]["nodeClassName"],
            class_found=self.node_class is not None,
            volume=volume,
            master=master,
            plan=planned,
            nodes=views,
            node_objects=self.nodes,
            active_jobs=active_jobs,
            nodes_fail=nodes_fail,
            nodes_refused=refusal.message if refusal is not None and planned.create else "",
            reader_until=session_reader.reader_status(self.ctx, self.session),
            idle_policy=session_shares.idle_policy(self.obj, self.node_class),
        )

    def _low_time(self, planned: SessionPlan, views: tuple[NodeView, ...]) -> Finding:
        granted, remaining = self.wanted.granted_seconds, planned.remaining_seconds
        pace = ticking(view.time for view in views)
        self._wait(session_funding.seconds_until_low(granted, remaining, pace))
        return session_funding.low_time(self.terms.started, granted, remaining)

    async def _write(self, facts: session_status.Facts, answers: list[dict[str, Any]]) -> None:
        """Write the status if it is another; counts and times wait for their turn."""
        status = session_status.build(self.obj, facts, answers, self.now)
        pause = session_status.may_wait(self.obj, status)
        if any(view.live and view.ready_at for view in facts.nodes):
            self._wait(session_status.TIME_EVERY.total_seconds())
        if pause is not None:
            if pause == timedelta.max:
                return
            due = (self.memory.written or datetime.min.replace(tzinfo=self.now.tzinfo)) + pause
            if due > self.now:
                self._wait((due - self.now).total_seconds())
                return
        before = self.obj
        self.obj = await self.ctx.client.update_status(self.obj, status)
        self.memory.written = self.now
        self._tell(before)

    def _tell(self, before: Object) -> None:
        """Have others look at what changed for them; tell people of transitions."""
        old, new = before.get("status") or {}, self.obj.get("status") or {}
        ready = conditions.changed_reason(before, new, "Ready")
        if any(old.get(name) != new.get(name) for name in ("master", "settling", "unpaid")):
            for node in self.nodes:
                self.ctx.queue.add(key_of(node))
        for kind in ("Funded", "RenderTimeLow"):
            told = conditions.changed_reason(before, new, kind)
            if told is not None and told["reason"] not in _TOLD_QUIETLY:
                good = kind == "Funded" and told["status"] == "True"
                message = told["message"] or told["reason"]
                self.ctx.events.event(
                    self.obj, "Normal" if good else "Warning", told["reason"], message
                )
        if ready is None:
            return
        for job in self.jobs:
            self.ctx.queue.add(key_of(job), 0.05)
        stalled = conditions.find(self.obj, "Stalled").get("status") == "True"
        kind, reason = ("Warning", ready["reason"]) if stalled else ("Normal", ready["reason"])
        message = ready["message"] or f"The session is {new['phase']}."
        self.ctx.events.event(self.obj, kind, reason, message)  # type: ignore[arg-type]

    def _have_jobs_told(self, changes: Changes) -> None:
        """A master that woke has not had every job yet."""
        reported = {report.uid for report in changes.jobs}
        for job in self.jobs:
            if job["metadata"]["uid"] not in reported and session_jobs.is_active(job):
                self.ctx.queue.add(key_of(job))

    async def _act(self, planned: SessionPlan, master: Master) -> None:
        by_index = {session_nodes.index_of(n["metadata"]["name"]): n for n in self.nodes}

        def named(indices: Iterable[int]) -> list[Object]:
            return [by_index[index] for index in indices]

        await session_nodes.delete(self.ctx, self.session, named(planned.delete))
        await session_nodes.keep_idle(self.ctx, named(planned.resume), None)
        await session_nodes.keep_idle(self.ctx, named(planned.idle), self.now)
        at_once = {*planned.drain, *planned.hurry} - set(planned.patient)
        await session_nodes.drain(self.ctx, named(sorted(at_once)))
        await session_nodes.drain(self.ctx, named(planned.patient), patient=True)
        before, self.memory.refusal = self.memory.refusal, None
        if planned.create and self.node_class is not None and master.state == "Running":
            refusal = await session_nodes.create_unless_refused(
                self.ctx,
                self.session,
                planned.create,
                self.node_class,
                parked_time=self.terms.parked_time,
                before=before,
            )
            self.memory.refusal = refusal
            if refusal is not None and refusal == before:
                self._wait((refusal.again_at - self.now).total_seconds())
            elif refusal is not None or len(planned.create) == session_plan.BATCH:
                self._wait(0.0)

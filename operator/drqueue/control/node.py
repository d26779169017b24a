"""The reconciler of RenderNodes: carries out `node_plan`, through the node's provider."""

import contextlib
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from drqueue.api.names import FINALIZER
from drqueue.api.nodeclass import Provider as ProviderBlock
from drqueue.api.values import parse_duration, parse_time
from drqueue.control import children, node_plan, node_status, session_nodes, session_shares
from drqueue.control.children import SessionId
from drqueue.control.context import Context, Result
from drqueue.control.errors import (
    REFUSALS,
    AlreadyExists,
    MasterAway,
    MasterRefused,
    NotFound,
)
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.node_plan import End, Node, NodePlan, Seen
from drqueue.control.renewal import keys_are_due, seconds_until_renewal
from drqueue.farm.protocol import NodeOrder, NodeReport
from drqueue.providers.base import Launch, NameTakenError, NodeId
from drqueue.providers.pod_parts import MASTER_PORT
from drqueue.security.identity import Identity

log = logging.getLogger(__name__)

CERTIFICATE_LIFE = timedelta(hours=24)
BLOCK_EVERY = timedelta(seconds=60)
"""How often at most a node is written to only because it renders another block."""
AGAIN_SOON = 2.0


class NodeReconciler:
    """Keeps one RenderNode and its one pod or instance in step."""

    def __init__(self) -> None:
        self._written: dict[str, datetime] = {}

    async def __call__(self, ctx: Context, key: Key) -> Result:
        """Reconcile the node of that key."""
        for _ in range(4):
            obj = ctx.store.get(key)
            if obj is None:
                return await _release_orphan(ctx, key)
            worked = await _Round(ctx, obj, self._written).run()
            if worked.result is not None:
                return worked.result
        return Result(AGAIN_SOON)


async def _release_orphan(ctx: Context, key: Key) -> Result:
    """Let go of a pod whose node is gone against all rules: nothing else takes its finalizer."""
    for provider in ctx.providers.values():
        orphan = provider.orphan(key.namespace, key.name)
        if orphan is not None and not await _lives(ctx, orphan):
            log.warning("%s: the node %s is gone, and left a pod behind", key, orphan.uid)
            await provider.release(orphan, ctx.clock())
            return Result(30.0)
    return Result()


async def _lives(ctx: Context, node: NodeId) -> bool:
    """Ask whether there is that RenderNode; without a UID, one of its name."""
    try:
        found = await ctx.client.get(Key("RenderNode", node.namespace, node.name))
    except NotFound:
        return False
    return node.uid in ("", found["metadata"]["uid"])


class _Worked:
    """How a round went: a result, or None for another round on what is there now."""

    def __init__(self, result: Result | None) -> None:
        self.result = result


class _Round:
    """One look at a node, and what follows from it."""

    def __init__(self, ctx: Context, obj: Object, written: dict[str, datetime]) -> None:
        self.ctx, self.obj, self.written = ctx, obj, written
        self.spec: Mapping[str, Any] = obj["spec"]
        meta = obj["metadata"]
        self.name, self.uid = str(meta["name"]), str(meta["uid"])
        self.session = SessionId(
            meta["namespace"], self.spec["sessionName"], self.spec["sessionUid"]
        )
        self.session_key = Key("RenderSession", self.session.namespace, self.session.name)
        self.provider, self.id = session_nodes.outside(ctx, obj)
        self.now = ctx.clock()

    async def run(self) -> _Worked:
        seen = await self._see()
        node = read_node(self.obj)
        planned = node_plan.plan(node, seen, self.now)
        if "confirm_gone" in planned.steps and not await self.provider.is_gone(self.id):
            return _Worked(Result(AGAIN_SOON))  # it was read since; the next look sees it
        if planned.end is not None:
            await self._tell_master(
                NodeOrder(name=self.name, state="ended", drained=_drained(planned))
            )
            await self._write(planned, seen, seen.at_master)
            refused = seen.outside is None and node.refused_since is not None
            session_shares.launch_ended(self.ctx, self.obj, refused=refused)
            self._announce_end(planned.end)
            return _Worked(None)
        if "launch" in planned.steps:
            try:
                if not await self._launch():
                    return _Worked(Result(AGAIN_SOON))
            except (NameTakenError, *REFUSALS) as error:
                log.warning("%s: its launch: %s", key_of(self.obj), error)
                planned = node_plan.refused(node, str(error), self.now)
                if isinstance(error, NameTakenError):
                    await _release_orphan(self.ctx, key_of(self.obj))
        report = seen.at_master
        if "close" in planned.steps:
            report = await self._tell_master(NodeOrder(name=self.name, state="closed")) or report
            if report is not None and report.state != "open" and report.block is None:
                await self._write(planned, seen, report)
                return _Worked(None)
        if planned.stop is not None:
            await self.provider.stop(self.id, planned.stop)
        if "release" in planned.steps:
            await self.provider.release(self.id, self.now)
        if "let_go" in planned.steps:
            return await self._let_go(seen)
        return await self._go_on(planned, seen, report)

    async def _let_go(self, seen: Seen) -> _Worked:
        if not seen.settled and not await self._session_is_gone():
            return _Worked(Result(AGAIN_SOON))
        self.written.pop(self.uid, None)
        await self._delete_keys()
        latest = self.ctx.store.get(key_of(self.obj))
        if latest is not None and latest["metadata"]["uid"] == self.uid:
            await self.ctx.client.remove_finalizer(latest, FINALIZER)
        return _Worked(Result())

    async def _go_on(self, planned: NodePlan, seen: Seen, report: NodeReport | None) -> _Worked:
        waits = [planned.look_again.total_seconds()] if planned.look_again else []
        if not planned.quiet and planned.phase != "Ended":
            later = await self._write(planned, seen, report)
            waits += [later] if later is not None else []
        if planned.phase in ("Ready", "Parked") and planned.ready_at is not None:
            lived = session_shares.launch_ready(self.ctx, self.obj, planned.ready_at)
            waits += [lived.total_seconds()] if lived is not None else []
        if planned.phase in ("Launching", "Ready", "Parked", "Draining"):
            waits.append(await self._renew_keys())
        return _Worked(Result(max(min(waits), 0.1) if waits else None))

    async def _see(self) -> Seen:
        session = self.ctx.store.get(self.session_key)
        state: Literal["live", "ending", "gone"] = "gone"
        status: Mapping[str, Any] = {}
        if session is not None and session["metadata"]["uid"] == self.session.uid:
            state = "ending" if "deletionTimestamp" in session["metadata"] else "live"
            status = session.get("status") or {}
        masters = self.ctx.masters
        return Seen(
            session=state,
            may_launch=bool(status.get("claimName")) and status.get("master") == "Running",
            outside=await self.provider.observe(self.id, self.now),
            at_master=masters.node(self.session_key, self.uid) if state != "gone" else None,
            master_answers=state != "gone" and masters.connected(self.session_key),
            settled=any(entry["uid"] == self.uid for entry in status.get("settling") or ()),
            unpaid_since=session_nodes.unpaid_since(status).get(self.uid),
        )

    async def _session_is_gone(self) -> bool:
        """Ask: a cache that lacks the session would lose it the node's time."""
        try:
            session = await self.ctx.client.get(self.session_key)
        except NotFound:
            return True
        return bool(session["metadata"]["uid"] != self.session.uid)

    async def _launch(self) -> bool:
        session = self.ctx.store.get(self.session_key)
        if session is None:
            return False
        await self._write_keys()
        status = session.get("status") or {}
        launch = Launch(
            node=self.id,
            provider=ProviderBlock.model_validate(self.spec["provider"]),
            renderers=tuple(self.spec.get("renderers") or ()),
            pools=tuple(self.spec.get("pools") or ()),
            os=self.spec.get("os") or "linux",
            drain_grace=parse_duration(self.spec["drainGrace"]),
            claim_name=status["claimName"],
            one_machine=is_one_machine(self.ctx, session),
            master_url=f"https://{self.session.master}.{self.session.namespace}.svc:{MASTER_PORT}",
            owner_reference=children.owner_reference("RenderNode", self.name, self.uid),
        )
        await self.provider.launch(launch)
        return True

    def _secret_key(self) -> Key:
        return Key("Secret", self.session.namespace, self.name)

    async def _write_keys(self) -> None:
        known = self.ctx.store.get(self._secret_key())
        if known is not None and _owner_uid(known) != self.uid:
            # of a former node of this name: applied over, it would have two controllers
            await self._delete_keys()
        elif known is not None and not keys_are_due(self.ctx, known, self.now):
            return
        identity = Identity("node", self.session.uid, self.name, self.uid)
        certificate = self.ctx.ca.issue(identity, validity=CERTIFICATE_LIFE)
        secret = children.keys(
            self.name,
            self.session.namespace,
            children.node_labels(self.session, self.name),
            children.owner_reference("RenderNode", self.name, self.uid),
            certificate=certificate,
            ca_fingerprint=self.ctx.ca.fingerprint,
        )
        if known is None:
            # a create costs the API server about half of what an apply does
            with contextlib.suppress(AlreadyExists):
                await self.ctx.client.create(secret)
                return
        await self.ctx.client.apply(secret)

    async def _delete_keys(self) -> None:
        known = self.ctx.store.get(self._secret_key())
        if known is not None:
            await self.ctx.client.delete(self._secret_key(), uid=known["metadata"]["uid"])

    async def _renew_keys(self) -> float:
        """Renew the node's certificate when it is time; gives seconds until then."""
        if self.ctx.store.get(self._secret_key()) is None and read_node(self.obj).going:
            return AGAIN_SOON * 15  # its namespace may be going, where nothing can be made
        await self._write_keys()
        known = self.ctx.store.get(self._secret_key())
        return seconds_until_renewal(known, self.now)

    async def _tell_master(self, order: NodeOrder) -> NodeReport | None:
        """Best effort: a master that is away hears of it by the session's sweep, or its lease."""
        if self.ctx.masters.changes(self.session_key) is None:
            return None
        try:
            return await self.ctx.masters.put_node(self.session_key, self.uid, order)
        except (MasterAway, MasterRefused) as error:
            log.info("%s: its master did not take %s: %s", self.name, order.state, error)
            return None

    async def _write(
        self, planned: NodePlan, seen: Seen, report: NodeReport | None
    ) -> float | None:
        """Write the status, if it is another; gives seconds until a held back one may be."""
        status = node_status.build(self.obj, planned, report, seen.outside, self.now)
        if status == (self.obj.get("status") or {}):
            return None
        if node_status.differs_in_block_only(self.obj, status):
            since = self.written.get(self.uid)
            if since is not None and self.now < since + BLOCK_EVERY:
                return (since + BLOCK_EVERY - self.now).total_seconds()
        before = self.obj
        self.obj = await self.ctx.client.update_status(self.obj, status)
        self.written[self.uid] = self.now
        node_status.announce_trouble(self.ctx.events, before, self.obj)
        self.ctx.queue.add(self.session_key, 0.05)
        return None

    def _announce_end(self, end: End) -> None:
        if end.reason in ("Failed", "Lost", "StartupDeadline"):
            message = f"The node ended: {end.message or end.reason}"
            self.ctx.events.event(self.obj, "Warning", f"Node{end.reason}", message)


def read_node(obj: Mapping[str, Any]) -> Node:
    """A RenderNode as its plan sees it."""
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}

    def moment(name: str) -> datetime | None:
        return parse_time(status[name]) if status.get(name) else None

    refused_since, refusal = node_status.launch_refused(obj)
    return Node(
        created_at=parse_time(meta["creationTimestamp"]),
        startup_deadline=parse_duration(spec["startupDeadline"]),
        drain_grace=parse_duration(spec["drainGrace"]),
        drain=bool(spec.get("drain")),
        patient=bool(spec.get("patient")),
        idle_since=parse_time(spec["idleSince"]) if spec.get("idleSince") else None,
        parks_free=spec.get("parkedTime") == "Free",
        parked=session_nodes.parked(obj),
        going="deletionTimestamp" in meta,
        launched=bool(status.get(node_status.PROVIDER_ID)),
        refused_since=refused_since,
        refusal=refusal,
        ready_at=moment("readyAt"),
        drain_started_at=moment("drainStartedAt"),
        ended_at=moment("endedAt"),
    )


def is_one_machine(ctx: Context, session: Object) -> bool:
    """Whether the session's volume can be mounted on one machine only."""
    status = session.get("status") or {}
    claim = ctx.store.get(
        Key(
            "PersistentVolumeClaim", session["metadata"]["namespace"], status.get("claimName") or ""
        )
    )
    if claim is not None:
        return "ReadWriteMany" not in (claim["spec"].get("accessModes") or ())
    storage = session["spec"].get("storage") or {}
    return bool(storage.get("accessMode") == "ReadWriteOnce")


def _drained(planned: NodePlan) -> bool:
    return planned.end is not None and planned.end.drained


def _owner_uid(secret: Mapping[str, Any]) -> str | None:
    owners = secret["metadata"].get("ownerReferences") or ()
    return str(owners[0]["uid"]) if owners else None

"""The session's master: its keys, Service, network policies and pod, or its sleep."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from drqueue.api.values import parse_time
from drqueue.control import children, pods
from drqueue.control.children import SessionId
from drqueue.control.conditions import Finding
from drqueue.control.context import Context
from drqueue.control.errors import REFUSALS, REFUSED_AGAIN, AlreadyExists, OperatorError
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.renewal import keys_are_due, seconds_until_renewal
from drqueue.control.session_volume import Volume
from drqueue.providers.base import Trouble
from drqueue.providers.pod_status import (
    LOST_AFTER,
    has_ended,
    is_ready,
    machine_is_silent,
    pod_trouble,
)
from drqueue.security.identity import Identity

log = logging.getLogger(__name__)

CERTIFICATE_LIFE = timedelta(days=30)
PENDING_AGAIN = 5.0

State = Literal["Asleep", "Stopping", "Starting", "Running"]


@dataclass(frozen=True)
class Master:
    """How the master is."""

    state: State
    finding: Finding
    trouble: Trouble | None = None
    look_again: float | None = None


async def ensure_master(ctx: Context, session: SessionId, volume: Volume, wanted: bool) -> Master:
    """Have the master run, or sleep; where that is refused, say so."""
    pod = ctx.store.get(Key("Pod", session.namespace, session.master))
    try:
        if not wanted or volume.claim is None:
            return await _put_to_sleep(ctx, session, pod)
        return await _have_it_run(ctx, session, pod, volume.claim, volume.one_machine)
    except REFUSALS as error:
        return _refused(ctx, session, pod, error)


async def _have_it_run(
    ctx: Context, session: SessionId, pod: Object | None, claim: str, one_machine: bool
) -> Master:
    renewal = await _surroundings(ctx, session)
    if pod is not None and has_ended(pod) and "deletionTimestamp" not in pod["metadata"]:
        # evicted, or its machine went: another one at once, by the same name
        await ctx.client.delete(key_of(pod), uid=pod["metadata"]["uid"])
        return _starting("The former pod ended; it is made again.")
    if pod is None:
        manifest = pods.master_pod(session, ctx.settings, claim, one_machine)
        try:
            pod = await ctx.client.create(manifest)
        except AlreadyExists:
            return _starting("A pod of its name is about to go.", PENDING_AGAIN)
    if is_ready(pod):
        return _running(ctx, session, renewal)
    return _not_ready(pod, ctx.clock(), renewal)


def _not_ready(pod: Object, now: datetime, renewal: float) -> Master:
    trouble = _machine_silent(pod) if machine_is_silent(pod, now) else pod_trouble(pod)
    if trouble is not None:
        finding = Finding("MasterReady", "False", trouble.reason, trouble.message)
        return Master("Starting", finding, trouble, renewal)
    if deletion := pod["metadata"].get("deletionTimestamp"):
        left = parse_time(deletion) + LOST_AFTER - now
        return _starting("Its former pod is about to go.", left.total_seconds() + 1)
    return _starting("Its pod is not ready yet.", renewal)


def _machine_silent(pod: Object) -> Trouble:
    """A machine that is cut off may run it still: two masters would write one journal."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    machine = pod["spec"]["nodeName"]
    message = (
        f"machine {machine!r} does not say that pod {name!r} has ended, and no other is started "
        f"while it may run there: once the machine is surely off, `kubectl delete node {machine}`, "
        f"or `kubectl delete pod {name} -n {namespace} --force`"
    )
    return Trouble("MachineSilent", message)


def _running(
    ctx: Context, session: SessionId, look_again: float, trouble: Trouble | None = None
) -> Master:
    ctx.masters.start(_key(session), session.uid, session.master)
    finding = Finding("MasterReady", "True", "Running", trouble.message if trouble else "")
    return Master("Running", finding, trouble, look_again)


def _refused(ctx: Context, session: SessionId, pod: Object | None, error: OperatorError) -> Master:
    """Its nodes are there all the same: their time counts, and they can be taken away."""
    log.warning("%s: its master: %s", _key(session), error)
    trouble, again = Trouble("MasterRefused", error.message), REFUSED_AGAIN.total_seconds()
    if is_ready(pod):
        return _running(ctx, session, again, trouble)
    finding = Finding("MasterReady", "False", trouble.reason, trouble.message)
    return Master("Starting", finding, trouble, again)


async def _put_to_sleep(ctx: Context, session: SessionId, pod: Object | None) -> Master:
    if pod is None:
        ctx.masters.stop(_key(session))
        finding = Finding("MasterReady", "False", "Asleep", "No job needs it now.")
        return Master("Asleep", finding)
    if "deletionTimestamp" not in pod["metadata"]:
        await ctx.client.delete(key_of(pod), uid=pod["metadata"]["uid"])
    finding = Finding("MasterReady", "False", "Stopping", "No job needs it now.")
    return Master("Stopping", finding)


def _starting(message: str, look_again: float | None = None) -> Master:
    finding = Finding("MasterReady", "False", "Starting", message)
    return Master("Starting", finding, look_again=look_again)


async def _surroundings(ctx: Context, session: SessionId) -> float:
    """Keys, Service and policies before the pod; gives seconds until the keys are renewed."""
    wanted = [
        children.master_service(session),
        *children.network_policies(session, ctx.settings.namespace),
    ]
    missing = [m for m in wanted if not children.is_current(ctx.store.get(key_of(m)), m)]
    secret_key = Key("Secret", session.namespace, session.master)
    secret = ctx.store.get(secret_key)
    if secret is None or keys_are_due(ctx, secret, ctx.clock()):
        certificate = ctx.ca.issue(
            Identity("master", session.uid),
            validity=CERTIFICATE_LIFE,
            dns_names=children.master_dns_names(session),
            server=True,
        )
        missing.append(
            children.keys(
                session.master,
                session.namespace,
                session.meta(session.master, "master")["labels"],
                session.owner_reference(),
                certificate=certificate,
                ca_fingerprint=ctx.ca.fingerprint,
            )
        )
    await asyncio.gather(*(ctx.client.apply(manifest) for manifest in missing))
    return seconds_until_renewal(ctx.store.get(secret_key), ctx.clock())


def _key(session: SessionId) -> Key:
    return Key("RenderSession", session.namespace, session.name)

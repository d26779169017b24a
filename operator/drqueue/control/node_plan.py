"""What a RenderNode needs next: launch once, drain, stop, record the end, let go. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from drqueue.billing.settlement import NodeTime, billable_seconds
from drqueue.control.errors import REFUSED_AGAIN
from drqueue.farm.protocol import NodeReport
from drqueue.providers.base import Observation, Trouble

AT_ONCE = timedelta(seconds=5)
"""Grace of a node whose frames nobody wants any more."""
TO_GIVE_BACK = timedelta(seconds=30)
"""Grace of a node without a block, or whose drain was long enough."""
PATIENT = timedelta(minutes=1)
"""How often a node is looked at that waits for its block, however long that takes."""
QUIET_START = timedelta(seconds=10)
"""A node Ready by then was never written down as Launching: a write saved for most."""

LAUNCH_REFUSED = "LaunchRefused"

Phase = Literal["Pending", "Launching", "Ready", "Parked", "Draining", "Ended"]
Parked = tuple[tuple[datetime, datetime | None], ...]
"""Intervals; None: it goes on."""
MOST_PARKED = 100
"""Intervals that are recorded of one node; what is parked after them is billed."""
EndReason = Literal["Completed", "Drained", "Failed", "Lost", "StartupDeadline", "Deleted"]


@dataclass(frozen=True)
class Node:
    """A RenderNode, as far as the plan depends on it."""

    created_at: datetime
    startup_deadline: timedelta
    drain_grace: timedelta
    drain: bool = False
    patient: bool = False
    """It drains, and its block may take as long as it takes: the grace does not run."""
    idle_since: datetime | None = None
    """Its session keeps it, with nothing to render since then."""
    parks_free: bool = False
    """Time for which it is kept so is on the house."""
    parked: Parked = ()
    """As its status has it."""
    going: bool = False
    """Its deletion was asked for."""
    launched: bool = False
    """Its status knows of something outside."""
    refused_since: datetime | None = None
    """Its launch was tried, and is refused since then."""
    refusal: str = ""
    ready_at: datetime | None = None
    drain_started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Seen:
    """What there is beside the node itself."""

    session: Literal["live", "ending", "gone"]
    may_launch: bool
    """The session's volume and master are ready for slaves."""
    outside: Observation | None = None
    at_master: NodeReport | None = None
    master_answers: bool = False
    settled: bool = False
    """The session has added this node's time."""
    unpaid_since: datetime | None = None
    """The session's time was used up then: what it runs on is on the house."""


@dataclass(frozen=True)
class End:
    """The end of a node, to be written down once."""

    at: datetime
    reason: EndReason
    message: str = ""
    drained: bool = True
    """Whether its block is taken up by another without costing a retry."""


Step = Literal["launch", "close", "release", "let_go", "confirm_gone"]


@dataclass(frozen=True)
class NodePlan:
    """Steps to carry out in order, and what the status should say."""

    phase: Phase
    steps: tuple[Step, ...] = ()
    stop: timedelta | None = None
    """Stop it, with so much grace."""
    end: End | None = None
    ready_at: datetime | None = None
    drain_started_at: datetime | None = None
    parked: Parked = ()
    trouble: Trouble | None = None
    quiet: bool = False
    """The status may wait: it will soon be another."""
    look_again: timedelta | None = None


def plan(node: Node, seen: Seen, now: datetime) -> NodePlan:
    """Decide from what exists. Doing what it says and planning again ends in doing nothing."""
    planned = _plan(node, seen, now)
    parked = _parked(node, planned, now)
    if parked and parked[-1][1] is None:
        left = max(_free_until(node.ready_at or planned.ready_at, parked) - now, timedelta())
        look_again = left if planned.look_again is None else min(left, planned.look_again)
        return replace(planned, parked=parked, look_again=look_again)
    return replace(planned, parked=parked)


def _parked(node: Node, planned: NodePlan, now: datetime) -> Parked:
    """The free intervals: opened when its session parks it, closed when it is used, or ended.

    That it has nothing to render is the word of the tenant's master, and what runs on it meanwhile
    is the tenant's: so no more is free than what the node was paid for before.
    """
    ready_at, ended_at = node.ready_at or planned.ready_at, node.ended_at
    if planned.end is not None:
        ended_at = ended_at or planned.end.at
    parked, last = node.parked, node.parked[-1] if node.parked else None
    again = node.idle_since is not None and (last is None or node.idle_since > last[0])
    goes_on = last is not None and last[1] is None
    may = node.parks_free and ended_at is None and len(parked) < MOST_PARKED
    if again and may and not goes_on and ready_at is not None:
        # never before the last one's end, so that no second is free twice
        begins = max(node.idle_since or now, ready_at, *(u for _, u in parked if u))
        parked = (*parked, (begins, None))
    elif not goes_on:
        return parked
    *closed, (since, _) = parked
    over = _free_until(ready_at, parked)
    until = min(ended_at or now, over)
    if ended_at is None and node.idle_since is not None and now < over:
        return parked
    return (*closed, (since, max(until, since)))


def _free_until(ready_at: datetime | None, parked: Parked) -> datetime:
    """Until when the last interval is free: as long as the node was in use before it."""
    *before, (since, _) = parked
    in_use = since - (ready_at or since)
    for earlier, until in before:
        in_use -= (until or earlier) - earlier
    return since + max(in_use, timedelta())


def _plan(node: Node, seen: Seen, now: datetime) -> NodePlan:
    if node.ended_at is not None:
        return _after_the_end(node, seen)
    outside = seen.outside
    if outside is None:
        return _nothing_outside(node, seen, now)
    ready_at = node.ready_at or outside.ready_at
    if outside.ended:
        at = outside.ended_at or now
        end = End(
            at=max(at, ready_at) if ready_at else at,
            reason=_end_reason(node, outside),
            message=outside.message,
            drained=outside.cause != "failed",
        )
        return NodePlan("Ended", end=end, ready_at=ready_at)
    if node.going or seen.session != "live":
        return NodePlan(
            "Draining",
            stop=_sooner(outside, AT_ONCE, now),
            ready_at=ready_at,
            drain_started_at=node.drain_started_at or now,
            look_again=_until(outside.stops_by, now),
        )
    if node.drain:
        return _draining(node, seen, outside, ready_at, now)
    return _starting(node, outside, now) if ready_at is None else _up(node, outside, ready_at, now)


def _up(node: Node, outside: Observation, ready_at: datetime, now: datetime) -> NodePlan:
    going = outside.stops_by is not None
    up: Phase = "Ready" if node.idle_since is None else "Parked"
    return NodePlan(
        "Draining" if going else up,
        ready_at=ready_at,
        drain_started_at=node.drain_started_at or (now if going else None),
        look_again=_until(outside.stops_by, now),
    )


def _nothing_outside(node: Node, seen: Seen, now: datetime) -> NodePlan:
    if node.launched:
        # nothing is left to tell when it ended: its last sign of life counts, not a guess
        signs = [moment for moment in (node.drain_started_at, node.ready_at) if moment]
        end = End(max(signs, default=now), "Lost", "nothing is left of it outside")
        return NodePlan("Ended", steps=("confirm_gone",), end=end, ready_at=node.ready_at)
    if node.going or seen.session != "live":
        return NodePlan("Ended", steps=("confirm_gone",), end=End(now, "Deleted", "not needed"))
    if node.drain:
        return NodePlan("Ended", steps=("confirm_gone",), end=End(now, "Drained", "not needed"))
    if not seen.may_launch:
        # a refusal is forgotten: while nothing can be tried, the deadline does not come nearer
        quiet = node.refused_since is None
        return NodePlan("Pending", quiet=quiet, look_again=timedelta(seconds=30))
    if node.refused_since is not None and now >= node.refused_since + node.startup_deadline:
        end = _never_ready(node, f"refused: {node.refusal}", now)
        return NodePlan("Ended", steps=("confirm_gone",), end=end)
    return NodePlan("Launching", steps=("launch",), quiet=True, look_again=QUIET_START)


def refused(node: Node, why: str, now: datetime) -> NodePlan:
    """What goes for a node whose launch was planned, tried, and refused."""
    deadline = (node.refused_since or now) + node.startup_deadline
    trouble = Trouble(LAUNCH_REFUSED, why)
    return NodePlan("Pending", trouble=trouble, look_again=min(REFUSED_AGAIN, deadline - now))


def _never_ready(node: Node, why: str, now: datetime) -> End:
    seconds = f"{node.startup_deadline.total_seconds():g} s"
    return End(now, "StartupDeadline", f"not ready after {seconds}: {why}")


def _starting(node: Node, outside: Observation, now: datetime) -> NodePlan:
    deadline = outside.created_at + node.startup_deadline
    if now >= deadline:
        why = outside.trouble.message if outside.trouble else "it never got ready"
        return NodePlan("Ended", end=_never_ready(node, why, now), trouble=outside.trouble)
    loud_at = outside.created_at + QUIET_START
    quiet = now < loud_at and outside.trouble is None and node.refused_since is None
    return NodePlan(
        "Launching",
        trouble=outside.trouble,
        quiet=quiet,
        look_again=(loud_at if quiet else deadline) - now,
    )


def _draining(
    node: Node, seen: Seen, outside: Observation, ready_at: datetime | None, now: datetime
) -> NodePlan:
    # while it is patient the grace has not begun: it may be cut short later
    started = node.drain_started_at or (None if node.patient else now)
    planned = NodePlan("Draining", ready_at=ready_at, drain_started_at=started)
    over = None if node.patient or started is None else started + node.drain_grace
    if seen.unpaid_since is not None and over is not None:
        over = min(over, _on_the_house_until(node, seen.unpaid_since))
    report = seen.at_master
    closed = report is not None and report.state != "open"
    idle = report is not None and closed and report.block is None
    if ready_at is None or idle or (over is not None and now >= over):
        return replace(
            planned,
            stop=_sooner(outside, TO_GIVE_BACK, now),
            look_again=_until(outside.stops_by, now),
        )
    return replace(
        planned,
        steps=() if closed or not seen.master_answers else ("close",),
        look_again=PATIENT if over is None else over - now,
    )


def _on_the_house_until(node: Node, unpaid_since: datetime) -> datetime:
    """No more is free than what was paid for before: as for parked time, it is the tenant's."""
    paid = NodeTime("", node.ready_at, free=node.parked, unpaid_since=unpaid_since)
    return unpaid_since + timedelta(seconds=billable_seconds(paid, unpaid_since))


def _after_the_end(node: Node, seen: Seen) -> NodePlan:
    planned = NodePlan("Ended", ready_at=node.ready_at, drain_started_at=node.drain_started_at)
    if seen.outside is not None:
        return replace(planned, steps=("release",), look_again=timedelta(seconds=30))
    if seen.settled or seen.session == "gone":
        return replace(planned, steps=("let_go",))
    return planned


def _sooner(outside: Observation, grace: timedelta, now: datetime) -> timedelta | None:
    """The grace to stop it with; None where it must end by then anyway."""
    if outside.stops_by is not None and outside.stops_by <= now + grace + timedelta(seconds=2):
        return None
    return grace


def _until(moment: datetime | None, now: datetime) -> timedelta | None:
    """When to look whether what should have ended is lost."""
    if moment is None:
        return None
    return max(moment - now, timedelta()) + timedelta(seconds=61)


def _end_reason(node: Node, outside: Observation) -> EndReason:
    if outside.cause == "failed":
        return "Failed"
    if node.going:
        return "Deleted"
    if node.drain:
        return "Drained"
    if outside.cause == "exited":
        return "Completed"
    return "Deleted" if outside.stops_by is not None else "Lost"

"""Planning for many sessions: CPU of a round, and the work that one session's change causes.

A round is what an operator computes when all sessions changed at once: each session's plan and its
claim on its class, and the shares of each class, all of which have too few nodes.
"""

import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drqueue.control.fair import Claim, Limits
from drqueue.control.idle import IdleRules
from drqueue.control.kinds import Key
from drqueue.control.session_plan import NodeView, Seen, Wanted, plan, reckon
from drqueue.control.shares import Member, Shares

from bench import planning_work
from bench.figures import Figure

SESSIONS, CLASSES, TENANTS = 1_000, 20, 100
NODES = 4
"""Each session has so many, and wants half as many more."""
ROUNDS = 20
START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def measure(scratch: Path) -> list[Figure]:
    """Plan in this process; then count an operator's work on a control plane."""
    shares, everything = _rounds()
    figures = [
        Figure("planning", f"shares of {CLASSES} classes, {SESSIONS:,} sessions", shares, "ms CPU"),
        Figure("planning", "a round: that, and each session's plan", everything, "ms CPU", "≤ 50"),
    ]
    return [*figures, *planning_work.measure(scratch)]


def _rounds() -> tuple[float, float]:
    """Milliseconds of CPU of the median round: of the shares alone, and of all."""
    shares, limits = Shares(), Limits(SESSIONS * NODES // CLASSES)
    wanted = Wanted(NODES * 3 // 2, 10**9, idle=IdleRules("Park"))
    alone, everything = [], []
    for number in range(ROUNDS):
        now = START + timedelta(minutes=number)
        seen = [_seen(session, number) for session in range(SESSIONS)]
        began = time.process_time()
        for session in range(SESSIONS):
            reckoned = reckon(wanted, seen[session], now)
            tenant = f"studio-{session % TENANTS}"
            told = shares.report(
                f"class-{session % CLASSES}",
                limits,
                Member(Key("RenderSession", tenant, f"s{session}"), f"uid-{session}"),
                Claim(tenant, reckoned.wish, len(seen[session].nodes), START),
                0,
            )
            plan(wanted, replace(seen[session], allowed=told.nodes), now, reckoned)
        planned = time.process_time()
        for number_of_class in range(CLASSES):
            shares.share(f"class-{number_of_class}", limits, now)
        ended = time.process_time()
        alone.append(1000 * (ended - planned))
        everything.append(1000 * (ended - began))
    return statistics.median(alone), statistics.median(everything)


def _seen(session: int, number: int) -> Seen:
    """A session whose nodes, and whose blocks, are others in each round."""
    nodes = tuple(
        NodeView(
            index=index,
            uid=f"uid-{session}-{number // 5}-{index}",
            made_at=START,
            ready_at=START + timedelta(seconds=index),
            busy=(session + index + number) % 3 > 0,
        )
        for index in range(NODES - (session + number) % 2)
    )
    days = {"2026-01-30": 3600, "2026-01-31": 600}
    return Seen(nodes, blocks=2 + (session + number) % 9, settled_days=days)

"""What becomes of a node with nothing to render. Pure.

`Shutdown` stops it at once; `ShutdownWithDelay` shortly before its provider's next billing period
ends, for until then it is paid for anyway; `Park` keeps it warm for a while. A kept node takes
blocks of its own session as before. It is never given to another session: a pod's volume is part
of it, and it cannot be stripped of what it saw.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from drqueue.api.values import parse_duration

Policy = Literal["Shutdown", "ShutdownWithDelay", "Park"]


@dataclass(frozen=True)
class IdleRules:
    """What the class says, with the session's choice of policy."""

    policy: Policy = "Shutdown"
    park_time: timedelta = timedelta(minutes=10)
    billing_period: timedelta = timedelta(hours=1)
    shutdown_before: timedelta = timedelta(minutes=5)

    def kept_until(self, made_at: datetime, idle_since: datetime) -> datetime:
        """Until when a node is kept that was made then, and has had nothing to do since then."""
        if self.policy == "Park":
            return idle_since + self.park_time
        if self.policy == "Shutdown":
            return idle_since
        into_period = max(idle_since - made_at, timedelta()) % self.billing_period
        left = self.billing_period - self.shutdown_before - into_period
        return idle_since + max(left, timedelta())


def allowed_policies(class_spec: Mapping[str, Any] | None) -> tuple[Policy, ...]:
    """The policies that a session of the class may have; its default first."""
    idle = (class_spec or {}).get("idle") or {}
    default = idle.get("policy", "Shutdown")
    return tuple(dict.fromkeys(cast(list[Policy], [default, *(idle.get("allowed") or ())])))


def read_rules(session_spec: Mapping[str, Any], class_spec: Mapping[str, Any] | None) -> IdleRules:
    """The rules for a session's nodes; a policy that its class does not allow is not heeded."""
    allowed = allowed_policies(class_spec)
    chosen = session_spec.get("idlePolicy")
    idle = (class_spec or {}).get("idle") or {}
    rules = IdleRules(policy=chosen if chosen in allowed else allowed[0])
    times = {
        name: parse_duration(idle[field])
        for name, field in (
            ("park_time", "parkTime"),
            ("billing_period", "billingPeriod"),
            ("shutdown_before", "shutdownBefore"),
        )
        if field in idle
    }
    return IdleRules(rules.policy, **times)

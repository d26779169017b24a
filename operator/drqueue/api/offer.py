"""How many nodes of a class there are for whom, and what becomes of idle ones."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from drqueue.api.base import Model
from drqueue.api.rule import Rule
from drqueue.api.values import (
    DURATION_PATTERN,
    SET,
    Duration,
    LabelName,
    PositiveDuration,
    distinct,
)

_MOST_NODES = 1_000_000
_SOONER = "shutdownBefore is billingPeriod or more: write a shorter time, or a longer period"


class Weight(Model):
    """How much of a class that is short of nodes a tenant gets, beside the others."""

    namespace: LabelName = Field(description="The tenant's namespace.")
    weight: int = Field(
        ge=1, le=1000, description="Its share beside the others'. Tenants not named here have 1."
    )


class Limits(Model):
    """How many nodes there are at the most. Absent: any number."""

    nodes: int | None = Field(default=None, ge=1, le=_MOST_NODES, description="Nodes of the class.")
    nodes_per_tenant: int | None = Field(
        default=None, ge=1, le=_MOST_NODES, description="Nodes of all sessions of a namespace."
    )
    nodes_per_session: int | None = Field(
        default=None, ge=1, le=_MOST_NODES, description="Nodes of one session."
    )
    weights: list[Weight] = Field(
        default_factory=list,
        max_length=500,
        description="Shares of the tenants while sessions want more nodes than there are.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["namespace"],
        },
    )

    @model_validator(mode="after")
    def _tenants_differ(self) -> Self:
        distinct([entry.namespace for entry in self.weights])
        return self


IdlePolicy = Literal["Shutdown", "ShutdownWithDelay", "Park"]


def _each_once(policies: list[IdlePolicy]) -> list[IdlePolicy]:
    distinct(list(policies))
    return policies


class Idle(Model):
    """What becomes of a node with nothing to render."""

    rules = (
        Rule(
            # text that is no duration has a refusal of its own
            rule=f"!has(self.shutdownBefore) || !has(self.billingPeriod) "
            f"|| !self.shutdownBefore.matches('{DURATION_PATTERN}') || self.shutdownBefore == '' "
            f"|| !self.billingPeriod.matches('{DURATION_PATTERN}') || self.billingPeriod == '' "
            "|| duration(self.shutdownBefore) < duration(self.billingPeriod)",
            message=_SOONER,
            field_path=".shutdownBefore",
        ),
    )

    policy: IdlePolicy = Field(
        default="Shutdown",
        description=(
            "Shutdown: stopped at once; ShutdownWithDelay: shortly before its next billing "
            "period begins; Park: kept warm for parkTime, then stopped."
        ),
    )
    allowed: Annotated[list[IdlePolicy], AfterValidator(_each_once)] = Field(
        default_factory=list,
        max_length=3,
        json_schema_extra=SET,
        description="Other policies that a session's idlePolicy may name. Default: none.",
    )
    park_time: PositiveDuration = Field(
        default=timedelta(minutes=10), description="With Park: how long an idle node is kept."
    )
    billing_period: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="With ShutdownWithDelay: what the provider charges by, from a node's start.",
    )
    shutdown_before: Duration = Field(
        default=timedelta(minutes=5),
        description="With ShutdownWithDelay: how long before the next period a node is stopped.",
    )

    @model_validator(mode="after")
    def _stops_within_its_period(self) -> Self:
        if self.shutdown_before >= self.billing_period:
            raise ValueError(_SOONER)
        return self

"""RenderSession: what a customer buys, nodes × render time of a class, on storage of its own."""

from datetime import timedelta
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from drqueue.api.base import Column, CommonStatus, HandledRequest, Model, Resource, StatusModel
from drqueue.api.money import StatusSum
from drqueue.api.names import MAX_SESSION_NAME
from drqueue.api.offer import IdlePolicy
from drqueue.api.price import ParkedTime
from drqueue.api.rule import Rule
from drqueue.api.values import (
    LabelName,
    ObjectName,
    PositiveDuration,
    SizeQuantity,
    Time,
    TotalDuration,
    name_rule,
    require_name,
)

_ANOTHER_SESSION = (
    "create another session; its storage.claimName may name the claim of this one once it is gone"
)


class Storage(Model):
    """The session's volume, mounted by its master and its slaves."""

    immutable = ("storage_class_name", "access_mode", "claim_name", "retain")
    immutable_advice = _ANOTHER_SESSION
    rules = (
        Rule(
            rule="!has(self.size) || !has(oldSelf.size) || "
            "quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
            message="size can only grow: write the present size or a larger one",
            field_path=".size",
        ),
    )

    size: SizeQuantity = Field(default="10Gi", description="Size of the claim, in bytes. May grow.")
    storage_class_name: ObjectName | None = Field(
        default=None,
        description="Default: the node class's, else the chart's, else the cluster's.",
    )
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = Field(
        default="ReadWriteMany",
        description="With ReadWriteOnce all pods of the session are held on one machine.",
    )
    claim_name: ObjectName | None = Field(
        default=None,
        description=(
            "Takes over this claim of the namespace (an earlier session's) rather than make one. "
            "Waits while another session uses it."
        ),
    )
    retain: bool = Field(default=True, description="Keep the claim when the session is deleted.")


class RenderSessionSpec(Model):
    """What is wanted."""

    immutable = ("node_class_name", "account_name")
    immutable_advice = _ANOTHER_SESSION

    node_class_name: ObjectName = Field(description="The RenderNodeClass to take nodes from.")
    nodes: int = Field(ge=1, le=10_000, description="How many nodes may render at the same time.")
    render_time: PositiveDuration = Field(
        description="Time granted for each node: nodes × renderTime is the session's total."
    )
    account_name: ObjectName | None = Field(
        default=None,
        description=(
            "The RenderAccount that pays, in the billing namespace; it must list this namespace. "
            "Default: the only account that does."
        ),
    )
    priority: int = Field(
        default=50,
        ge=0,
        le=100,
        description="Among sessions of its namespace, where a class is short of nodes.",
    )
    idle_policy: IdlePolicy | None = Field(
        default=None,
        description="What becomes of idle nodes, if the class allows it. Default: the class's.",
    )
    storage: Storage = Field(default_factory=Storage)
    suspend: bool = Field(
        default=False, description="True stops the nodes; jobs keep their frames."
    )


class NodeCounts(StatusModel):
    """How many nodes there are."""

    desired: int = Field(default=0, description="Nodes that its jobs can use now.")
    ready: int = Field(default=0, description="Nodes that can take or render blocks.")
    running: int = Field(default=0, description="Ready nodes that render a block now.")
    draining: int = Field(default=0, description="Nodes that finish their block, then go.")
    parked: int = Field(default=0, description="Nodes that are kept with nothing to render.")


class RenderTimeStatus(StatusModel):
    """Node-seconds of the session, as Go-style durations summed over its nodes."""

    granted: TotalDuration = Field(
        default=timedelta(), description="nodes × renderTime, as far as it is funded."
    )
    used: TotalDuration = Field(default=timedelta(), description="Of ended and running nodes.")
    remaining: TotalDuration = Field(default=timedelta(), description="Granted less used.")


class SettledNode(StatusModel):
    """A node whose time was added and that has not been seen gone yet."""

    uid: str = Field(description="UID of the RenderNode.")
    seconds: int = Field(description="Whole seconds between its first Ready and its end.")


class UnpaidNode(StatusModel):
    """A node that was there when the render time was used up."""

    uid: str = Field(description="UID of the RenderNode.")
    since: Time = Field(description="From when on it is on the house, to its end.")


class SettledDay(StatusModel):
    """Time of ended nodes that fell on a day."""

    day: str = Field(description="The day in UTC, as in 2026-11-25.")
    seconds: int = Field(description="Node-seconds.")


class FundingStatus(StatusModel):
    """What the session has bound itself to; its account holds the price for it."""

    state: Literal["Free", "Awaiting", "Funded"] = Field(
        description="Free: its class has no price; Awaiting: its account does not cover it yet."
    )
    session_uid: str | None = Field(
        default=None,
        description="UID of the session that this is of: restored under another, it begins anew.",
    )
    account_name: str | None = Field(default=None, description="The RenderAccount that pays.")
    currency: str | None = Field(default=None, description="Code in ISO 4217.")
    price: StatusSum | None = Field(default=None, description="The price of `seconds`, reserved.")
    nodes: int | None = Field(default=None, description="Nodes that are covered.")
    seconds: int | None = Field(default=None, description="Node-seconds that are covered.")
    parked_time: ParkedTime | None = Field(
        default=None, description="Of the terms it was funded at. Absent: the class's."
    )
    generation: int = Field(
        default=0,
        description="No reservation made for an older metadata.generation raises it.",
    )
    missing: StatusSum | None = Field(
        default=None, description="What has to be paid in until all that is wanted is covered."
    )


SessionPhase = Literal[
    "Pending", "AwaitingPayment", "Asleep", "Active", "Suspended", "Exhausted", "Ending"
]


class RenderSessionStatus(CommonStatus):
    """What is happening."""

    phase: SessionPhase | None = Field(
        default=None,
        description=(
            "Pending: something is missing; AwaitingPayment: its account does not cover it yet; "
            "Asleep: no job to render, no pods; "
            "Active: jobs render; Suspended: spec.suspend; "
            "Exhausted: no render time left; Ending: being deleted."
        ),
    )
    nodes: NodeCounts = Field(default_factory=NodeCounts)
    render_time: RenderTimeStatus = Field(default_factory=RenderTimeStatus)
    funding: FundingStatus | None = Field(
        default=None, description="Who pays for it, how much, for what."
    )
    settled_days: list[SettledDay] = Field(
        default_factory=list,
        description="Node-seconds of nodes that have ended, by day.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["day"]},
    )
    settled: bool = Field(
        default=False, description="Being deleted, all nodes are gone: its sums are final."
    )
    settling: list[SettledNode] = Field(
        default_factory=list,
        description="Nodes whose seconds are added, until they are gone.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"]},
    )
    unpaid: list[UnpaidNode] = Field(
        default_factory=list,
        description=(
            "Nodes that were there when the render time was used up, until their seconds are "
            "added: what they run on is on the house, also when more is bought."
        ),
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    active_jobs: int = Field(default=0, description="Jobs with frames left to render.")
    claim_name: str | None = Field(default=None, description="The claim in use.")
    master: str | None = Field(default=None, description="Asleep, Starting or Running.")
    reader_until: Time | None = Field(
        default=None,
        description="When the reader pod that a request opened will end at the latest.",
    )
    handled_requests: list[HandledRequest] = Field(
        default_factory=list, max_length=10, description="Answers to the newest requests."
    )


class RenderSession(Resource):
    """A share of a render farm: own master, keys and volume. The unit of isolation."""

    kind: ClassVar[str] = "RenderSession"
    plural: ClassVar[str] = "rendersessions"
    short_names: ClassVar[tuple[str, ...]] = ("rsn",)
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Phase", json_path=".status.phase"),
        Column(name="Class", json_path=".spec.nodeClassName"),
        Column(name="Nodes", json_path=".spec.nodes", type="integer"),
        Column(name="Ready", json_path=".status.nodes.ready", type="integer"),
        Column(name="Jobs", json_path=".status.activeJobs", type="integer"),
        Column(name="Remaining", json_path=".status.renderTime.remaining"),
        Column(name="Age", json_path=".metadata.creationTimestamp", type="date"),
        Column(name="Account", json_path=".status.funding.accountName", priority=1),
        Column(name="Price", json_path=".status.funding.price", priority=1),
        Column(name="Why", json_path=".status.conditions[?(@.type=='Ready')].message", priority=1),
    )

    selectable: ClassVar[tuple[str, ...]] = (".spec.nodeClassName",)
    rules = (name_rule(MAX_SESSION_NAME),)

    spec: RenderSessionSpec
    status: RenderSessionStatus | None = None

    @model_validator(mode="after")
    def _name_leaves_room(self) -> Self:
        require_name(self.metadata.name, MAX_SESSION_NAME)
        return self


SessionName = LabelName

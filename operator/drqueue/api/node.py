"""RenderNode: one slave, a pod (or later a machine). Written by the operator only."""

from typing import ClassVar, Literal

from pydantic import Field

from drqueue.api.base import Column, CommonStatus, Model, Resource, StatusModel
from drqueue.api.nodeclass import Provider
from drqueue.api.price import ParkedTime
from drqueue.api.values import Duration, LabelName, ObjectName, Time


class RenderNodeSpec(Model):
    """What the session's reconciler wants of the node; the class's terms as they were then."""

    immutable = (
        "session_name",
        "session_uid",
        "node_class_name",
        "provider",
        "renderers",
        "pools",
        "os",
        "startup_deadline",
        "drain_grace",
        "parked_time",
    )
    immutable_advice = "nodes are made by their session; set drain to true to be rid of this one"

    session_name: LabelName = Field(description="The RenderSession it renders for.")
    session_uid: str = Field(max_length=64, description="UID of that session.")
    node_class_name: ObjectName = Field(description="The class it was made from.")
    provider: Provider = Field(description="The class's provider as it was then.")
    renderers: list[LabelName] = Field(
        default_factory=list, max_length=64, description="Renderers that its image has."
    )
    pools: list[LabelName] = Field(
        default_factory=list, max_length=32, description="Pools that it carries."
    )
    os: LabelName = Field(default="linux", description="Its operating system.")
    startup_deadline: Duration = Field(description="Not Ready by then, it is ended.")
    drain_grace: Duration = Field(description="How long it may go on with its block when drained.")
    parked_time: ParkedTime = Field(
        default="Billed", description="Whether its time is billed while it is parked."
    )
    drain: bool = Field(default=False, description="True: take no new block, finish, then end.")
    patient: bool = Field(
        default=False,
        description="With drain: its block may take as long as it takes, drainGrace or not.",
    )
    idle_since: Time | None = Field(
        default=None, description="Since when it is kept with nothing to render."
    )


NodePhase = Literal["Pending", "Launching", "Ready", "Parked", "Draining", "Ended"]


class ParkedSpell(StatusModel):
    """A time in which a node was parked on the house."""

    since: Time = Field(description="From when.")
    until: Time | None = Field(default=None, description="Until when. Absent: still, or its end.")


class RenderNodeStatus(CommonStatus):
    """What is happening."""

    phase: NodePhase | None = Field(
        default=None,
        description=(
            "Pending: nothing made yet; Launching: its pod is made but not Ready; Ready; "
            "Parked: kept with nothing to render; Draining: finishes its block; Ended."
        ),
    )
    provider_id: str | None = Field(
        default=None, alias="providerID", description="The pod's name or instance's id."
    )
    address: str | None = Field(default=None, description="IP address of its pod.")
    block: str | None = Field(default=None, description="What it renders: job/frames.")
    ready_at: Time | None = Field(default=None, description="First Ready: billable time starts.")
    ended_at: Time | None = Field(default=None, description="The end: billable time stops.")
    drain_started_at: Time | None = Field(
        default=None, description="From when the drain grace counts."
    )
    parked: list[ParkedSpell] = Field(
        default_factory=list,
        max_length=100,
        description="When it was parked unbilled; recorded where parkedTime is Free only.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    end_reason: str | None = Field(
        default=None, description="Completed, Drained, Failed, Lost, StartupDeadline or Deleted."
    )


class RenderNode(Resource):
    """One slave of a session. It launches and stops exactly one pod in its life."""

    kind: ClassVar[str] = "RenderNode"
    plural: ClassVar[str] = "rendernodes"
    short_names: ClassVar[tuple[str, ...]] = ("rnode",)
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Phase", json_path=".status.phase"),
        Column(name="Session", json_path=".spec.sessionName"),
        Column(name="Class", json_path=".spec.nodeClassName"),
        Column(name="Block", json_path=".status.block"),
        Column(name="Age", json_path=".metadata.creationTimestamp", type="date"),
        Column(name="Why", json_path=".status.conditions[?(@.type=='Ready')].message", priority=1),
    )

    selectable: ClassVar[tuple[str, ...]] = (".spec.sessionName",)

    spec: RenderNodeSpec
    status: RenderNodeStatus | None = None

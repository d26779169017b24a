"""RenderNode: one slave, a pod (or later a machine). Written by the operator only."""

from typing import ClassVar, Literal

from pydantic import Field

from drqueue.api.base import Column, CommonStatus, Model, Resource
from drqueue.api.nodeclass import Provider
from drqueue.api.values import Duration, LabelName, Time


class RenderNodeSpec(Model):
    """What the session's reconciler wants of the node; the class's terms as they were then."""

    session_name: LabelName
    session_uid: str
    node_class_name: str
    provider: Provider
    pools: list[str] = Field(default_factory=list)
    startup_deadline: Duration
    drain_grace: Duration
    drain: bool = Field(default=False, description="True: take no new block, finish, then end.")


NodePhase = Literal["Pending", "Launching", "Ready", "Draining", "Ended"]


class RenderNodeStatus(CommonStatus):
    """What is happening."""

    phase: NodePhase | None = None
    provider_id: str | None = Field(default=None, description="The pod's name or instance's id.")
    address: str | None = None
    block: str | None = Field(default=None, description="What it renders: job/frames.")
    ready_at: Time | None = Field(default=None, description="First Ready: billable time starts.")
    ended_at: Time | None = Field(default=None, description="The end: billable time stops.")
    drain_started_at: Time | None = None
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

    spec: RenderNodeSpec
    status: RenderNodeStatus | None = None

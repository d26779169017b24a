"""RenderNodeClass: what ops offer. A class names what may be set; no PodSpec is inlined."""

from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field

from drqueue.api.base import Column, CommonStatus, Model, Resource
from drqueue.api.values import Duration, LabelName, ObjectName, Quantity


class Resources(Model):
    """Cores and memory of a node: requested, and the limit. Jobs' limits are held against them."""

    cores: Quantity = Field(default="1", description="CPU cores requested for a slave.")
    memory: Quantity = Field(default="1Gi", description="Memory of a slave, requested and limit.")
    cores_limit: Quantity | None = Field(default=None, description="CPU limit. Default: none.")


class Toleration(Model):
    """A toleration, as pods carry them."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class EnvironmentSource(Model):
    """Variables for the renderer from a Secret or ConfigMap of the session's namespace: one of them."""

    secret_name: ObjectName | None = None
    config_map_name: ObjectName | None = None
    prefix: str | None = Field(default=None, max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


class ExtraVolume(Model):
    """A claim of the session's namespace mounted into slaves, for textures and caches."""

    claim_name: ObjectName
    mount_path: str = Field(
        pattern=r"^/(mnt|data|assets)(/[-._a-zA-Z0-9]+)*$",
        max_length=255,
        description="Below /mnt, /data or /assets.",
    )
    read_only: bool = True


class KubernetesProvider(Model):
    """Nodes as pods of this cluster."""

    image: str | None = Field(
        default=None, min_length=1, max_length=512, description="Default: the chart's slave image."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: list[ObjectName] = Field(default_factory=list, max_length=8)
    resources: Resources = Field(default_factory=Resources)
    node_selector: dict[str, str] = Field(default_factory=dict, max_length=32)
    tolerations: list[Toleration] = Field(default_factory=list, max_length=32)
    runtime_class_name: ObjectName | None = None
    priority_class_name: ObjectName | None = None
    environment: list[EnvironmentSource] = Field(default_factory=list, max_length=16)
    volumes: list[ExtraVolume] = Field(default_factory=list, max_length=16)


class Provider(Model):
    """Where nodes come from: exactly one of the providers (EC2 joins Kubernetes later)."""

    kubernetes: KubernetesProvider | None = None


class RenderNodeClassSpec(Model):
    """What is offered."""

    provider: Provider = Field(description="Where nodes come from. Immutable.")
    renderers: list[LabelName] = Field(
        default_factory=lambda: ["povray", "general"],
        min_length=1,
        max_length=64,
        description="Renderers that the image has; a job's renderer must be one of them.",
    )
    pools: list[LabelName] = Field(
        default_factory=list, max_length=32, description="Pools that its nodes carry."
    )
    os: str = Field(default="linux", max_length=63)
    storage_class_name: ObjectName | None = Field(
        default=None, description="Storage class for sessions that name none."
    )
    startup_deadline: Duration = Field(
        default=timedelta(minutes=10), description="A node not Ready by then is replaced."
    )
    drain_grace: Duration = Field(
        default=timedelta(minutes=30),
        description="How long a draining node may go on with its block. Set when a node is made.",
    )


class RenderNodeClassStatus(CommonStatus):
    """How the class does."""

    nodes_in_use: int = 0
    sessions: int = Field(default=0, description="Sessions that name the class.")


class RenderNodeClass(Resource):
    """A kind of node that ops offer: where it comes from, its size, image and terms."""

    kind: ClassVar[str] = "RenderNodeClass"
    plural: ClassVar[str] = "rendernodeclasses"
    short_names: ClassVar[tuple[str, ...]] = ("rnc",)
    namespaced: ClassVar[bool] = False
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Ready", json_path=".status.conditions[?(@.type=='Ready')].status"),
        Column(name="Renderers", json_path=".spec.renderers"),
        Column(name="Nodes", json_path=".status.nodesInUse", type="integer"),
        Column(name="Age", json_path=".metadata.creationTimestamp", type="date"),
    )

    spec: RenderNodeClassSpec
    status: RenderNodeClassStatus | None = None

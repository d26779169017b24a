"""RenderNodeClass: what ops offer. A class names what may be set; no PodSpec is inlined."""

import re
from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from drqueue.api.base import Column, CommonStatus, Model, Resource, StatusModel
from drqueue.api.offer import Idle, Limits
from drqueue.api.price import Price
from drqueue.api.rule import Rule, exactly_one, validations
from drqueue.api.values import (
    SET,
    Duration,
    LabelName,
    ObjectName,
    PositiveDuration,
    SizeQuantity,
    Time,
    distinct,
    parse_quantity,
    require_one,
)

_LIMIT_BELOW = "coresLimit is below cores: write the same number of cores or more, or leave it out"
_ANY_KEY = "a toleration of any key needs operator: Exists"
_ANY_VALUE = "with operator Exists any value is borne: leave value out, or write operator: Equal"
_ONLY_NO_EXECUTE = "tolerationSeconds goes with effect: NoExecute only"
_SOURCE_HINT = "the Secret or the ConfigMap that holds the variables"
_PROVIDER_HINT = "for pods of this cluster write kubernetes: {}"


_MOUNT_PATH = "^/(mnt|data|assets)(/[a-zA-Z0-9_-][a-zA-Z0-9._-]*)*$"
_MOUNT_PATH_FORM = (
    "write a path below /mnt, /data or /assets, as in /data/textures: "
    "letters, digits, - and _, and dots inside a part"
)


def _check_mount_path(path: str) -> str:
    if not re.fullmatch(_MOUNT_PATH.removesuffix("$"), path):
        raise ValueError(f"{path!r} is taken by the pod: {_MOUNT_PATH_FORM}")
    return path


class Resources(Model):
    """Cores and memory of a node: requested, and the limit. Jobs' limits are held against them."""

    rules = (
        Rule(
            rule="!has(self.coresLimit) || !has(self.cores) || quantity(string(self.coresLimit))"
            ".compareTo(quantity(string(self.cores))) >= 0",
            message=_LIMIT_BELOW,
            field_path=".coresLimit",
        ),
    )

    cores: SizeQuantity = Field(default="1", description="CPU cores requested for a slave.")
    memory: SizeQuantity = Field(default="1Gi", description="Memory, requested and limit.")
    cores_limit: SizeQuantity | None = Field(default=None, description="CPU limit. Default: none.")

    @model_validator(mode="after")
    def _limit_covers_request(self) -> Self:
        if self.cores_limit and parse_quantity(self.cores_limit) < parse_quantity(self.cores):
            raise ValueError(_LIMIT_BELOW)
        return self


class Toleration(Model):
    """A toleration, as pods carry them."""

    rules = (
        Rule(rule="has(self.key) || self.operator == 'Exists'", message=_ANY_KEY),
        Rule(rule="!has(self.value) || self.operator == 'Equal'", message=_ANY_VALUE),
        Rule(
            rule="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            message=_ONLY_NO_EXECUTE,
        ),
    )

    key: str | None = Field(
        default=None, min_length=1, max_length=317, description="The taint's key. Default: any."
    )
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Equal compares the value, Exists takes any."
    )
    value: str | None = Field(default=None, max_length=63, description="The taint's value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect. Default: any."
    )
    toleration_seconds: int | None = Field(
        default=None, description="How many seconds a NoExecute taint is borne. Default: for ever."
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.key is None and self.operator != "Exists":
            raise ValueError(_ANY_KEY)
        if self.value is not None and self.operator != "Equal":
            raise ValueError(_ANY_VALUE)
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError(_ONLY_NO_EXECUTE)
        return self


class EnvironmentSource(Model):
    """Variables for the renderer from a Secret or ConfigMap of the session's namespace."""

    rules = (exactly_one("secretName", "configMapName", hint=_SOURCE_HINT),)

    secret_name: ObjectName | None = Field(
        default=None, description="A Secret of the session's namespace."
    )
    config_map_name: ObjectName | None = Field(
        default=None, description="A ConfigMap of the session's namespace."
    )
    prefix: str | None = Field(
        default=None,
        max_length=63,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Put before each variable's name.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        require_one(_SOURCE_HINT, secretName=self.secret_name, configMapName=self.config_map_name)
        return self


class ExtraVolume(Model):
    """A claim of the session's namespace mounted into slaves, for textures and caches."""

    claim_name: ObjectName = Field(
        description="A PersistentVolumeClaim of the session's namespace."
    )
    mount_path: Annotated[str, AfterValidator(_check_mount_path)] = Field(
        max_length=255,
        json_schema_extra=validations(
            Rule(rule=f"self.matches('{_MOUNT_PATH}')", message=_MOUNT_PATH_FORM)
        ),
        description="Below /mnt, /data or /assets.",
    )
    read_only: bool = Field(default=True, description="False lets renderers write to it.")


class KubernetesProvider(Model):
    """Nodes as pods of this cluster."""

    image: str | None = Field(
        default=None, min_length=1, max_length=512, description="Default: the chart's slave image."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When the image is pulled."
    )
    image_pull_secrets: Annotated[list[ObjectName], AfterValidator(distinct)] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra=SET,
        description="Secrets of the session's namespace that open the image's registry.",
    )
    resources: Resources = Field(default_factory=Resources)
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=32, description="Labels of the machines to run on."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=32, description="Taints of machines that it may run on."
    )
    runtime_class_name: ObjectName | None = Field(
        default=None, description="RuntimeClass of the pods, such as a sandboxed one."
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="PriorityClass of the pods."
    )
    environment: list[EnvironmentSource] = Field(
        default_factory=list,
        max_length=16,
        description="Secrets and ConfigMaps whose keys become the renderer's variables.",
    )
    volumes: list[ExtraVolume] = Field(
        default_factory=list,
        max_length=16,
        description="Claims mounted beside the session's own volume.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["mountPath"],
        },
    )

    @model_validator(mode="after")
    def _mount_paths_differ(self) -> Self:
        distinct([volume.mount_path for volume in self.volumes])
        return self


class Provider(Model):
    """Where nodes come from: exactly one of the providers (EC2 joins Kubernetes later)."""

    rules = (exactly_one("kubernetes", hint=_PROVIDER_HINT),)

    kubernetes: KubernetesProvider | None = None

    @model_validator(mode="after")
    def _one_provider(self) -> Self:
        require_one(_PROVIDER_HINT, kubernetes=self.kubernetes)
        return self


class RenderNodeClassSpec(Model):
    """What is offered."""

    immutable = ("provider",)
    immutable_advice = "create another class, and let new sessions name that one"

    provider: Provider = Field(description="Where nodes come from. Immutable.")
    renderers: Annotated[list[LabelName], AfterValidator(distinct)] = Field(
        default_factory=lambda: ["povray", "general"],
        min_length=1,
        max_length=64,
        json_schema_extra=SET,
        description="Renderers that the image has; a job's renderer must be one of them.",
    )
    pools: Annotated[list[LabelName], AfterValidator(distinct)] = Field(
        default_factory=list,
        max_length=32,
        json_schema_extra=SET,
        description="Pools that its nodes carry.",
    )
    os: LabelName = Field(default="linux", description="Operating system of its nodes.")
    storage_class_name: ObjectName | None = Field(
        default=None, description="Storage class for sessions that name none."
    )
    startup_deadline: PositiveDuration = Field(
        default=timedelta(minutes=10), description="A node not Ready by then is replaced."
    )
    drain_grace: Duration = Field(
        default=timedelta(minutes=30),
        description="How long a draining node may go on with its block. Set when a node is made.",
    )
    price: Price | None = Field(
        default=None, description="What its nodes cost. Default: sessions use them freely."
    )
    limits: Limits = Field(
        default_factory=Limits, description="How many nodes of it there are, for whom."
    )
    idle: Idle = Field(
        default_factory=Idle, description="What becomes of nodes with nothing to render."
    )


class LaunchTrouble(StatusModel):
    """Nodes in a row that failed, and how long no more are launched freely."""

    failures: int = Field(default=0, description="Failed launches in a row.")
    cool_until: Time | None = Field(default=None, description="Until when launches wait.")
    reason: str | None = Field(default=None, description="Why the last one failed, as a word.")
    message: str | None = Field(
        default=None,
        description="Why it failed, as a sentence; where all wait.",
    )
    whole_class: bool = Field(
        default=False,
        description="Nodes of several tenants did not start, and nobody's did: all wait.",
    )
    tenants: list[str] = Field(
        default_factory=list,
        description="Whose nodes failed in this row: marks (hashes) of namespaces, no names.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class RenderNodeClassStatus(CommonStatus):
    """How the class does."""

    nodes_in_use: int = Field(default=0, description="Nodes of it that have not ended.")
    sessions: int = Field(default=0, description="Sessions that name the class.")
    nodes_wanted: int = Field(default=0, description="Nodes that its sessions want now.")
    nodes_allowed: int = Field(default=0, description="Nodes that its sessions may have now.")
    launch: LaunchTrouble | None = Field(
        default=None, description="Present while launches have failed."
    )


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
        Column(name="Wanted", json_path=".status.nodesWanted", type="integer", priority=1),
        Column(name="Machine/h", json_path=".spec.price.machinePerHour", priority=1),
        Column(name="Service/h", json_path=".spec.price.servicePerHour", priority=1),
        Column(name="Currency", json_path=".spec.price.currency", priority=1),
        Column(name="Age", json_path=".metadata.creationTimestamp", type="date"),
    )

    spec: RenderNodeClassSpec
    status: RenderNodeClassStatus | None = None

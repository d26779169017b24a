"""What every kind shares: the base model, metadata, conditions, answered requests."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from drqueue.api import API_VERSION
from drqueue.api.rule import Rule, unchanged
from drqueue.api.values import Time


class Model(BaseModel):
    """Base of all parts of a resource: camelCase outside, unknown fields refused.

    Strict, as the API server is: no text where a number belongs.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        strict=True,
        validate_assignment=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """CEL rules on this object, written into the CRD as x-kubernetes-validations."""
    immutable: ClassVar[tuple[str, ...]] = ()
    """Fields that cannot be edited; each becomes a CEL rule."""
    immutable_advice: ClassVar[str] = ""
    """What to do instead of an edit."""

    @classmethod
    def all_rules(cls) -> tuple[Rule, ...]:
        """The rules, those for immutable fields included."""
        names = (cls.model_fields[field].alias or field for field in cls.immutable)
        return (*cls.rules, *(unchanged(name, cls.immutable_advice) for name in names))

    def dump(self) -> dict[str, Any]:
        """Write the part as Kubernetes JSON, leaving out what is None."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


class StatusModel(Model):
    """Base of statuses: written by the operator only, and read leniently across versions."""

    model_config = ConfigDict(extra="ignore", strict=False)


class ObjectMeta(BaseModel):
    """The part of an object's metadata that we read; the rest is ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    name: str
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    finalizers: list[str] = Field(default_factory=list)
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Condition(StatusModel):
    """A condition in the Kubernetes form."""

    type: str = Field(max_length=316, description="What the condition is about, such as Ready.")
    status: Literal["True", "False", "Unknown"] = Field(
        description="Whether it holds; Unknown while that cannot be told."
    )
    reason: str = Field(description="A word for programs, in CamelCase.")
    message: str = Field(default="", description="A sentence for people.")
    last_transition_time: Time = Field(description="When the status last changed.")
    observed_generation: int | None = Field(
        default=None, description="The metadata.generation this was found for."
    )


class HandledRequest(StatusModel):
    """The answer to one `request.drqueue.org/<id>` annotation."""

    id: str = Field(description="The id behind request.drqueue.org/.")
    verb: str = Field(description="What was asked for: rerun, kill, drain or reader.")
    result: Literal["Accepted", "Done", "Refused"] = Field(
        description="Accepted while it is being done."
    )
    message: str = Field(default="", description="What was done, or why not.")
    time: Time = Field(description="When it was answered.")


class CommonStatus(StatusModel):
    """The part of a status that every kind has."""

    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that this status describes."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Ready sums up; Reconciling and Stalled are as kstatus reads them.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class Column(BaseModel):
    """A printer column of `kubectl get`."""

    model_config = ConfigDict(frozen=True)

    name: str
    json_path: str
    type: Literal["string", "integer", "date", "number", "boolean"] = "string"
    priority: int = 0


BOOKS = "drqueue-books"
"""The category of accounts, payments and invoices."""


class Resource(Model):
    """Base of the kinds themselves. `status` is absent until the operator has seen the object."""

    model_config = ConfigDict(extra="ignore")

    kind: ClassVar[str]
    plural: ClassVar[str]
    short_names: ClassVar[tuple[str, ...]]
    namespaced: ClassVar[bool] = True
    category: ClassVar[str] = "drqueue"
    """What `kubectl get` lists it under; the books have their own, for few may read them."""
    columns: ClassVar[tuple[Column, ...]]
    selectable: ClassVar[tuple[str, ...]] = ()
    """JSON paths that `kubectl get --field-selector` takes."""

    metadata: ObjectMeta

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone for a cluster-scoped kind."""
        return "/".join(p for p in (self.metadata.namespace, self.metadata.name) if p)

    @classmethod
    def type_meta(cls) -> dict[str, str]:
        """The apiVersion and kind, as an object carries them."""
        return {"apiVersion": API_VERSION, "kind": cls.kind}

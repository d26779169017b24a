"""RenderInvoice: what a session used, a line a day. Written by the operator only, and never again.

It has no owner: it stays when its session, its account or the tenant's namespace is gone.
"""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from drqueue.api.base import BOOKS, Column, CommonStatus, Model, Resource
from drqueue.api.money import Currency, Sum
from drqueue.api.names import INVOICE_PREFIX, invoice_name
from drqueue.api.rule import Rule
from drqueue.api.text import Day, Line
from drqueue.api.values import LabelName, ObjectName

_NAMED = f"metadata.name: an invoice is named {INVOICE_PREFIX} and its session's UID"


class Priced(Model):
    """What was bought."""

    nodes: int = Field(ge=0, description="Nodes.")
    seconds: int = Field(ge=0, description="Node-seconds: nodes × renderTime.")
    amount: Sum = Field(description="Their price.")


class InvoiceLine(Model):
    """A part of the sum."""

    day: Day | None = Field(default=None, description="The day in UTC, as in 2026-11-25.")
    text: Line = Field(max_length=200, description="What it is for.")
    seconds: int = Field(ge=0, description="Node-seconds.")
    amount: Sum = Field(description="Its share of the total.")


class RenderInvoiceSpec(Model):
    """What is charged."""

    rules = (
        Rule(
            rule="self == oldSelf",
            message="an invoice cannot be changed: a RenderPayment corrects the account's balance",
        ),
    )

    account_name: ObjectName = Field(description="The RenderAccount that paid.")
    account_uid: str | None = Field(
        default=None, max_length=64, description="Whose books it is in: its status.booksUid."
    )
    namespace: LabelName = Field(description="The session's namespace.")
    session_name: LabelName = Field(description="The session's name.")
    session_uid: str = Field(max_length=64, description="The session's UID.")
    class_name: ObjectName = Field(description="The node class that it used.")
    currency: Currency = Field(description="Code in ISO 4217 of all sums.")
    priced: Priced = Field(description="What was bought, and reserved until then.")
    lines: list[InvoiceLine] = Field(
        default_factory=list,
        max_length=5000,
        description="A line a day, in UTC, then what is charged beside; they add up to the total.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    used_seconds: int = Field(ge=0, description="Node-seconds that were used.")
    total: Sum = Field(description="What is charged.")


class RenderInvoiceStatus(CommonStatus):
    """Nothing: an invoice is complete when it is made."""


class RenderInvoice(Resource):
    """The invoice of a session that was deleted, in the billing namespace."""

    kind: ClassVar[str] = "RenderInvoice"
    plural: ClassVar[str] = "renderinvoices"
    short_names: ClassVar[tuple[str, ...]] = ("rinv",)
    category: ClassVar[str] = BOOKS
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Account", json_path=".spec.accountName"),
        Column(name="Namespace", json_path=".spec.namespace"),
        Column(name="Session", json_path=".spec.sessionName"),
        Column(name="Total", json_path=".spec.total"),
        Column(name="Currency", json_path=".spec.currency"),
        Column(name="Age", json_path=".metadata.creationTimestamp", type="date"),
    )

    selectable: ClassVar[tuple[str, ...]] = (
        ".spec.accountName",
        ".spec.namespace",
        ".spec.sessionUid",
    )
    rules = (
        Rule(
            rule=f"self.metadata.name == '{INVOICE_PREFIX}' + self.spec.sessionUid",
            message=_NAMED,
        ),
    )

    spec: RenderInvoiceSpec
    status: RenderInvoiceStatus | None = None

    @model_validator(mode="after")
    def _named_by_its_session(self) -> Self:
        if self.metadata.name != invoice_name(self.spec.session_uid):
            raise ValueError(_NAMED)
        return self

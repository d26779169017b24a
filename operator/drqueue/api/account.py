"""RenderAccount: money paid in advance, and the one place where it is committed."""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from drqueue.api.base import BOOKS, Column, CommonStatus, Model, Resource, StatusModel
from drqueue.api.money import Currency, StatusSum
from drqueue.api.text import Line
from drqueue.api.values import SET, LabelName, distinct

MAX_RESERVATIONS = 2000

# Atomic lists: the operator writes a status whole, and a record in managedFields of who owns which
# field of 2,000 entries would take half as much room again as they do.
_ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}


class RenderAccountSpec(Model):
    """Who pays, in what, for whom."""

    immutable = ("currency",)
    immutable_advice = "create another account, in that currency, and pay into that one"

    owner: Line = Field(max_length=200, description="Who pays: a name for people.")
    currency: Currency = Field(description="Code in ISO 4217 of all its money. Immutable.")
    namespaces: Annotated[list[LabelName], AfterValidator(distinct)] = Field(
        default_factory=list,
        max_length=500,
        json_schema_extra=SET,
        description="Namespaces whose sessions may spend from it.",
    )


class StoredDiscount(StatusModel):
    """A bracket of stored terms."""

    from_hours: int = Field(description="Node-hours bought from which on.")
    percent: StatusSum = Field(description="Off the whole sum.")


class StoredTerms(StatusModel):
    """A class's price as it was when sessions were funded; it holds for them."""

    id: str = Field(description="What reservations call it: a hash of the rest.")
    currency: str = Field(description="Code in ISO 4217.")
    machine_per_hour: StatusSum = Field(description="For the machine, per node-hour.")
    service_per_hour: StatusSum = Field(description="For service, per node-hour.")
    discounts: list[StoredDiscount] = Field(
        default_factory=list,
        description="Brackets by node-hours bought, ascending.",
        json_schema_extra=_ATOMIC,
    )
    rounding: str = Field(description="HalfUp, HalfEven, Up or Down.")
    minimum: StatusSum = Field(description="The least that a session costs which used any time.")
    unused: str = Field(description="Refund or Keep.")
    parked_time: str | None = Field(default=None, description="Free; absent: Billed.")


class Reservation(StatusModel):
    """Money held for one session."""

    session_uid: str = Field(description="UID of the RenderSession.")
    namespace: str = Field(description="Its namespace.")
    session_name: str = Field(description="Its name.")
    class_name: str = Field(description="Its node class.")
    generation: int = Field(description="The session's metadata.generation that asked for it.")
    nodes: int = Field(description="Nodes that are covered.")
    seconds: int = Field(description="Node-seconds that are covered: nodes × renderTime.")
    amount: StatusSum = Field(description="What is held, in the account's currency.")
    terms: str = Field(description="The id of its terms, in status.terms.")


class Invoicing(Reservation):
    """A reservation that became an invoice, until the RenderInvoice is there."""

    name: str = Field(description="Name of the RenderInvoice.")
    used_seconds: int = Field(description="Node-seconds that were used.")
    total: StatusSum = Field(description="What is charged.")


class Booking(StatusModel):
    """A payment that is in `paid`, until it says Booked itself."""

    uid: str = Field(description="UID of the RenderPayment.")
    name: str = Field(description="Its name.")
    payout: StatusSum | None = Field(
        default=None,
        description="Its amount if it goes out: given back if it is deleted before it is Booked.",
    )


class WaitingSession(StatusModel):
    """A session that waits for money."""

    session_uid: str = Field(description="UID of the RenderSession.")
    namespace: str = Field(description="Its namespace.")
    session_name: str = Field(description="Its name.")
    missing: StatusSum = Field(
        description="To be paid in until it, and those before it, are covered."
    )


class RenderAccountStatus(CommonStatus):
    """The books: balance = paid - invoiced - reserved, at no moment below zero."""

    books_uid: str | None = Field(
        default=None,
        description="UID by which payments and invoices know these books: its first account's.",
    )
    balance: StatusSum | None = Field(
        default=None, description="What is free to be reserved, in the account's currency."
    )
    paid: StatusSum | None = Field(default=None, description="Sum of booked payments.")
    invoiced: StatusSum | None = Field(default=None, description="Sum of invoices.")
    reserved: StatusSum | None = Field(default=None, description="Sum of the reservations.")
    reservations: list[Reservation] = Field(
        default_factory=list,
        max_length=MAX_RESERVATIONS,
        description="Money held for live sessions, one entry each.",
        json_schema_extra=_ATOMIC,
    )
    terms: list[StoredTerms] = Field(
        default_factory=list,
        description="Prices that reservations were made at.",
        json_schema_extra=_ATOMIC,
    )
    booking: list[Booking] = Field(
        default_factory=list,
        description="Payments that are counted and do not say so yet.",
        json_schema_extra=_ATOMIC,
    )
    invoicing: list[Invoicing] = Field(
        default_factory=list,
        description="Invoices that are counted and not there yet.",
        json_schema_extra=_ATOMIC,
    )
    waiting: list[WaitingSession] = Field(
        default_factory=list,
        max_length=20,
        description="The first of the sessions that wait for money, in the order of service.",
        json_schema_extra=_ATOMIC,
    )


class RenderAccount(Resource):
    """A customer's prepaid account, in the billing namespace."""

    kind: ClassVar[str] = "RenderAccount"
    plural: ClassVar[str] = "renderaccounts"
    short_names: ClassVar[tuple[str, ...]] = ("racct",)
    category: ClassVar[str] = BOOKS
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Owner", json_path=".spec.owner"),
        Column(name="Balance", json_path=".status.balance"),
        Column(name="Reserved", json_path=".status.reserved"),
        Column(name="Currency", json_path=".spec.currency"),
        Column(name="Ready", json_path=".status.conditions[?(@.type=='Ready')].status"),
        Column(name="Age", json_path=".metadata.creationTimestamp", type="date"),
        Column(name="Why", json_path=".status.conditions[?(@.type=='Ready')].message", priority=1),
    )

    spec: RenderAccountSpec
    status: RenderAccountStatus | None = None

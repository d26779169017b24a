"""RenderPayment: money in, or (with a negative amount) out again. Immutable, booked once."""

from typing import ClassVar, Literal

from pydantic import Field

from drqueue.api.base import BOOKS, Column, CommonStatus, Model, Resource
from drqueue.api.money import Currency, SignedMoney
from drqueue.api.text import Line
from drqueue.api.values import ObjectName, Time


class RenderPaymentSpec(Model):
    """What was paid."""

    immutable = ("account_name", "amount", "currency", "reference")
    immutable_advice = (
        "delete the payment if it is not booked yet; a booked one is corrected by another "
        "RenderPayment of the opposite amount"
    )

    account_name: ObjectName = Field(description="The RenderAccount in the same namespace.")
    amount: SignedMoney = Field(
        description="Decimal text. Negative: paid out, booked once the balance covers it."
    )
    currency: Currency = Field(description="Code in ISO 4217: the account's.")
    reference: Line = Field(
        max_length=200, description="Where it comes from, such as a bank's reference."
    )


PaymentPhase = Literal["Waiting", "Booking", "Booked", "Refused"]


class RenderPaymentStatus(CommonStatus):
    """What became of it."""

    phase: PaymentPhase | None = Field(
        default=None,
        description=(
            "Waiting: the account is missing, or its balance does not cover what goes out; "
            "Booking: the account counts next what comes in, it cannot be deleted any more "
            "unless that account is gone; "
            "Booked: it is counted, and cannot be deleted; Refused: the condition Booked says why."
        ),
    )
    account_uid: str | None = Field(
        default=None,
        description="Whose books it is for, from Booking on: the account's status.booksUid.",
    )
    booked_at: Time | None = Field(default=None, description="When it was seen counted.")


class RenderPayment(Resource):
    """A payment into or out of an account, in the billing namespace."""

    kind: ClassVar[str] = "RenderPayment"
    plural: ClassVar[str] = "renderpayments"
    short_names: ClassVar[tuple[str, ...]] = ("rpay",)
    category: ClassVar[str] = BOOKS
    columns: ClassVar[tuple[Column, ...]] = (
        Column(name="Account", json_path=".spec.accountName"),
        Column(name="Amount", json_path=".spec.amount"),
        Column(name="Currency", json_path=".spec.currency"),
        Column(name="Phase", json_path=".status.phase"),
        Column(name="Age", json_path=".metadata.creationTimestamp", type="date"),
        Column(name="Reference", json_path=".spec.reference", priority=1),
        Column(name="Why", json_path=".status.conditions[?(@.type=='Booked')].message", priority=1),
    )

    selectable: ClassVar[tuple[str, ...]] = (".spec.accountName",)

    spec: RenderPaymentSpec
    status: RenderPaymentStatus | None = None

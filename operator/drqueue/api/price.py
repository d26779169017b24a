"""What nodes of a class cost."""

from decimal import Decimal
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from drqueue.api.base import Model
from drqueue.api.money import Currency, Money, Percent

_ZERO = Decimal(0)
_BY_HOURS: dict[str, Any] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["fromHours"],
}


class Discount(Model):
    """A bracket: so much off the whole sum, from so many node-hours on."""

    from_hours: int = Field(
        ge=1, le=10_000_000_000, description="Node-hours bought (nodes × renderTime) from which on."
    )
    percent: Percent = Field(description="Off the whole sum: 0 to 100, as decimal text.")


Rounding = Literal["HalfUp", "HalfEven", "Up", "Down"]
Unused = Literal["Refund", "Keep"]
ParkedTime = Literal["Billed", "Free"]


class Price(Model):
    """What nodes of a class cost. A change touches no session that is funded already."""

    currency: Currency = Field(description="Code in ISO 4217. Accounts in another cannot pay.")
    machine_per_hour: Money = Field(description="For the machine, per node-hour.")
    service_per_hour: Money = Field(default=_ZERO, description="For service, per node-hour.")
    discounts: list[Discount] = Field(
        default_factory=list,
        max_length=16,
        description=(
            "Brackets by hours bought. A session never costs more than the next bracket's "
            "threshold would."
        ),
        json_schema_extra=_BY_HOURS,
    )
    rounding: Rounding = Field(
        default="HalfUp", description="How a sum is rounded to the currency's smallest coin."
    )
    minimum: Money = Field(
        default=_ZERO, description="The least that a session costs which used any time."
    )
    unused: Unused = Field(
        default="Refund",
        description="Whether the price of unused time is given back when a session is deleted.",
    )
    parked_time: ParkedTime = Field(
        default="Billed",
        description=(
            "Whether time in which a node is parked is billed, or on the house: then for as long, "
            "at most, as the node was in use before."
        ),
    )

    @model_validator(mode="after")
    def _brackets_differ(self) -> Self:
        hours = [discount.from_hours for discount in self.discounts]
        if len(set(hours)) < len(hours):
            raise ValueError(f"discounts: fromHours {hours} has a repeat: write one bracket each")
        return self

"""Value types of the resources: durations, quantities, names.

Each type carries its JSON schema, so that the CRD refuses at admission what the model refuses.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

DURATION_PATTERN = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def parse_duration(text: object) -> timedelta:
    """Read a Go-style duration in whole seconds, such as `90s`, `4h` or `1h30m`.

    Raises ValueError when the text is none, or is empty.
    """
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(str(text)) if text else None
    if match is None:
        raise ValueError(
            f"{text!r} is no duration: write hours, minutes, seconds, as in 1h30m or 90s"
        )
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Write a duration Go-style in whole seconds (rounded down): `1h30m`, `0s`."""
    total = int(duration.total_seconds())
    hours, rest = divmod(total, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if n]
    return "".join(parts) or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": DURATION_PATTERN, "minLength": 2, "maxLength": 20}
    ),
]

QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
_UNITS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** (n + 1) for n, unit in enumerate("kMGTP")},
    **{f"{unit}i": Decimal(1024) ** (n + 1) for n, unit in enumerate("KMGTP")},
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")


def parse_quantity(text: str | int) -> Decimal:
    """Read a Kubernetes quantity (cores, or bytes) such as `500m`, `4` or `16Gi`.

    Raises ValueError when the text is none.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(
            f"{text!r} is no quantity: write a number with a unit, as in 500m, 4 or 16Gi"
        )
    return Decimal(match[1]) * _UNITS[match[2] or ""]


def _quantity_text(value: Any) -> str:
    text = str(value)
    parse_quantity(text)
    return text


Quantity = Annotated[
    str,
    BeforeValidator(_quantity_text),
    # int-or-string, as Kubernetes' own quantities: `cores: 4` needs no quotes
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maxLength": 20}
    ),
]

LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
NAME_PATTERN = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"

ObjectName = Annotated[str, Field(pattern=NAME_PATTERN, min_length=1, max_length=253)]
"""The name of another Kubernetes object (DNS subdomain)."""
LabelName = Annotated[str, Field(pattern=LABEL_PATTERN, min_length=1, max_length=63)]
"""A name that also serves as a label's value (DNS label)."""


def format_time(moment: datetime) -> str:
    """Write an aware time as RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: object) -> datetime:
    """Read an RFC 3339 time; raises ValueError when it is none, or names no zone."""
    moment = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone: write it as in 2026-01-31T12:00:00Z")
    return moment.astimezone(UTC)


Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]

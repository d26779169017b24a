"""Value types of the resources: durations, quantities, names.

Each type carries its JSON schema, so that the CRD refuses at admission what the model refuses.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from drqueue.api.rule import Rule, validations

DURATION_PATTERN = r"^([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$"
"""So many digits that neither Go's nor Python's durations overflow."""
DURATION_FORM = "write whole hours, minutes and seconds, as in 4h, 1h30m or 90s"
_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?", re.ASCII)
_TOTAL = re.compile(r"(?:(\d{1,10})h)?(?:(\d{1,9})m)?(?:(\d{1,11})s)?", re.ASCII)


def _read_duration(text: object, form: re.Pattern[str]) -> timedelta:
    if isinstance(text, timedelta):
        return text
    match = form.fullmatch(text) if isinstance(text, str) and text else None
    if match is None:
        raise ValueError(f"{text!r} is no duration: {DURATION_FORM}")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def parse_duration(text: object) -> timedelta:
    """Read a Go-style duration in whole seconds, such as `90s`, `4h` or `1h30m`.

    Raises ValueError when the text is none, or is empty.
    """
    return _read_duration(text, _DURATION)


def parse_total(text: object) -> timedelta:
    """Read a sum of durations, which may be larger than one that a person writes."""
    return _read_duration(text, _TOTAL)


def format_duration(duration: timedelta) -> str:
    """Write a duration Go-style in whole seconds (rounded down): `1h30m`, `0s`."""
    total = int(duration.total_seconds())
    hours, rest = divmod(total, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if n]
    return "".join(parts) or "0s"


# Rules rather than patterns: a pattern's refusal shows a regular expression, a rule's says what to
# write.
_IS_DURATION = f"self != '' && self.matches('{DURATION_PATTERN}')"
_DURATION_RULE = Rule(rule=_IS_DURATION, message=DURATION_FORM)
_DURATION_SCHEMA: dict[str, Any] = {"type": "string", "maxLength": 25}

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({**_DURATION_SCHEMA, **validations(_DURATION_RULE)}),
]

ZERO_DURATION = "zero is no time: write a duration above 0s, as in 1h30m or 90s"


def _above_zero(duration: timedelta) -> timedelta:
    if duration <= timedelta():
        raise ValueError(ZERO_DURATION)
    return duration


PositiveDuration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_above_zero),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            **_DURATION_SCHEMA,
            **validations(
                _DURATION_RULE,
                Rule(
                    rule=f"!({_IS_DURATION}) || self.matches('[1-9]')",
                    message=ZERO_DURATION,
                ),
            ),
        }
    ),
]
"""A duration of a second or more."""

TotalDuration = Annotated[
    timedelta,
    BeforeValidator(parse_total),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": 40}),
]
"""A sum over many nodes, in a status."""

QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
QUANTITY_FORM = "write a number, with a unit where there is one, as in 500m, 4 or 16Gi"
_UNITS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** (n + 1) for n, unit in enumerate("kMGTP")},
    **{f"{unit}i": Decimal(1024) ** (n + 1) for n, unit in enumerate("KMGTP")},
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")


def parse_quantity(text: str | int) -> Decimal:
    """Read a Kubernetes quantity (cores, or bytes) such as `500m`, `4` or `16Gi`.

    Raises ValueError when the text is none, or negative.
    """
    match = _QUANTITY.fullmatch(str(text)) if type(text) in (str, int) else None
    if match is None:
        raise ValueError(f"{text!r} is no quantity: {QUANTITY_FORM}")
    return Decimal(match[1]) * _UNITS[match[2] or ""]


def _quantity_text(value: Any) -> str:
    parse_quantity(value)
    return str(value)


# int-or-string, as Kubernetes' own quantities: `cores: 4` needs no quotes
_QUANTITY_SCHEMA: dict[str, Any] = {"x-kubernetes-int-or-string": True, "maxLength": 20}
_IS_QUANTITY = f"type(self) == string ? self.matches(r'{QUANTITY_PATTERN}') : self >= 0"
_QUANTITY_RULE = Rule(rule=_IS_QUANTITY, message=QUANTITY_FORM)

Quantity = Annotated[
    str,
    BeforeValidator(_quantity_text),
    WithJsonSchema({**_QUANTITY_SCHEMA, **validations(_QUANTITY_RULE)}),
]
"""Cores or bytes, kept as the text that was written."""

ZERO_SIZE = "zero is no size: write a number above 0, as in 10Gi"


def _size_text(text: str) -> str:
    if parse_quantity(text) == 0:
        raise ValueError(ZERO_SIZE)
    return text


SizeQuantity = Annotated[
    str,
    BeforeValidator(_quantity_text),
    AfterValidator(_size_text),
    WithJsonSchema(
        {
            **_QUANTITY_SCHEMA,
            **validations(
                _QUANTITY_RULE,
                Rule(
                    rule=f"!({_IS_QUANTITY}) || string(self).matches('[1-9]')",
                    message=ZERO_SIZE,
                ),
            ),
        }
    ),
]
"""A quantity above zero."""

PATH_FORM = (
    "write a path inside the session's volume, relative to its work folder, as in scenes/a.pov: "
    "no leading / or ~, no empty, . or .. part, no backslash, no control character"
)
PATH_RULE = Rule(
    rule=r"!self.startsWith('~') && !self.matches(r'[\\\x00-\x1f\x7f]') && "
    "!self.matches('(^|/)[.]{0,2}(/|$)')",
    message=PATH_FORM,
)
MAX_PATH_PART = 255
PATH_PART_FORM = (
    f"no name in a path may be longer than {MAX_PATH_PART} bytes, as in file systems "
    "(letters beyond ASCII take two to four each): write a shorter one"
)
# It counts characters: what is too long only in bytes, `check_path` refuses, and so does a master.
PATH_PART_RULE = Rule(rule=f"!self.matches('[^/]{{{MAX_PATH_PART + 1}}}')", message=PATH_PART_FORM)
_BAD_PATH = re.compile(r"^~|[\\\x00-\x1f\x7f]|(?:^|/)\.{0,2}(?:/|\Z)")


def check_path(path: str) -> str:
    """Give back a path that stays inside the folder it is relative to; raises ValueError."""
    if _BAD_PATH.search(path):
        raise ValueError(f"{path!r} leaves the session's volume or is no plain path: {PATH_FORM}")
    for part in path.split("/"):
        if len(part.encode()) > MAX_PATH_PART:
            raise ValueError(f"{part[:40]!r}... is too long a name: {PATH_PART_FORM}")
    return path


WorkPath = Annotated[
    str,
    Field(min_length=1, max_length=1024, json_schema_extra=validations(PATH_RULE, PATH_PART_RULE)),
    AfterValidator(check_path),
]
"""A path in the session's volume, relative to its work folder."""

LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
NAME_PATTERN = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"


def _named(pattern: str, longest: int, signs: str) -> Any:
    """Make the type of a name: a pattern for the model, a rule with words for the CRD."""
    form = re.compile(pattern.removesuffix("$"))
    words = (
        f"write lower-case letters, digits and {signs}, beginning and ending with a letter or "
        f"digit, at most {longest} characters"
    )

    def check(name: str) -> str:
        if not form.fullmatch(name):
            raise ValueError(f"{name!r} is no name: {words}")
        return name

    rule = Rule(rule=f"self.matches('{pattern}')", message=words)
    return (
        Field(max_length=longest, json_schema_extra=validations(rule)),
        AfterValidator(check),
    )


ObjectName = Annotated[str, *_named(NAME_PATTERN, 253, "- and .")]
"""The name of another Kubernetes object (DNS subdomain)."""
LabelName = Annotated[str, *_named(LABEL_PATTERN, 63, "-")]
"""A name that also serves as a label's value (DNS label)."""


def _name_form(longest: int) -> str:
    return (
        f"a name of at most {longest} characters: lower-case letters, digits and -, "
        "beginning and ending with a letter or digit"
    )


def name_rule(longest: int) -> Rule:
    """Bound an object's own name, which names derived from it must fit."""
    return Rule(
        rule=f"self.metadata.name.size() <= {longest} && "
        f"self.metadata.name.matches('{LABEL_PATTERN}')",
        message=f"metadata.name: write {_name_form(longest)}",
    )


_LABEL = re.compile(LABEL_PATTERN.removesuffix("$"))


def require_name(name: str, longest: int) -> None:
    """Check an object's own name as `name_rule` does; raises ValueError."""
    if len(name) > longest or not _LABEL.fullmatch(name):
        raise ValueError(f"metadata.name {name!r}: write {_name_form(longest)}")


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


def require_one(hint: str, **fields: object) -> None:
    """Check that exactly one of these is given, as `exactly_one` does; raises ValueError."""
    given = [name for name, value in fields.items() if value is not None]
    if len(given) != 1:
        found = f"{' and '.join(given)} are" if given else "none is"
        raise ValueError(f"give exactly one of {' or '.join(fields)}, {found} given: {hint}")


def distinct(items: list[str]) -> list[str]:
    """Give back a list without repeats; raises ValueError for one with."""
    repeated = next((item for item in items if items.count(item) > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated!r} comes more than once: name it once")
    return items


SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
"""The schema of a list that `distinct` checks."""

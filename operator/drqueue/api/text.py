"""Words for people and days of the calendar, as the books hold them."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from drqueue.api.rule import Rule, validations

LINE_FORM = "write a line of text: not blank, no control characters"
_LINE_RULE = Rule(
    rule=r"!self.matches(r'[\x00-\x1f\x7f]') && self.matches(r'[^ ]')", message=LINE_FORM
)


def _check_line(text: str) -> str:
    if not text.strip(" ") or re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"{text!r} is no such text: {LINE_FORM}")
    return text


Line = Annotated[str, Field(json_schema_extra=validations(_LINE_RULE)), AfterValidator(_check_line)]
"""Words for people, on one line; its field gives the length."""

DAY_FORM = "write a day of the calendar in UTC, as in 2026-11-25"


def _check_day(text: str) -> str:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(f"{text!r} is no day: {DAY_FORM}")
    return text


Day = Annotated[
    str,
    Field(
        max_length=10,
        json_schema_extra=validations(
            Rule(rule="self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}$')", message=DAY_FORM)
        ),
    ),
    AfterValidator(_check_day),
]

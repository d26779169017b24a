"""Amounts of money in the resources: decimal text, never a float, and what a currency is."""

import re
from decimal import Decimal
from typing import Annotated, Any

from iso4217 import Currency as Iso4217
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from drqueue.api.rule import Rule, validations

_DIGITS = r"[0-9]{1,12}([.][0-9]{1,6})?"
MONEY_PATTERN = f"^{_DIGITS}$"
MONEY_FORM = (
    "write decimal text, as in '12.50': at most 12 digits before the point and 6 after it, "
    "no sign, no exponent"
)
SIGNED_PATTERN = f"^-?{_DIGITS}$"
SIGNED_FORM = (
    "write decimal text, as in '12.50', or '-12.50' to pay out: at most 12 digits before the "
    "point and 6 after it, no exponent"
)
ZERO_AMOUNT = "zero is no payment: write an amount above 0, or below it to pay out"
PERCENT_PATTERN = "^(100([.]0{1,6})?|[0-9]{1,2}([.][0-9]{1,6})?)$"
PERCENT_FORM = "write decimal text from 0 to 100, as in '15' or '7.5'"
CURRENCY_FORM = "write a currency's code in ISO 4217, three capital letters, as in EUR, USD or JPY"
_SUM_DIGITS = "[0-9]{1,33}([.][0-9]{1,6})?"
SUM_PATTERN = f"^{_SUM_DIGITS}$"
SUM_FORM = "write decimal text, as in '12.50', with no sign and no exponent"


def decimals_of(currency: str) -> int:
    """How many decimals a currency's smallest coin has: EUR 2, JPY 0, KWD 3.

    Raises ValueError for a code that ISO 4217 does not know, or that is no money (XAU).
    """
    exponent = Iso4217(currency).exponent if currency in _CODES else None
    if exponent is None:
        raise ValueError(f"{currency!r} is no currency of ISO 4217: {CURRENCY_FORM}")
    return int(exponent)


_CODES = frozenset(currency.code for currency in Iso4217)


def _reading(pattern: str, form: str) -> BeforeValidator:
    matches = re.compile(pattern)

    def read(text: object) -> Decimal:
        written = f"{text:f}" if isinstance(text, Decimal) else text
        if not isinstance(written, str) or not matches.fullmatch(written):
            raise ValueError(f"{text!r} is no such amount: {form}")
        return Decimal(written)

    return BeforeValidator(read)


def _decimal_text(pattern: str, form: str, longest: int, *more: Rule) -> Any:
    """Make a decimal that is text outside: checks for the model, rules with words for the CRD."""
    rules = (Rule(rule=f"self.matches('{pattern}')", message=form), *more)
    schema = {"type": "string", "maxLength": longest, **validations(*rules)}
    reading = _reading(pattern.removeprefix("^").removesuffix("$"), form)
    return reading, _AS_TEXT, WithJsonSchema(schema)


_AS_TEXT = PlainSerializer(lambda amount: f"{amount:f}", return_type=str)

Money = Annotated[Decimal, *_decimal_text(MONEY_PATTERN, MONEY_FORM, 19)]
"""Zero or more, as a person writes it."""


def _not_zero(amount: Decimal) -> Decimal:
    if not amount:
        raise ValueError(ZERO_AMOUNT)
    return amount


_NOT_ZERO = Rule(
    rule=f"!self.matches('{SIGNED_PATTERN}') || self.matches('[1-9]')", message=ZERO_AMOUNT
)
SignedMoney = Annotated[
    Decimal,
    *_decimal_text(SIGNED_PATTERN, SIGNED_FORM, 20, _NOT_ZERO),
    AfterValidator(_not_zero),
]
"""In, or (below zero) out, but not zero."""

Percent = Annotated[Decimal, *_decimal_text(PERCENT_PATTERN, PERCENT_FORM, 10)]


Sum = Annotated[Decimal, *_decimal_text(SUM_PATTERN, SUM_FORM, 40)]
"""Zero or more, reckoned: it may be larger than what a person writes."""

StatusSum = Annotated[
    Decimal,
    _reading("-?" + _SUM_DIGITS, SUM_FORM),
    _AS_TEXT,
    WithJsonSchema({"type": "string", "maxLength": 40}),
]
"""A sum in a status: without rules, whose cost in a long list the API server would not bear."""


def _check_code(code: str) -> str:
    if not re.fullmatch("[A-Z]{3}", code):
        raise ValueError(f"{code!r} is no currency: {CURRENCY_FORM}")
    return code


Currency = Annotated[
    str,
    Field(
        max_length=3,
        json_schema_extra=validations(
            Rule(rule="self.matches('^[A-Z]{3}$')", message=CURRENCY_FORM)
        ),
    ),
    AfterValidator(_check_code),
]
"""A code of that form; whether ISO 4217 knows it is a condition on what names it."""

"""Amounts of money: decimals, never floats, in units of a currency's smallest coin."""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Context, Decimal
from fractions import Fraction
from typing import Literal

from drqueue.api.money import decimals_of

Rounding = Literal["HalfUp", "HalfEven", "Up", "Down"]

_MODES = {
    "HalfUp": ROUND_HALF_UP,
    "HalfEven": ROUND_HALF_EVEN,
    "Up": ROUND_UP,
    "Down": ROUND_DOWN,
}
_WIDE = Context(prec=80)
"""More digits than the largest session at the largest price takes: sums are exact."""
ZERO = Decimal(0)


def currency_fault(currency: str) -> str:
    """Why a currency's code cannot be used; empty where it can."""
    try:
        decimals_of(currency)
    except ValueError as error:
        return str(error)
    return ""


def is_whole(amount: Decimal, currency: str) -> bool:
    """Whether an amount can be paid in coins of its currency. Raises as `decimals_of`."""
    return to_coins(Fraction(amount), currency, "Down") == amount


def to_coins(amount: Fraction, currency: str, rounding: Rounding) -> Decimal:
    """Round an exact amount (zero or more) to the currency's smallest coin."""
    places = decimals_of(currency)
    coins = amount * 10**places
    # a quotient in 80 digits may lie on a tie where the exact one does not: only coins + a tie bit
    whole, rest = divmod(coins.numerator, coins.denominator)
    digit = 0 if rest == 0 else 5 if 2 * rest == coins.denominator else 1
    if 2 * rest > coins.denominator:
        digit = 9
    rounded = Decimal(f"{whole}.{digit}").quantize(Decimal(1), _MODES[rounding], _WIDE)
    return rounded.scaleb(-places, _WIDE)


def read_money(text: object) -> Decimal:
    """Read decimal text as it stands in an object. Raises ValueError where it is none."""
    amount = Decimal(text) if isinstance(text, str | Decimal | int) else None
    if amount is None or not amount.is_finite():
        raise ValueError(f"{text!r} is no amount: write decimal text, as in 12.50")
    return amount


def write_money(amount: Decimal, currency: str) -> str:
    """Write an amount plainly, with the currency's decimals or more where it has more: 12.50."""
    places = decimals_of(currency)
    plain = amount.normalize(_WIDE)
    exponent = plain.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > places:
        return f"{plain:f}"
    return f"{plain.quantize(Decimal(1).scaleb(-places), context=_WIDE):f}"


__all__ = [
    "ZERO",
    "Rounding",
    "currency_fault",
    "is_whole",
    "read_money",
    "to_coins",
    "write_money",
]

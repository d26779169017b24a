"""When the certificate in a Secret of ours is to be renewed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from drqueue.api.values import format_time, parse_time
from drqueue.control import children
from drqueue.control.context import Context

AT_LEAST = 2.0
"""Seconds, at least, until it is looked at again."""


def keys_are_due(ctx: Context, secret: Mapping[str, Any], now: datetime) -> bool:
    """Whether a Secret's certificate should be renewed, or is of another authority."""
    marks = secret["metadata"].get("annotations") or {}
    if marks.get(children.CA_MARK) != ctx.ca.fingerprint or children.RENEW_AT not in marks:
        return True
    return bool(now >= parse_time(marks[children.RENEW_AT]))


def seconds_until_renewal(secret: Mapping[str, Any] | None, now: datetime) -> float:
    """Seconds until a Secret's certificate should be renewed."""
    if secret is None:
        return AT_LEAST
    at = (secret["metadata"].get("annotations") or {}).get(children.RENEW_AT, format_time(now))
    return max((parse_time(at) - now).total_seconds(), AT_LEAST)

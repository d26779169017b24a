"""Waiting for a condition, with a deadline and the last that was seen."""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import NotFoundError
from urllib3.exceptions import HTTPError

T = TypeVar("T")

POLL_SECONDS = 0.25


def wait(
    what: str,
    check: Callable[[], T | None],
    *,
    timeout: float = 120,
    seen: Callable[[], Any] | None = None,
) -> T:
    """Poll until `check` gives something truthy, and return it.

    Raises AssertionError after `timeout` seconds, saying what was awaited and what was last seen.
    """
    deadline = time.monotonic() + timeout
    last_error: Exception | None = None
    while True:
        try:
            found = check()
            last_error = None
        except (ApiException, NotFoundError, HTTPError, OSError) as error:  # a server that restarts
            found, last_error = None, error
        if found:
            return found
        if time.monotonic() > deadline:
            shown = json.dumps(seen(), indent=1, default=str) if seen else ""
            raise AssertionError(
                f"not within {timeout:.0f} s: {what}\nlast error: {last_error}\nseen: {shown}"
            )
        time.sleep(POLL_SECONDS)

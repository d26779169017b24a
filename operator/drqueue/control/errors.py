"""Errors, sorted by what is to be done about them.

- Invalid: wrong input, or refused by admission. Waits for a change; looks again slowly.
- NoCapacity: a quota or the provider is full. Waits `cooldown`.
- Passing: 429, 5xx, network, a master that is away. Backs off with jitter, heeds `retry_after`.
- NotFound, Conflict, AlreadyExists: what we knew is old. Looks again soon.
- NamespaceEnding: the namespace is being deleted. Looks again slowly, quietly.
- Forbidden: a right is missing. Looks again slowly.
- Anything else is a bug: logged with the key, counted, retried slowly.

Reconcilers turn what they understand into conditions, and let the rest through.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

Sort = Literal["input", "capacity", "passing", "stale", "ending", "forbidden", "bug"]


class OperatorError(Exception):
    """Base of the sorted errors."""

    sort: Sort = "bug"

    def __init__(self, message: str, *, status: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        """HTTP status, where there was one."""
        self.reason = reason
        """Kubernetes' reason word, or the condition's."""


class NotFound(OperatorError):
    """No such object (or kind)."""

    sort = "stale"


class Conflict(OperatorError):
    """The object changed since it was read, or is another one (UID)."""

    sort = "stale"


class AlreadyExists(OperatorError):
    """Create met an object of that name."""

    sort = "stale"


class Forbidden(OperatorError):
    """The operator lacks a right, or a policy refuses."""

    sort = "forbidden"


class NamespaceEnding(OperatorError):
    """Nothing can be created: the namespace is being deleted."""

    sort = "ending"


class Invalid(OperatorError):
    """Refused as wrong input (400, 413, 422)."""

    sort = "input"


class NoCapacity(OperatorError):
    """A quota is used up, or the provider has no room."""

    sort = "capacity"

    def __init__(
        self, message: str, *, status: int | None = None, reason: str = "", cooldown: float = 60.0
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.cooldown = cooldown
        """Seconds until it is worth another try."""


class Passing(OperatorError):
    """Goes away by itself: 429, 5xx, a broken connection, a master that does not answer."""

    sort = "passing"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        reason: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after = retry_after
        """Seconds the other side asked us to wait."""


class MasterAway(Passing):
    """The session's master is not there, or did not answer in time."""


class MasterRefused(OperatorError):
    """The master answered with a `Problem`: `status` 4xx, `reason` its code."""

    sort = "stale"


REFUSALS = (Invalid, NoCapacity, Forbidden)
"""The API server's no to what is asked for: it stays until somebody makes room, or mends it."""
REFUSED_AGAIN = timedelta(minutes=1)
"""After it, what was refused is asked for again, if nothing happens before."""

_MAKING = ("create ", "apply ")


def sort_of(error: BaseException) -> Sort:
    """What kind of trouble it is; anything not sorted is a bug."""
    return error.sort if isinstance(error, OperatorError) else "bug"


def from_response(
    status: int, body: Mapping[str, Any] | None, retry_after: str | None, what: str
) -> OperatorError:
    """Sort an API server's refusal.

    `body` is its Status, where it sent one; `retry_after` the header; `what` names the request.
    """
    body = body or {}
    reason = str(body.get("reason") or "")
    details = body.get("details") or {}
    message = f"{what}: {body.get('message') or f'HTTP {status}'}"
    sorted_as = _class_for(status, reason, details, message)
    if sorted_as is not None:
        return sorted_as(message, status=status, reason=reason)
    seconds = details.get("retryAfterSeconds")
    if retry_after is not None and retry_after.isdigit():
        seconds = int(retry_after)
    return Passing(
        message, status=status, reason=reason, retry_after=float(seconds) if seconds else None
    )


def _class_for(
    status: int, reason: str, details: Mapping[str, Any], message: str
) -> type[OperatorError] | None:
    causes = {cause.get("reason") for cause in details.get("causes") or ()}
    found: type[OperatorError] | None = None
    if status == 404:
        into_nowhere = details.get("kind") == "namespaces" and message.startswith(_MAKING)
        found = NamespaceEnding if into_nowhere else NotFound
    elif status == 403 and "NamespaceTerminating" in causes:
        found = NamespaceEnding
    elif status == 403:
        found = NoCapacity if "exceeded quota" in message else Forbidden
    elif status == 409 and reason == "AlreadyExists":
        found = AlreadyExists
    elif status in (409, 410):  # 410: a list's continuation that became too old
        found = Conflict
    elif status in (400, 405, 406, 413, 415, 422):
        found = Invalid
    return found

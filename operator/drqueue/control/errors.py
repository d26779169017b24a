"""Errors, sorted by what is to be done about them.

| class            | means                                      | the loop then                          |
|------------------|--------------------------------------------|----------------------------------------|
| Invalid          | wrong input, or refused by admission       | waits for a change; looks again slowly |
| NoCapacity       | quota or provider is full                  | waits `cooldown`                       |
| Passing          | 429, 5xx, network, a master that is away   | backs off with jitter, heeds retry_after |
| NotFound, Conflict, AlreadyExists | what we knew is old       | looks again soon                       |
| NamespaceEnding  | the namespace is being deleted             | looks again slowly, quietly            |
| Forbidden        | a right is missing                         | looks again slowly                     |
| anything else    | a bug                                      | logs it with the key, counts, retries slowly |

Reconcilers turn what they understand into conditions, and let the rest through.
"""

from typing import Literal

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


def sort_of(error: BaseException) -> Sort:
    """What kind of trouble it is; anything not sorted is a bug."""
    return error.sort if isinstance(error, OperatorError) else "bug"

"""What the API server's refusals mean to a person, and which exit code they end in."""

import json
import re
from dataclasses import dataclass
from typing import Any

from drqueue.cli.exits import CliError, Exit

_OBJECT_VALUE = re.compile(
    r'^Invalid value: (?:"(?:object|array)"|[{\[].*[}\]]): (?P<why>.*)$', re.S
)
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" '
    r'in API group "(?P<group>[^"]*)"'
)
_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')


class UnreachableError(Exception):
    """The API server did not answer: the text says why."""


@dataclass(frozen=True)
class Cause:
    """One reason among several why an object was refused."""

    field: str
    message: str


class ApiError(Exception):
    """A refusal of the API server: its Status, or what came in place of one."""

    def __init__(self, status: int, body: bytes | str, what: str) -> None:
        self.status = status
        self.what = what
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
        parsed = _parse(text)
        self.is_status = parsed.get("kind") == "Status"
        self.reason = str(parsed.get("reason") or "")
        self.message = str(parsed.get("message") or text.strip() or f"HTTP {status}")
        details = parsed.get("details") or {}
        self.causes = [
            Cause(str(cause.get("field") or ""), str(cause.get("message") or ""))
            for cause in details.get("causes") or []
        ]
        super().__init__(f"{what}: {status} {self.message}")


def _parse(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def explain(error: ApiError) -> CliError:
    """Say what a refusal means and what to do about it."""
    if error.status == 404:
        return _explain_absent(error)
    if error.status == 401:
        return CliError(
            Exit.CLUSTER,
            f"the cluster does not know you ({error.message}): "
            "renew the credentials of your kubeconfig context",
        )
    if error.status == 403:
        return _explain_forbidden(error)
    if error.status in (400, 409, 422):
        return _explain_refused(error)
    return CliError(Exit.CLUSTER, f"{error.what}: the API server answered: {error.message}")


def _explain_absent(error: ApiError) -> CliError:
    if error.is_status and error.reason == "NotFound" and "could not find" not in error.message:
        return CliError(Exit.NOT_FOUND, f"{error.what}: {error.message}")
    return CliError(
        Exit.CLUSTER,
        "DrQueue's resources are not installed in this cluster: install the chart "
        "(helm install drqueue-operator helm/drqueue-operator), or choose another --context",
    )


def _explain_forbidden(error: ApiError) -> CliError:
    if "being terminated" in error.message:
        return CliError(Exit.REFUSED, f"{error.what}: {error.message}: use another namespace")
    match = _FORBIDDEN.search(error.message)
    if match is None:
        return CliError(Exit.CLUSTER, f"{error.what}: forbidden: {error.message}")
    resource = ".".join(part for part in (match["resource"], match["group"]) if part)
    return CliError(
        Exit.CLUSTER,
        f"{error.what}: the right to {match['verb']} {resource} is missing for {match['user']!r}: "
        "ask your cluster's ops for the role view (to read) or edit (to change) in this namespace",
    )


def _explain_refused(error: ApiError) -> CliError:
    if error.reason == "AlreadyExists":
        return CliError(
            Exit.REFUSED,
            f"{error.what}: it exists already: choose another name, or delete it first",
        )
    unknown = _UNKNOWN_FIELD.findall(error.message)
    if unknown:
        details = [f"{field}: there is no such field" for field in dict.fromkeys(unknown)]
        return CliError(Exit.REFUSED, f"{error.what}: refused", details)
    if error.causes:
        details = list(dict.fromkeys(clean_cause(cause) for cause in error.causes))
        return CliError(Exit.REFUSED, f"{error.what}: refused", details)
    return CliError(Exit.REFUSED, f"{error.what}: refused: {error.message}")


def clean_cause(cause: Cause) -> str:
    """Write one cause as `field: message`, without values that only repeat a whole object."""
    match = _OBJECT_VALUE.match(cause.message)
    message = match["why"] if match else cause.message
    field = cause.field.removeprefix("<nil>")
    return f"{field}: {message}" if field else message

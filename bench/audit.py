"""What each user asked of the API server, by its audit log."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

MUTATING = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Requests:
    """Requests of one user in a stretch of time: counts by "verb resource"."""

    mutating: Counter[str] = field(default_factory=Counter)
    reading: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Of them, those answered with 400 or more, by "status verb resource"."""

    @property
    def writes(self) -> int:
        """How many could change something."""
        return self.mutating.total()

    @property
    def total(self) -> int:
        """All of them."""
        return self.mutating.total() + self.reading.total()

    def __str__(self) -> str:
        parts = [
            f"{how}: " + ", ".join(f"{count} {what}" for what, count in counts.most_common())
            for how, counts in (
                ("writes", self.mutating),
                ("reads", self.reading),
                ("refused", self.refused),
            )
            if counts
        ]
        return "; ".join(parts) or "none"


class Audit:
    """Reads a log that the API server goes on writing."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def mark(self) -> int:
        """The place in the log that is now."""
        return self._log.stat().st_size

    def since(self, mark: int, user: str, leave_out: frozenset[str] = frozenset()) -> Requests:
        """A user's requests that were answered after a mark. `leave_out`: resources not counted."""
        requests = Requests()
        with self._log.open("rb") as log:
            if log.seek(0, 2) < mark:
                raise RuntimeError(f"{self._log} was rotated: the run is too long to be counted")
            log.seek(mark)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # still being written
                _count(requests, json.loads(line), user, leave_out)
        return requests


def _count(
    requests: Requests, event: dict[str, object], user: str, leave_out: frozenset[str]
) -> None:
    by, about = event.get("user"), event.get("objectRef")
    if event.get("stage") != "ResponseComplete" or not isinstance(by, dict):
        return
    if by.get("username") != user or not isinstance(about, dict):
        return
    resource = "/".join(str(about[part]) for part in ("resource", "subresource") if about.get(part))
    if resource in leave_out:
        return
    verb = str(event["verb"])
    what = f"{verb} {resource}"
    (requests.mutating if verb in MUTATING else requests.reading)[what] += 1
    status = event.get("responseStatus")
    code = status.get("code", 0) if isinstance(status, dict) else 0
    if code >= 400:
        requests.refused[f"{code} {what}"] += 1

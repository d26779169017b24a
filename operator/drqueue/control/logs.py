"""Logs for people or for programs, each line with the key of the object it is about."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from drqueue.control.worker import current_key

_QUIET = {
    # kopf tells each retry of a request as an error, and each end of a stream.
    "kopf": logging.WARNING,
    "kopf._core.reactor.running": logging.ERROR,  # that signals are not its own, and so they are
    "kubernetes.aio.leaderelection": logging.WARNING,
    "asyncio": logging.WARNING,
    "aiohttp": logging.WARNING,
}


class _WithKey(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        key = current_key.get()
        record.key = str(key) if key else ""
        return True


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if key := getattr(record, "key", ""):
            line["key"] = key
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Plain(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(keyed)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        key = getattr(record, "key", "")
        record.keyed = f"[{key}] " if key else ""
        return super().format(record)


def set_up(form: Literal["json", "plain"], level: str) -> None:
    """Log to standard error in that form, from that level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Plain())
    handler.addFilter(_WithKey())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelName(level)))

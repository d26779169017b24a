"""The slave's own log: a JSON object a line, or plain text for people."""

import json
import logging
from datetime import UTC, datetime

_USUAL = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, with what was given as `extra` beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {k: v for k, v in record.__dict__.items() if k not in _USUAL}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logs(style: str) -> None:
    """Log to standard error: `plain`, or JSON for any other style."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        if style == "plain"
        else JsonFormatter()
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)

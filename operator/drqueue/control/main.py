"""The console script `drqueue-operator`."""

import asyncio
import logging
import os
import sys

from drqueue.control import logs
from drqueue.control.replica import Replica
from drqueue.control.settings import Settings

log = logging.getLogger(__name__)


def main() -> None:
    """Run the operator until SIGTERM. Exits with 1 when it must not go on, 2 for wrong settings."""
    from drqueue.control.reconcilers import RECONCILERS, providers

    try:
        settings = Settings.from_env(os.environ)
    except ValueError as error:
        sys.exit(f"drqueue-operator: {error}")
    logs.set_up(settings.log_format, settings.log_level)
    try:
        asyncio.run(Replica(settings, RECONCILERS, providers).run())
    except Exception:
        log.exception("The operator ends; it is to be started anew")
        sys.exit(1)


if __name__ == "__main__":
    main()

"""The console script `drqueue-master`."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sqlite3
import ssl
import sys
import time
from datetime import UTC, datetime

from drqueue.farm.journal import JournalError
from drqueue.farm.master.master import Master
from drqueue.farm.master.settings import Settings, SettingsError, read_settings
from drqueue.farm.master.tls import spare_memory
from drqueue.farm.slave.logs import set_up_logs
from drqueue.farm.state import Moment

LOG = logging.getLogger(__name__)


def main() -> None:
    """Run a master until SIGTERM: exit 0 then, 1 when it cannot go on, 2 for wrong settings."""
    set_up_logs(os.environ.get("DRQUEUE_LOG_FORMAT", "json"))
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        LOG.error("%s", error)
        sys.exit(2)
    _allow_many_connections()
    spare_memory()
    sys.exit(asyncio.run(_run(settings)))


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))


def _now() -> Moment:
    return Moment(datetime.now(UTC), time.monotonic())


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    master = Master(settings, _now)
    try:
        await master.start(stop.is_set)
        # what is here now stays: a collection need not look at it again
        gc.collect()
        gc.freeze()
        await stop.wait()
    except (OSError, ssl.SSLError, sqlite3.Error, JournalError) as error:
        LOG.error("cannot start", extra={"error": f"{type(error).__name__}: {error}"})
        return 1
    finally:
        await master.stop()
    LOG.info("left")
    return 0

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
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from drqueue.farm.journal import FILE_NAME, Journal, JournalError
from drqueue.farm.master.housekeeping import Housekeeping
from drqueue.farm.master.hub import Hub
from drqueue.farm.master.operators import Operators
from drqueue.farm.master.publisher import Publisher
from drqueue.farm.master.readers import Readers
from drqueue.farm.master.server import Api, Health, serve
from drqueue.farm.master.settings import Settings, SettingsError, read_settings
from drqueue.farm.master.slaves import Slaves
from drqueue.farm.master.tls import ServerTls, spare_memory
from drqueue.farm.orders import RefusedError
from drqueue.farm.reader.sources import socket_path
from drqueue.farm.slave.logs import set_up_logs
from drqueue.farm.state import Moment

LOG = logging.getLogger(__name__)

OPEN_SECONDS = 60.0
"""For a journal that a master before still holds."""


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
    sys.exit(asyncio.run(run(settings)))


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))


def _now() -> Moment:
    return Moment(datetime.now(UTC), time.monotonic())


async def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; gives the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        tls = ServerTls(settings.tls)
        journal = await _open(settings, stop)
        hub = Hub(journal, settings.lease_seconds, _now, lambda: uuid.uuid4().hex)
        publisher = Publisher(hub, settings.volume)
    except (OSError, ssl.SSLError, sqlite3.Error, JournalError) as error:
        LOG.error("cannot start", extra={"error": f"{type(error).__name__}: {error}"})
        return 1
    housekeeping = Housekeeping(hub, publisher, tls)
    api = Api(settings.session_uid, hub, Slaves(hub, publisher), Operators(hub, publisher))
    health = Health(hub)
    readers = Readers(hub.committer, socket_path(settings.volume, Path(tempfile.gettempdir())))
    runners: list[web.AppRunner] = []
    background: list[asyncio.Task[None]] = []
    try:
        runners.append(await serve(health.application(), settings.health))
        with contextlib.suppress(RefusedError):
            await publisher.finish()
            await housekeeping.judge_all()
        runners.append(
            await serve(api.application(), settings.listen, ssl_context=tls.context, backlog=2048)
        )
        await readers.start()
        background.append(asyncio.create_task(housekeeping.run()))
        background.append(asyncio.create_task(publisher.clear_leftovers()))
        # what is here now stays: a collection need not look at it again
        gc.collect()
        gc.freeze()
        health.ready = True
        LOG.info("serves", extra={"jobs": len(hub.farm.jobs), "attempts": len(hub.farm.attempts)})
        await stop.wait()
    except OSError as error:
        LOG.error("cannot serve", extra={"error": str(error)})
        return 1
    finally:
        hub.let_all_go()
        readers.stop()
        for task in background:
            task.cancel()
        for runner in reversed(runners):
            await runner.cleanup()
        await publisher.close()
        await hub.committer.close()
    LOG.info("left")
    return 0


async def _open(settings: Settings, stop: asyncio.Event) -> Journal:
    """Open the journal, when the master before has let go of it. Raises sqlite3.Error."""
    path = settings.volume / "journal" / FILE_NAME
    deadline = time.monotonic() + OPEN_SECONDS
    while True:
        try:
            return Journal(path)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline or stop.is_set():
                raise
            LOG.info("another master still holds the journal")
        await asyncio.sleep(0.5)

"""A master put together: opened, served, closed."""

import asyncio
import contextlib
import logging
import sqlite3
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from drqueue.farm.journal import FILE_NAME, Journal
from drqueue.farm.master.checking import Check, Checker
from drqueue.farm.master.housekeeping import Housekeeping
from drqueue.farm.master.hub import Hub
from drqueue.farm.master.operators import Operators
from drqueue.farm.master.publisher import Publisher
from drqueue.farm.master.readers import Readers
from drqueue.farm.master.server import Api, Health, serve
from drqueue.farm.master.settings import Settings
from drqueue.farm.master.slaves import Slaves
from drqueue.farm.master.tls import ServerTls
from drqueue.farm.orders import RefusedError
from drqueue.farm.reader.sources import socket_path
from drqueue.farm.state import Moment

LOG = logging.getLogger(__name__)

OPEN_SECONDS = 60.0
"""For a journal that a master before still holds."""


class Master:
    """One master. `open` it, `start` it, and `stop` it in any case."""

    def __init__(
        self, settings: Settings, now: Callable[[], Moment], check: Check | None = None
    ) -> None:
        """`check` takes the place of the process that checks templates."""
        self._checker = Checker()
        self._check = check or self._checker.check
        self._settings = settings
        self._now = now
        self._runners: list[web.AppRunner] = []
        self._background: list[asyncio.Task[None]] = []
        self._readers: Readers | None = None
        self._publisher: Publisher | None = None
        self.hub: Hub | None = None
        self.port = 0
        self.health_port = 0

    async def start(self, given_up: Callable[[], bool] = lambda: False) -> None:
        """Open the journal and serve; waits for a master before to let go of it, until
        `given_up`. Raises OSError, ssl.SSLError, sqlite3.Error, JournalError."""
        settings = self._settings
        tls = ServerTls(settings.tls)
        journal = await self._open(given_up)
        hub = self.hub = Hub(journal, settings.lease_seconds, self._now, lambda: uuid.uuid4().hex)
        publisher = self._publisher = Publisher(hub, settings.volume)
        housekeeping = Housekeeping(hub, publisher, tls)
        health = Health(hub)
        self.health_port = await self._serve(health.application(), settings.health)
        with contextlib.suppress(RefusedError):
            await publisher.finish()
            await housekeeping.judge_all()
        operators = Operators(hub, publisher, self._check)
        api = Api(settings.session_uid, hub, Slaves(hub, publisher), operators)
        self.port = await self._serve(
            api.application(), settings.listen, ssl_context=tls.context, backlog=2048
        )
        temporary = Path(tempfile.gettempdir())
        self._readers = Readers(hub.committer, socket_path(settings.volume, temporary))
        await self._readers.start()
        self._background.append(asyncio.create_task(housekeeping.run()))
        self._background.append(asyncio.create_task(publisher.clear_leftovers()))
        health.ready = True
        LOG.info("serves", extra={"jobs": len(hub.farm.jobs), "attempts": len(hub.farm.attempts)})

    async def _open(self, given_up: Callable[[], bool]) -> Journal:
        path = self._settings.volume / "journal" / FILE_NAME
        deadline = self._now().ticks + OPEN_SECONDS
        while True:
            try:
                return Journal(path)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or self._now().ticks > deadline or given_up():
                    raise
                LOG.info("another master still holds the journal")
            await asyncio.sleep(0.5)

    async def _serve(
        self, app: web.Application, address: tuple[str, int], **options: object
    ) -> int:
        runner = await serve(app, address, **options)
        self._runners.append(runner)
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Answer who waits, write what waits, and leave. Slaves go on rendering. Fine twice."""
        hub, publisher = self.hub, self._publisher
        self.hub = self._publisher = None
        if hub is not None:
            hub.let_all_go()
        if self._readers is not None:
            self._readers.stop()
        while self._background:
            self._background.pop().cancel()
        while self._runners:
            await self._runners.pop().cleanup()
        self._checker.stop()
        if publisher is not None:
            await publisher.close()
        if hub is not None:
            await hub.committer.close()

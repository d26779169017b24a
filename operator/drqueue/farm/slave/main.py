"""The console script `drqueue-slave`."""

import asyncio
import logging
import os
import random
import signal
import ssl
import sys

from drqueue.farm.protocol import WorkAnswer
from drqueue.farm.slave.client import MasterClient
from drqueue.farm.slave.feed import bound_openjd_output
from drqueue.farm.slave.health import Health
from drqueue.farm.slave.logs import set_up_logs
from drqueue.farm.slave.loop import Slave
from drqueue.farm.slave.memory import find_oom_count
from drqueue.farm.slave.processes import ProcessTree, become_subreaper
from drqueue.farm.slave.reporting import Line, NotWantedError
from drqueue.farm.slave.runner import OpenJdRunner
from drqueue.farm.slave.settings import (
    Settings,
    SettingsError,
    hide_from_renderers,
    read_settings,
)

LOG = logging.getLogger(__name__)

_FAREWELL_SECONDS = 5.0
"""For leaving each environment when the slave was told to go by SIGTERM."""


def main() -> None:
    """Run a slave until it is told to leave: exit 0 then, 1 when the master refuses it, 2 when its
    settings are wrong, 3 when processes cannot be killed."""
    set_up_logs(os.environ.get("DRQUEUE_LOG_FORMAT", "json"))
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        LOG.error("%s", error)
        sys.exit(2)
    hide_from_renderers(os.environ)
    become_subreaper()
    bound_openjd_output()
    sys.exit(asyncio.run(_run(settings)))


async def _run(settings: Settings) -> int:
    health = Health()
    try:
        client = MasterClient(settings.master_url, settings.tls)
        await health.start(*settings.health)
    except (OSError, ssl.SSLError) as error:
        LOG.error("cannot start: %s", error)
        return 2

    def answered(_: WorkAnswer) -> None:
        health.ready = True

    runner = OpenJdRunner(settings.work, ProcessTree(), find_oom_count())
    told_by_signal = False
    async with client:
        line = Line(client, settings.offer, random.Random(), answered)  # noqa: S311
        slave = Slave(line, runner)

        def terminate() -> None:
            nonlocal told_by_signal
            told_by_signal = True
            slave.leave(settings.drain_seconds)

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, terminate)
        LOG.info("started", extra={"master": settings.master_url})
        try:
            await slave.run()
        except NotWantedError as error:
            LOG.error("the master will not have this slave: %s", error)
            return 1
        finally:
            if not runner.stuck:
                await runner.close(_FAREWELL_SECONDS if told_by_signal else None)
            await health.stop()
            if runner.stuck:
                LOG.error("leaves processes behind that cannot be killed")
                logging.shutdown()
                # threads that wait for them would be waited for
                os._exit(3)
    LOG.info("left")
    return 0

"""The real slave's loop, line and keys, with a runner that says each frame is done at once."""

import asyncio
import os
import random
import signal
from typing import Literal

from drqueue.api.frames import parse_frames
from drqueue.farm.protocol import AttemptEnd, FrameDone, JobWork, Lease
from drqueue.farm.slave.client import MasterClient
from drqueue.farm.slave.loop import Slave
from drqueue.farm.slave.news import News
from drqueue.farm.slave.reporting import Line
from drqueue.farm.slave.settings import read_settings


class NoopRunner:
    """Renders nothing."""

    async def run(self, lease: Lease, work: JobWork, news: News) -> AttemptEnd:
        """Say that each frame of the block is done."""
        for frame in parse_frames(lease.frames):
            news.frame_done(FrameDone(frame=frame, seconds=0.0))
        return AttemptEnd(result="succeeded", exit_code=0)

    def cancel(self, result: Literal["canceled", "drained"]) -> None:
        """Nothing runs."""

    async def drop(self, attempt: int) -> None:
        """Nothing was left."""


async def _run() -> None:
    settings = read_settings(os.environ)
    async with MasterClient(settings.master_url, settings.tls) as client:
        line = Line(client, settings.offer, random.Random(), lambda _: None)  # noqa: S311
        slave = Slave(line, NoopRunner())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, slave.leave, 0.0)
        await slave.run()


if __name__ == "__main__":
    asyncio.run(_run())

"""The real slave's loop, line and keys, with a runner that says each frame is done at once."""

import asyncio
import os
import random
import signal
import socket
from socket import getaddrinfo
from typing import Any, Literal

from drqueue.api.frames import parse_frames
from drqueue.farm.protocol import AttemptEnd, FrameDone, JobWork, Lease
from drqueue.farm.slave.client import MasterClient
from drqueue.farm.slave.loop import Slave
from drqueue.farm.slave.news import News
from drqueue.farm.slave.reporting import Line
from drqueue.farm.slave.settings import read_settings

FRAME_SECONDS = float(os.environ.get("DRQUEUE_BENCH_FRAME_SECONDS", "0"))


class NoopRunner:
    """Renders nothing."""

    stuck = False

    async def run(self, lease: Lease, work: JobWork, news: News) -> AttemptEnd:
        """Say that each frame of the block is done, at the pace asked for."""
        for frame in parse_frames(lease.frames):
            if FRAME_SECONDS:
                await asyncio.sleep(FRAME_SECONDS)
            news.frame_done(FrameDone(frame=frame, seconds=0.0))
        return AttemptEnd(result="succeeded", exit_code=0)

    def cancel(self, result: Literal["canceled", "drained"]) -> None:
        """Nothing runs."""


def _here(host: Any, *how: Any, **more: Any) -> Any:
    """The addresses of a Service are those of this host: there is no cluster's DNS."""
    return getaddrinfo("127.0.0.1" if str(host).endswith(".svc") else host, *how, **more)


async def _run() -> None:
    socket.getaddrinfo = _here
    settings = read_settings(os.environ)
    async with MasterClient(settings.master_url, settings.tls) as client:
        line = Line(client, settings.offer, random.Random(), lambda _: None)  # noqa: S311
        slave = Slave(line, NoopRunner())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, slave.leave, 0.0)
        await slave.run()


if __name__ == "__main__":
    asyncio.run(_run())

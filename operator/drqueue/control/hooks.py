"""What the chart's hooks share: a client without an operator around it, and patience."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import click

from drqueue.control.client import Client
from drqueue.control.errors import Conflict, NotFound, Passing
from drqueue.control.limiter import Limiter
from drqueue.control.metrics import Metrics
from drqueue.control.transport import Transport, connect

RATE = 100.0
"""Requests a second of a hook, at most."""

Pass = Callable[[], Awaitable[list[str]]]
"""One look at the cluster: does what can be done now, and answers what is left."""


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Client, Transport]]:
    """A client of the cluster that this pod (or the kubeconfig) belongs to."""
    transport = Transport(await connect(), Limiter(RATE, RATE, time.monotonic), Metrics())
    try:
        yield Client(transport), transport
    finally:
        await transport.close()


async def insist(
    once: Pass,
    timeout: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    say: Callable[[str], None] = click.echo,
) -> bool:
    """Look again, a second apart, until nothing is left (True) or `timeout` seconds are over.

    What passes by itself (a conflict, an API server that is busy) only costs another look. Says
    what is left whenever that has changed.
    """
    deadline = monotonic() + timeout
    said: list[str] = []
    while True:
        try:
            left = await once()
        except (Conflict, NotFound, Passing) as error:
            left = [error.message]
        if not left:
            return True
        if left != said:
            for line in left:
                say(f"waits for {line}")
            said = left
        if monotonic() >= deadline:
            return False
        await sleep(1.0)

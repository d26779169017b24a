"""Which of the watched namespaces the operator may read: rights in one can be missing, or go.

With `watchNamespaces` they are bound in each namespace, and go with it as soon as it is being
deleted. One that refuses is left out, so that all the others are served, and asked again later.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from drqueue.control.client import Client
from drqueue.control.errors import Forbidden, NotFound, OperatorError
from drqueue.control.kinds import CHILDREN, PARTS, RECONCILED, kind_of

log = logging.getLogger(__name__)

LISTED = tuple(kind for kind in (*RECONCILED, *CHILDREN, *PARTS) if kind_of(kind).namespaced)
TRIES = 4
"""A fresh install's rights come a moment late."""
RETRY_SECONDS = 5.0

Sleep = Callable[[float], Awaitable[None]]


async def refused(
    client: Client, namespaces: Sequence[str], sleep: Sleep = asyncio.sleep
) -> tuple[str, ...]:
    """Those of the namespaces that stay unreadable. Waits while none can be read."""
    left, tries = tuple(namespaces), 0
    while left:
        try:
            left = tuple([name for name in left if not await _may_read(client, name)])
            tries += 1
        except OperatorError as error:
            log.warning("%s; trying again", error)
        else:
            if not left or (tries >= TRIES and len(left) < len(namespaces)):
                break
            log.warning("No rights (yet) in %s; trying again", ", ".join(left))
        await sleep(RETRY_SECONDS)
    return left


async def first_readable(
    client: Client, namespaces: Sequence[str], every: float, sleep: Sleep = asyncio.sleep
) -> str:
    """Wait until one of these can be read, and answer which."""
    while True:
        await sleep(every)
        for name in namespaces:
            try:
                if await _may_read(client, name):
                    return name
            except OperatorError as error:
                log.info("%s; trying again", error)


async def _may_read(client: Client, namespace: str) -> bool:
    """Whether all that is listed there may be: with less it could not be watched either."""
    for kind in LISTED:
        try:
            async for _ in client.pages(kind, namespace, metadata_only=True, limit=1):
                break
        except Forbidden:
            return False
        except NotFound:
            continue  # its CRD may be installed after us; a missing right would be told first
    return True

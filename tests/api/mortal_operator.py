"""The real operator, killed after each of its mutating requests.

This program forks one operator after another, so that each begins with nothing but what the API
server has, and without the seconds that it takes to import its libraries. An operator dies by
os._exit once a mutating request of it was answered, before it hears the answer; it sends one at a
time, so that no other is on its way then. Which of those that are due comes first is drawn anew
for each life. Leases and Events do not count. A request that one before it sent already is
survived (but for the render time that a status tells): what is written anew because time goes by
must not keep all else from being done.

On stdout, a line for each death: `verb path`. It waits for a line on stdin before the next life.
"""

import asyncio
import hashlib
import json
import logging
import os
import random
import sys
from collections.abc import Mapping
from typing import Any

from drqueue.control import logs, replica
from drqueue.control.reconcilers import RECONCILERS, providers
from drqueue.control.settings import Settings
from drqueue.control.transport import Transport

DEATH = 86
"""Exit code of an operator that was killed so."""
LATEST = 0.4
"""Seconds that a request is held back, at most, so that another may be the first."""
READING = ("get", "list")
UNCOUNTED = ("Lease", "Event")


class MortalTransport(Transport):
    """Ends the process after a mutating request that none sent before."""

    sent: Mapping[str, str] = {}
    """By `verb path`: a digest of what was sent last, in any life."""
    life = 0
    """How many there were before."""
    out = -1
    """File descriptor on which the death is told."""
    one_at_a_time = asyncio.Lock()

    async def request(self, verb: str, kind: str, path: str, **how: Any) -> dict[str, Any]:
        """Send the request; do not live to see the answer."""
        if verb in READING or kind in UNCOUNTED:
            return await super().request(verb, kind, path, **how)
        write, mark = f"{verb} {path}", digest(how.get("body"))
        draw = random.Random(f"{self.life} {kind} {verb}")  # noqa: S311 the same in each run
        await asyncio.sleep(draw.random() * LATEST)
        async with self.one_at_a_time:
            answer = await super().request(verb, kind, path, **how)
            if self.sent.get(write) != mark:
                os.write(MortalTransport.out, f"{write}\n{mark}".encode())
                os._exit(DEATH)
        return answer


def digest(body: Any) -> str:
    """The same for requests that differ in the version they are of, or in the time that went by."""
    made = json.loads(json.dumps(body))
    if isinstance(made, dict):
        (made.get("metadata") or {}).pop("resourceVersion", None)
        (made.get("status") or {}).pop("renderTime", None)
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def live() -> None:
    """One life, in a process of its own."""
    settings = Settings.from_env(os.environ)
    logs.set_up("plain", "INFO")
    vars(replica)["Transport"] = MortalTransport
    try:
        asyncio.run(replica.Replica(settings, RECONCILERS, providers).run())
    except Exception:
        logging.exception("The operator ends")
        os._exit(1)
    os._exit(0)


def main() -> None:
    """One life after another, until stdin ends."""
    sent: dict[str, str] = {}
    MortalTransport.sent = sent
    while True:
        read, MortalTransport.out = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            live()
        os.close(MortalTransport.out)
        with os.fdopen(read, "rb") as told:
            write, _, mark = told.read().decode().partition("\n")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sent[write] = mark
        MortalTransport.life += 1
        sys.stdout.write(f"{write if code == DEATH else f'ended by itself with {code}'}\n")
        sys.stdout.flush()
        if not sys.stdin.readline():
            return


if __name__ == "__main__":
    main()

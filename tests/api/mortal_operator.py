"""The real operator, killed after each of its mutating requests.

This program forks one operator after another, so that each begins with nothing but what the API
server has, and without the seconds that it takes to import its libraries. An operator dies by
os._exit once a mutating request of it was answered, before it hears the answer. Leases and Events
do not count. One that only repeats the last write of the operator before it lives on until it
writes something else: what is written anew because time goes by must not keep all else from being
done.

On stdout, a line for each death: `verb path`. It waits for a line on stdin before the next life.
"""

import asyncio
import logging
import os
import sys
from typing import Any

from drqueue.control import logs, replica
from drqueue.control.reconcilers import RECONCILERS, providers
from drqueue.control.settings import Settings
from drqueue.control.transport import Transport

DEATH = 86
"""Exit code of an operator that was killed so."""
READING = ("get", "list")
UNCOUNTED = ("Lease", "Event")


class MortalTransport(Transport):
    """Ends the process after a mutating request."""

    last = ""
    """What the operator before wrote last."""
    out = -1
    """File descriptor on which the death is told."""

    async def request(self, verb: str, kind: str, path: str, **how: Any) -> dict[str, Any]:
        """Send the request; do not live to see the answer."""
        answer = await super().request(verb, kind, path, **how)
        write = f"{verb} {path}"
        if verb not in READING and kind not in UNCOUNTED and write != MortalTransport.last:
            os.write(MortalTransport.out, write.encode())
            os._exit(DEATH)
        return answer


def live() -> None:
    """One life, in a process of its own."""
    settings = Settings.from_env(os.environ)
    logs.set_up("plain", "INFO")
    replica.Transport = MortalTransport  # type: ignore[misc]
    try:
        asyncio.run(replica.Replica(settings, RECONCILERS, providers).run())
    except Exception:
        logging.exception("The operator ends")
        os._exit(1)
    os._exit(0)


def main() -> None:
    """One life after another, until stdin ends."""
    while True:
        read, MortalTransport.out = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            live()
        os.close(MortalTransport.out)
        with os.fdopen(read, "rb") as told:
            write = told.read().decode()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != DEATH:
            write = f"ended by itself with {code}"
        MortalTransport.last = write
        sys.stdout.write(f"{write}\n")
        sys.stdout.flush()
        if not sys.stdin.readline():
            return


if __name__ == "__main__":
    main()

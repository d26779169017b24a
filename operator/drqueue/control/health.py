"""/healthz, /readyz and /metrics: the truth about this process."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from drqueue.control.metrics import Metrics

log = logging.getLogger(__name__)

TICK = 0.5
STALL_WORTH_TELLING = 2.0
Check = Callable[[], str | None]
"""Answers what is wrong, or None."""


class Health:
    """What is wrong now, and whether the process is ready."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self.not_ready: Check = lambda: "starting"
        """Why this replica is not ready; None when it is. A standby is."""

    def add(self, name: str, check: Check) -> None:
        """Have a check asked at each probe."""
        self._checks[name] = check

    def problems(self) -> dict[str, str]:
        """What is wrong, by the name of the check."""
        found = ((name, check()) for name, check in self._checks.items())
        return {name: problem for name, problem in found if problem}


class LoopWatch:
    """Measures for how long the event loop answered nobody: a reconciler that computes too long
    delays the Lease, the probes and every other reconciler."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._stalls: deque[float] = deque(maxlen=int(60 / TICK))
        metrics.stall.set_function(lambda: max(self._stalls, default=0.0))

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            before = self._monotonic()
            await asyncio.sleep(TICK)
            stall = max(0.0, self._monotonic() - before - TICK)
            self._stalls.append(stall)
            if stall >= STALL_WORTH_TELLING:
                log.warning("The event loop stood still for %.1f s", stall)


def health_app(health: Health, metrics: Metrics) -> web.Application:
    """The HTTP application that answers probes and scrapes."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.problems())

    async def readyz(_: web.Request) -> web.Response:
        reason = health.not_ready()
        return _answer({"ready": reason} if reason else {})

    async def scrape(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(metrics.registry), headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scrape)]
    )
    return app


def _answer(problems: dict[str, str]) -> web.Response:
    text = json.dumps(problems) if problems else "ok"
    return web.Response(text=text + "\n", status=503 if problems else 200)


async def serve(app: web.Application, listen: str) -> web.AppRunner:
    """Serve on `host:port`; the caller cleans the runner up."""
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    return runner

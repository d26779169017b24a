"""HTTP: who may ask what, how much and how fast; every refusal is a Problem."""

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import ValidationError

from drqueue.farm.master.hub import Hub
from drqueue.farm.master.limits import RateLimit
from drqueue.farm.master.operators import Operators
from drqueue.farm.master.slaves import Slaves
from drqueue.farm.master.tls import Callers
from drqueue.farm.orders import RefusedError
from drqueue.farm.protocol import (
    ACCEPTED_VERSIONS,
    MAX_REQUEST_BYTES,
    MAX_WAIT_SECONDS,
    MAX_WORK_BYTES,
    VERSION_HEADER,
    JobOrder,
    Message,
    NodeOrder,
    Problem,
    WorkReport,
)
from drqueue.security.identity import Identity

LOG = logging.getLogger(__name__)

REQUESTS_A_SECOND = 1000.0
"""Of one slave; a real one sends a few."""
BURST = 2000.0

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_VERSIONS = frozenset(str(version) for version in ACCEPTED_VERSIONS)


class Api:
    """The master's routes."""

    def __init__(self, session_uid: str, hub: Hub, slaves: Slaves, operators: Operators) -> None:
        self._session_uid = session_uid
        self._hub = hub
        self._slaves = slaves
        self._operators = operators
        self._callers = Callers()
        self._limit = RateLimit(REQUESTS_A_SECOND, BURST)

    def application(self) -> web.Application:
        """The routes as an aiohttp application."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[self._sorted])
        app.router.add_post("/v1/work", self._work)
        app.router.add_get("/v1/jobs/{uid}/work", self._job_work)
        app.router.add_put("/v1/jobs/{uid}", self._put_job)
        app.router.add_delete("/v1/jobs/{uid}", self._delete_job)
        app.router.add_get("/v1/changes", self._changes)
        app.router.add_put("/v1/nodes/{uid}", self._put_node)
        return app

    @web.middleware
    async def _sorted(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Turn whatever goes wrong into a Problem."""
        try:
            if request.headers.get(VERSION_HEADER) not in _VERSIONS:
                raise RefusedError(
                    426,
                    "UnknownVersion",
                    f"{VERSION_HEADER} {request.headers.get(VERSION_HEADER)!r}: this master speaks "
                    f"{', '.join(sorted(_VERSIONS))}",
                )
            return await handler(request)
        except RefusedError as error:
            return _problem(error.status, error.code, str(error))
        except ValidationError as error:
            return _problem(400, "Malformed", _first_error(error))
        except web.HTTPRequestEntityTooLarge:
            return _problem(413, "TooLarge", f"at most {MAX_REQUEST_BYTES} bytes are taken")
        except web.HTTPException as error:
            return _problem(error.status, "HTTP", error.reason)
        except Exception:
            LOG.exception("bug: in %s %s", request.method, request.path)
            await self._hub.resync()
            return _problem(500, "Bug", "the master's own error; it is in its log")

    # slaves ----------------------------------------------------------------------------------

    async def _work(self, request: web.Request) -> web.Response:
        caller = self._slave(request)
        length = request.content_length
        if length is None or length > MAX_WORK_BYTES:
            raise RefusedError(413, "TooLarge", f"a report has at most {MAX_WORK_BYTES} bytes")
        report = WorkReport.model_validate_json(await request.read())
        answer = await self._slaves.work(caller, report, lambda: _gone(request))
        return _json(answer)

    async def _job_work(self, request: web.Request) -> web.Response:
        if self._callers.identity(request.transport).role != "operator":
            self._slave(request)
        return _json(self._operators.job_work(request.match_info["uid"]))

    def _slave(self, request: web.Request) -> Identity:
        """The node that calls. Raises RefusedError."""
        caller = self._callers.identity(request.transport)
        if caller.role != "node" or not caller.node_uid or caller.session_uid != self._session_uid:
            raise RefusedError(403, "NotYours", "this is for the nodes of this session")
        if not self._limit.allows(caller.node_uid, self._hub.now().ticks):
            raise RefusedError(429, "TooFast", f"at most {REQUESTS_A_SECOND:g} requests a second")
        node = self._hub.farm.nodes.get(caller.node_uid)
        if node is not None and node.state == "ended":
            raise RefusedError(403, "NodeEnded", f"node {caller.node_name} has ended")
        return caller

    # operator --------------------------------------------------------------------------------

    async def _put_job(self, request: web.Request) -> web.Response:
        self._operator(request)
        order = JobOrder.model_validate_json(await request.read())
        if order.uid != request.match_info["uid"]:
            raise RefusedError(400, "Malformed", "the UID in the path is not the order's")
        return _json(await self._operators.put_job(order))

    async def _delete_job(self, request: web.Request) -> web.Response:
        self._operator(request)
        await self._operators.delete_job(request.match_info["uid"])
        return web.Response(status=204)

    async def _changes(self, request: web.Request) -> web.Response:
        self._operator(request)
        try:
            sequence = int(request.query.get("sequence", "0"))
            wait = min(max(float(request.query.get("wait", "0")), 0.0), MAX_WAIT_SECONDS)
        except ValueError as error:
            raise RefusedError(400, "Malformed", f"sequence, wait: {error}") from error
        epoch = request.query.get("epoch", "")
        return _json(await self._operators.changes(epoch, sequence, wait))

    async def _put_node(self, request: web.Request) -> web.Response:
        self._operator(request)
        order = NodeOrder.model_validate_json(await request.read())
        return _json(await self._operators.put_node(request.match_info["uid"], order))

    def _operator(self, request: web.Request) -> None:
        if self._callers.identity(request.transport).role != "operator":
            raise RefusedError(403, "NotYours", "this is for the operator")


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _json(message: Message) -> web.Response:
    return web.Response(body=message.model_dump_json().encode(), content_type="application/json")


def _problem(status: int, code: str, message: str) -> web.Response:
    headers = {"Retry-After": "2"} if status in (429, 503, 507) else None
    return web.Response(
        status=status,
        body=Problem(code=code, message=message).model_dump_json().encode(),
        content_type="application/json",
        headers=headers,
    )


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}"


class Health:
    """Plain HTTP: /healthz and /readyz."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.ready = False

    def application(self) -> web.Application:
        """The routes as an aiohttp application."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        if self._hub.broken:
            return web.Response(status=503, text=f"{self._hub.broken}\n")
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if not self.ready or self._hub.broken:
            return web.Response(status=503, text="not yet\n")
        return web.Response(text="ok\n")


async def serve(app: web.Application, address: tuple[str, int], **options: object) -> web.AppRunner:
    """Listen. Raises OSError."""
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75.0, shutdown_timeout=2.0)
    await runner.setup()
    await web.TCPSite(runner, address[0] or None, address[1], **options).start()  # type: ignore[arg-type]
    return runner

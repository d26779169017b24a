"""A stand-in for the API server where a kubelet would be needed: pods/exec over a websocket.

It serves stored objects (get, list, watch, merge patch of annotations) as if all namespaces were
one, refuses what is `forbidden`, and runs a script of frames for each exec. The stream is
Kubernetes' own, v4 and v5.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

SUCCESS: dict[str, Any] = {"status": "Success"}


def exited(code: int) -> dict[str, Any]:
    """Build the Status of a command that ended with an exit code."""
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}


@dataclass
class Script:
    """What one exec sends: stdout in pieces, stderr, and a Status (none: the stream just ends)."""

    stdout: list[bytes] = field(default_factory=list)
    stderr: bytes = b""
    status: dict[str, Any] | None = field(default_factory=lambda: dict(SUCCESS))
    abort: bool = False
    """Cut the connection rather than close it."""


Answer = Callable[[str, str, list[str]], Script | web.Response]
"""Pod, container and command to what happens."""


class ExecServer:
    """Objects by (plural, name), and what each exec answers."""

    def __init__(self, answer: Answer, subprotocols: tuple[str, ...]) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.execs: list[tuple[str, str, list[str]]] = []
        self.on_patch: Callable[[str, str, dict[str, Any]], None] = lambda *_: None
        self.on_list: Callable[[], None] = lambda: None
        self.too_busy = 0
        """So many lists are answered with 429 first."""
        self.forbidden: set[tuple[str, str, bool]] = set()
        """Verb, plural, and whether in all namespaces at once."""
        self._answer = answer
        self._subprotocols = subprotocols
        self._version = 1

    def put(self, plural: str, item: dict[str, Any]) -> None:
        """Store an object."""
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self.objects[plural, item["metadata"]["name"]] = item

    def remove(self, plural: str, name: str) -> None:
        """Forget an object."""
        self._version += 1
        del self.objects[plural, name]

    def app(self) -> web.Application:
        """Build the routes."""
        made = web.Application()
        for prefix in ("/api/v1", "/apis/drqueue.org/v1alpha1"):
            stem = prefix + "/namespaces/{namespace}/{plural}"
            made.router.add_get(stem, self._list)
            made.router.add_get(stem + "/{name}", self._get)
            made.router.add_patch(stem + "/{name}", self._patch)
            made.router.add_get(stem + "/{name}/exec", self._exec)
            made.router.add_get(prefix + "/{plural}", self._list)
            made.router.add_get(prefix + "/{plural}/{name}", self._get)
        return made

    def _chosen(self, plural: str, name: str) -> list[dict[str, Any]]:
        return [o for (p, n), o in self.objects.items() if p == plural and name in ("", n)]

    def _refusal(self, verb: str, request: web.Request) -> web.Response | None:
        plural, everywhere = request.match_info["plural"], "namespace" not in request.match_info
        if (verb, plural, everywhere) not in self.forbidden:
            return None
        message = f'User "ann" cannot {verb} resource "{plural}" in API group "drqueue.org"'
        status = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": message}
        return web.json_response(status, status=403)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        plural = request.match_info["plural"]
        refusal = self._refusal("list", request)
        if refusal is not None:
            return refusal
        if self.too_busy > 0:
            self.too_busy -= 1
            return web.json_response({}, status=429, headers={"Retry-After": "1"})
        _, _, name = request.query.get("fieldSelector", "").partition("metadata.name=")
        items = self._chosen(plural, name)
        if "watch" not in request.query:
            meta = {"resourceVersion": str(self._version)}
            listed = web.json_response({"metadata": meta, "items": items})
            self.on_list()
            return listed
        response = web.StreamResponse()
        await response.prepare(request)
        since = int(request.query["resourceVersion"])
        until = asyncio.get_running_loop().time() + float(request.query["timeoutSeconds"])
        while self._version <= since and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110  (changed by threads of the tests)
            await asyncio.sleep(0.01)
        # what changed meanwhile, then the watch ends: the client lists and watches anew
        for item in self._chosen(plural, name):
            if int(item["metadata"]["resourceVersion"]) > since:
                line = json.dumps({"type": "MODIFIED", "object": item}) + "\n"
                await response.write(line.encode())
        if self._version <= since:
            return response
        gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
        await response.write((json.dumps({"type": "ERROR", "object": gone}) + "\n").encode())
        return response

    async def _get(self, request: web.Request) -> web.Response:
        refusal = self._refusal("get", request)
        if refusal is not None:
            return refusal
        key = (request.match_info["plural"], request.match_info["name"])
        if key not in self.objects:
            status = {"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found"}
            return web.json_response(status, status=404)
        return web.json_response(self.objects[key])

    async def _patch(self, request: web.Request) -> web.Response:
        key = (request.match_info["plural"], request.match_info["name"])
        patch = await request.json()
        item = self.objects[key]
        item["metadata"].setdefault("annotations", {}).update(patch["metadata"]["annotations"])
        self.put(key[0], item)
        self.on_patch(*key, patch)
        return web.json_response(item)

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        pod = request.match_info["name"]
        call = (pod, request.query["container"], request.query.getall("command"))
        self.execs.append(call)
        script = self._answer(*call)
        if isinstance(script, web.Response):
            return script
        socket = web.WebSocketResponse(protocols=self._subprotocols)
        await socket.prepare(request)
        for piece in script.stdout:
            await socket.send_bytes(b"\x01" + piece)
        if script.stderr:
            await socket.send_bytes(b"\x02" + script.stderr)
        if script.abort:
            assert request.transport is not None
            request.transport.abort()
            return socket
        if script.status is not None:
            await socket.send_bytes(b"\x03" + json.dumps(script.status).encode())
        if socket.ws_protocol == "v5.channel.k8s.io":
            await socket.send_bytes(b"\xff\x01")
        await socket.close()
        message = await socket.receive()
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR)
        return socket


@contextmanager
def serve(
    folder: Path, answer: Answer, subprotocols: tuple[str, ...] = ("v5.channel.k8s.io",)
) -> Iterator[tuple[ExecServer, Path]]:
    """Run a server on a thread; give it, and a kubeconfig that names it."""
    server = ExecServer(answer, subprotocols)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(server.app(), shutdown_timeout=0.1)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    port = runner.addresses[0][1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [
                    {
                        "name": "test",
                        "context": {"cluster": "c", "user": "u", "namespace": "studio-a"},
                    }
                ],
            }
        )
    )
    try:
        yield server, kubeconfig
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.run_until_complete(runner.cleanup())
        loop.close()

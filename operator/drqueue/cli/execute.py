"""A command in a container, its output byte for byte, by pods/exec.

The library's own WSClient keeps all output in memory and reads on as long as more arrives, so
that a download of gigabytes would fill the memory: this reads one frame of the stream at a time.
"""

import json
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import websocket

from drqueue.cli.cluster import Cluster
from drqueue.cli.errors import ApiError, UnreachableError
from drqueue.cli.kinds import POD

STDOUT, STDERR, STATUS, CLOSE = 1, 2, 3, 255
SILENCE_SECONDS = 120.0
MAX_STDERR_BYTES = 64 * 1024
KILLED = 137
"""What a shell, and a container, say of SIGKILL."""


class StreamBrokenError(Exception):
    """The stream ended before the command's exit status came: the pod or the network died."""


class CommandFailedError(Exception):
    """The command ended with an exit code other than 0; its stderr is the message."""

    def __init__(self, exit_code: int, stderr: str) -> None:
        killed = "killed: its pod ended, or memory ran out" if exit_code == KILLED else ""
        super().__init__(stderr or killed or f"exit code {exit_code}")
        self.exit_code = exit_code
        self.stderr = stderr


def execute(
    cluster: Cluster,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    *,
    silence_seconds: float | None = SILENCE_SECONDS,
) -> Iterator[bytes]:
    """Run a command in a container and give its stdout in pieces as they come.

    `silence_seconds` bounds the wait for the next piece; None waits for ever, with keep-alive
    probes to notice a dead peer. Raises ApiError (refused), UnreachableError, StreamBrokenError and
    CommandFailedError; the last two when the output so far has been given.
    """
    stream = _open(cluster, namespace, pod, container, command)
    try:
        stream.settimeout(silence_seconds)
        yield from _read(stream, pod)
    finally:
        stream.close(timeout=1)


def _open(
    cluster: Cluster, namespace: str, pod: str, container: str, command: Sequence[str]
) -> websocket.WebSocket:
    # here, for the library takes half a second to load, and most commands do without
    from kubernetes.stream import ws_client

    path = f"{POD.path}/namespaces/{namespace}/pods/{pod}/exec"
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]
    url, headers = cluster.authorised("GET", path, query)
    try:
        stream: websocket.WebSocket = ws_client.create_websocket(
            cluster.client.configuration, ws_client.get_websocket_url(url), headers
        )
    except websocket.WebSocketBadStatusException as problem:
        body = problem.resp_body or b""
        raise ApiError(int(problem.status_code or 0), body, f"exec in pod {pod}") from problem
    except (OSError, websocket.WebSocketException) as problem:
        raise UnreachableError(f"exec in pod {pod}: {problem}") from problem
    _keep_alive(stream.sock)
    return stream


def _keep_alive(connection: Any) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # absent on some systems; their defaults then hold
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _read(stream: websocket.WebSocket, pod: str) -> Iterator[bytes]:
    stderr = bytearray()
    status = bytearray()
    while True:
        try:
            opcode, frame = stream.recv_data_frame(True)
        except (OSError, websocket.WebSocketException) as problem:
            if status:
                break
            raise StreamBrokenError(f"the stream from pod {pod} broke: {problem}") from problem
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            break
        if opcode not in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT):
            continue
        data = frame.data.encode() if isinstance(frame.data, str) else bytes(frame.data)
        channel, payload = (data[0], data[1:]) if data else (CLOSE, b"")
        if channel == STDOUT and payload:
            yield payload
        elif channel == STDERR:
            stderr += payload[: MAX_STDERR_BYTES - len(stderr)]
        elif channel == STATUS:
            status += payload
    if not status:
        raise StreamBrokenError(f"the stream from pod {pod} ended without an exit status")
    _check(json.loads(bytes(status)), bytes(stderr), pod)


def _check(status: dict[str, Any], stderr: bytes, pod: str) -> None:
    """Raise what the Status at the end of the stream says, if it is no success."""
    if status.get("status") == "Success":
        return
    causes = (status.get("details") or {}).get("causes") or []
    codes = [cause.get("message") for cause in causes if cause.get("reason") == "ExitCode"]
    text = stderr.decode("utf-8", "replace").strip()
    if status.get("reason") == "NonZeroExitCode" and codes:
        raise CommandFailedError(int(codes[0]), text)
    # the container could not be asked, or was killed under the command
    raise StreamBrokenError(f"exec in pod {pod}: {status.get('message') or text or 'failed'}")

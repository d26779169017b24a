"""A TCP proxy before the API server, whose open connections can be made to fall silent."""

import contextlib
import selectors
import socket
import threading
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import yaml


class TcpProxy:
    """Forwards bytes; after `deafen`, connections that are open then carry nothing to the client
    any more, though they stay open, and new ones work."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        [entry] = config["clusters"]
        server = urlsplit(entry["cluster"]["server"])
        self._server = (server.hostname, server.port or 443)
        self._listener = socket.create_server(("127.0.0.1", 0))
        entry["cluster"]["server"] = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.kubeconfig = folder / "proxied.kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self._deaf: set[socket.socket] = set()
        self._clients: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(10)
        for one in [self._listener, *self._clients]:
            one.close()

    def deafen(self) -> None:
        """Let what is open now fall silent."""
        self._deaf.update(self._clients)

    def _forward(self) -> None:
        while not self._closing.is_set():
            for ready, _ in self._selector.select(0.1):
                one = ready.fileobj
                assert isinstance(one, socket.socket)
                if one is self._listener:
                    self._accept()
                elif one in self._clients:
                    self._pass_on(one)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._server)
        for one, other in ((client, server), (server, client)):
            self._clients[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        other = self._clients[one]
        try:
            data = one.recv(65536)
            if data and one not in self._deaf:
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (one, other):
                self._selector.unregister(end)
                del self._clients[end]
                with contextlib.suppress(OSError):
                    end.close()

"""Ports for programs that a test starts."""

import socket


class Port:
    """A free port of the loopback interface, kept until it is closed.

    The socket that found it stays bound and does not listen: nobody else is given the port, and a
    program that sets SO_REUSEADDR, as asyncio does, can listen on it as often as it is started.
    """

    def __init__(self) -> None:
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.number: int = self._kept.getsockname()[1]
        self.address = f"127.0.0.1:{self.number}"

    def close(self) -> None:
        """Let it go, once what listened has ended."""
        self._kept.close()

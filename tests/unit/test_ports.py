import asyncio
import socket

import pytest

from tests.ports import Port


async def test_a_port_is_a_programs_as_often_as_it_starts_and_nobody_elses() -> None:
    port = Port()
    try:
        for _ in range(2):
            server = await asyncio.start_server(lambda _, writer: writer.close(), *place(port))
            reader, writer = await asyncio.open_connection(*place(port))
            assert await reader.read() == b""
            writer.close()
            server.close()
            await server.wait_closed()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*place(port))
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(place(port))
    finally:
        port.close()
    with socket.create_server(place(port)):
        pass


def place(port: Port) -> tuple[str, int]:
    return "127.0.0.1", port.number

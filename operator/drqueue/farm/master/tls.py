"""TLS 1.3 with client certificates, and who a client is by its own."""

import asyncio
import asyncio.sslproto
import ssl
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from drqueue.security.identity import Identity, parse_identity

NOBODY = Identity("node")
"""A client whose certificate names no part of a farm."""


class _Connection(ssl.SSLObject):
    """Of a client's certificate, keeps the names alone: asyncio holds on to what it is given."""

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The names in the certificate, or all of it in binary form."""
        found = super().getpeercert(binary_form)
        if not isinstance(found, dict):
            return found
        return {"subjectAltName": found.get("subjectAltName", ())}


class ServerTls:
    """The master's certificate, read again when its files change."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, ssl.SSLError when the certificates cannot be read."""
        self._folder = folder
        self.context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.crt")
        )
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self.context.sslobject_class = _Connection
        # nobody resumes a session here: connections are kept
        self.context.num_tickets = 0
        self._read_at = self._changed_at()

    def reload(self) -> bool:
        """Take up renewed files; new connections use them. Raises OSError, ssl.SSLError."""
        changed = self._changed_at()
        if changed == self._read_at:
            return False
        self.context.load_verify_locations(str(self._folder / "ca.crt"))
        self.context.load_cert_chain(self._folder / "tls.crt", self._folder / "tls.key")
        self._read_at = changed
        return True

    def _changed_at(self) -> int:
        return max(
            (self._folder / name).stat().st_mtime_ns for name in ("tls.crt", "tls.key", "ca.crt")
        )


def spare_memory() -> None:
    """Have asyncio read TLS in small pieces, and not hold 256 KiB a connection: a thousand slaves
    are 250 MB else."""
    asyncio.sslproto.SSLProtocol.max_size = 1024


class Callers:
    """Who is at the other end of a connection, looked up once."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[asyncio.BaseTransport, Identity] = WeakKeyDictionary()

    def identity(self, transport: asyncio.BaseTransport | None) -> Identity:
        """The identity in the client's certificate; NOBODY where there is none."""
        if transport is None:
            return NOBODY
        known = self._known.get(transport)
        if known is None:
            known = self._known[transport] = _read(transport.get_extra_info("peercert"))
        return known


def _read(certificate: dict[str, tuple[tuple[str, str], ...]] | None) -> Identity:
    uris = [value for kind, value in (certificate or {}).get("subjectAltName", ()) if kind == "URI"]
    if len(uris) != 1:
        return NOBODY
    try:
        return parse_identity(uris[0])
    except ValueError:
        return NOBODY

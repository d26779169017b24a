"""HTTPS to the sessions' masters: mutual TLS, each server held to its own session's identity."""

import ssl
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from drqueue.control.errors import MasterAway, MasterRefused, Passing
from drqueue.control.metrics import Metrics
from drqueue.farm.protocol import PROTOCOL_VERSION, VERSION_HEADER, Problem
from drqueue.security.ca import CertificateAuthority, IssuedCertificate
from drqueue.security.identity import Identity

PORT = 8443
VALIDITY = timedelta(days=7)
REQUEST_SECONDS = 15.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class MasterAddress:
    """Where a master is, and who it has to be."""

    host: str
    """The Service's DNS name, which the certificate must carry."""
    address: str
    """`host:port` to connect to."""
    identity: str
    """The URI that the certificate must carry."""

    @classmethod
    def of(
        cls, namespace: str, service: str, session_uid: str, template: str | None
    ) -> "MasterAddress":
        """The address of a Service; `template` puts another `host:port` in its place."""
        host = f"{service}.{namespace}.svc"
        address = template.format(name=service, namespace=namespace) if template else None
        return cls(host, address or f"{host}:{PORT}", Identity("master", session_uid).uri)


class MasterLink:
    """One pool of connections to all masters, as the operator, by a certificate renewed in time."""

    def __init__(
        self,
        ca: CertificateAuthority,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._ca = ca
        self._clock = clock
        self._metrics = metrics
        self._identities: dict[str, str] = {}
        self._certificate: IssuedCertificate | None = None
        self._context: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        to: MasterAddress,
        method: str,
        path: str,
        answer: type[Answer] | None,
        *,
        body: BaseModel | None = None,
        query: Mapping[str, str] | None = None,
        seconds: float = REQUEST_SECONDS,
    ) -> Answer | None:
        """Send a request; the answer is read as that model, or dropped where there is none.

        Raises MasterAway (no answer, or none that makes sense), MasterRefused (a 4xx Problem), or
        Passing (429).
        """
        what = f"{method} {path}"
        status = 0
        self._identities[to.host] = to.identity
        try:
            async with self._pool().request(
                method,
                f"https://{to.address}{path}",
                params=query,
                data=body.model_dump_json(exclude_none=True) if body else None,
                headers={
                    VERSION_HEADER: str(PROTOCOL_VERSION),
                    "Content-Type": "application/json",
                },
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=5),
                ssl=self._tls(),
                server_hostname=to.host,
                allow_redirects=False,
            ) as response:
                status = response.status
                text = await _read(response)
                retry_after = response.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            cause = getattr(error, "os_error", error)  # without aiohttp's dump of the connection
            reason = str(cause) or type(cause).__name__
            raise MasterAway(f"the master {to.host} does not answer: {reason}") from error
        finally:
            self._metrics.master_requests.labels(path.split("/")[2], str(status)).inc()
        if status >= 300:
            raise _refused(to, what, status, text, retry_after)
        if answer is None:
            return None
        try:
            return answer.model_validate_json(text)
        except ValidationError as error:
            raise MasterAway(f"the master {to.host} answered {what} with nonsense") from error

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=5),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session

    def _tls(self) -> ssl.SSLContext:
        """The TLS context, made anew when its certificate is to be renewed."""
        if (
            self._context is None
            or self._certificate is None
            or self._clock() >= self._certificate.renew_at
        ):
            self._certificate = self._ca.issue(Identity("operator"), validity=VALIDITY)
            self._context = _context(self._certificate, self._identities)
        return self._context


def _context(certificate: IssuedCertificate, identities: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=certificate.authority)
    # ssl reads certificates from files only; these are gone as soon as it has.
    with tempfile.TemporaryDirectory(prefix="drqueue-") as folder:
        chain, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        chain.write_text(certificate.certificate)
        key.touch(0o600)
        key.write_text(certificate.private_key)
        context.load_cert_chain(chain, key)

    class OfItsSession(ssl.SSLObject):
        """Refuses, before anything is sent, a server that is not that session's master."""

        def do_handshake(self) -> None:
            super().do_handshake()
            wanted = identities.get(str(self.server_hostname))
            names = (self.getpeercert() or {}).get("subjectAltName", ())
            if ("URI", wanted) not in names:
                raise ssl.SSLCertVerificationError(f"its certificate does not name {wanted}")

    context.sslobject_class = OfItsSession
    return context


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_chunked(64 * 1024):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError("the answer is too large")
    return b"".join(parts)


def _refused(
    to: MasterAddress, what: str, status: int, text: bytes, retry_after: str
) -> Passing | MasterRefused:
    message, code = f"HTTP {status}", ""
    with suppress(ValidationError):
        problem = Problem.model_validate_json(text)
        message, code = problem.message, problem.code
    told = f"the master {to.host} refused {what}: {message}"
    if status == 429:
        seconds = float(retry_after) if retry_after.isdigit() else None
        return Passing(told, status=status, reason=code, retry_after=seconds)
    if status >= 500:
        return MasterAway(told, status=status, reason=code)
    return MasterRefused(told, status=status, reason=code)

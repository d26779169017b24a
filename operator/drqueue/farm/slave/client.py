"""The master as the slave sees it: two requests over HTTPS with certificates on both sides."""

import asyncio
import logging
import ssl
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import aiohttp
from pydantic import ValidationError

from drqueue.farm.protocol import (
    PROTOCOL_VERSION,
    VERSION_HEADER,
    JobWork,
    Message,
    Problem,
    WorkAnswer,
    WorkReport,
)

LOG = logging.getLogger(__name__)
M = TypeVar("M", bound=Message)

_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_SLACK_SECONDS = 15.0
"""Beyond what the master may hold an answer."""


class UnreachableError(Exception):
    """The master did not answer, or could not do what was asked: try again later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RefusedError(Exception):
    """The master will not have the request, however often it is repeated."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code


class MasterClient:
    """Speaks to one master. Certificates are read again when their files change."""

    def __init__(self, url: str, tls: Path) -> None:
        """Raises OSError or ssl.SSLError when the certificates cannot be read."""
        self._url = url
        self._tls = tls
        self._read_at = self._changed_at()
        self._context = ssl.create_default_context(cafile=str(tls / "ca.crt"))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._load()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "MasterClient":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context, limit=4, keepalive_timeout=60),
            headers={VERSION_HEADER: str(PROTOCOL_VERSION), "Content-Type": "application/json"},
            # a proxy of the cluster's has no part in this, whatever the environment says
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def work(self, report: WorkReport) -> WorkAnswer:
        """Report and ask. Raises UnreachableError, RefusedError."""
        body = await self._call(
            "POST",
            "/v1/work",
            report.wait_seconds + _SLACK_SECONDS,
            report.model_dump_json().encode(),
        )
        return self._read(WorkAnswer, body)

    async def job_work(self, uid: str) -> JobWork:
        """Fetch what is needed to render a job. Raises UnreachableError, RefusedError."""
        return self._read(JobWork, await self._call("GET", f"/v1/jobs/{uid}/work", _SLACK_SECONDS))

    async def _call(
        self, method: str, path: str, seconds: float, body: bytes | None = None
    ) -> bytes:
        if self._session is None:
            raise UnreachableError("the client is closed")
        self._reload()
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=5)
        try:
            async with self._session.request(
                method, f"{self._url}{path}", data=body, timeout=timeout, allow_redirects=False
            ) as answer:
                content = await answer.content.read(_MAX_ANSWER_BYTES + 1)
                while content and not answer.content.at_eof() and len(content) <= _MAX_ANSWER_BYTES:
                    content += await answer.content.read(_MAX_ANSWER_BYTES + 1)
                if answer.status == 200 and len(content) <= _MAX_ANSWER_BYTES:
                    return content
                raise self._problem(answer, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{type(error).__name__}: {error}") from error

    def _problem(self, answer: aiohttp.ClientResponse, content: bytes) -> Exception:
        try:
            problem = Problem.model_validate_json(content)
        except ValidationError:
            problem = Problem(code="Unknown", message=content[:200].decode(errors="replace"))
        status = answer.status
        if status in (408, 425, 429) or not 400 <= status < 500:
            after = answer.headers.get("Retry-After", "")
            return UnreachableError(
                f"{status} {problem.code}: {problem.message}",
                min(float(after), 60.0) if after.isdigit() else None,
            )
        return RefusedError(status, problem.code, problem.message)

    @staticmethod
    def _read(model: type[M], body: bytes) -> M:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise UnreachableError(f"an answer that makes no sense: {error}") from error

    def _changed_at(self) -> int:
        return max((self._tls / n).stat().st_mtime_ns for n in ("tls.crt", "tls.key", "ca.crt"))

    def _load(self) -> None:
        self._context.load_verify_locations(str(self._tls / "ca.crt"))
        self._context.load_cert_chain(str(self._tls / "tls.crt"), str(self._tls / "tls.key"))

    def _reload(self) -> None:
        """Take up renewed certificates; new connections use them."""
        try:
            changed = self._changed_at()
            if changed != self._read_at:
                self._load()
                self._read_at = changed
                LOG.info("certificates renewed")
        except (OSError, ssl.SSLError) as error:
            LOG.warning("renewed certificates cannot be read yet: %s", error)


async def pause(seconds: float, until: asyncio.Event) -> None:
    """Wait so long, or until the event."""
    try:
        async with asyncio.timeout(seconds):
            await until.wait()
    except TimeoutError:
        return

"""The Kubernetes API as this program needs it: raw JSON objects, and changes as they come."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import quote

import urllib3

from drqueue.cli.connect import Connection
from drqueue.cli.errors import ApiError, UnreachableError
from drqueue.cli.exits import CliError, Exit
from drqueue.cli.kinds import Kind, Object

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
WATCH_SECONDS = 45
"""The server ends a watch after so long; we begin it anew where it ended."""
RETRY_SECONDS = 1.0
START_SECONDS = 20.0
MERGE_PATCH = "application/merge-patch+json"
FIELD_MANAGER = "drqueue-cli"


class Cluster:
    """One API server, one user. Raises ApiError (refused) and UnreachableError (no answer)."""

    def __init__(
        self,
        connection: Connection,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.client = connection.client
        self.server = connection.server
        self._clock = clock
        self._pause = pause
        self._say = say

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        """Read one object."""
        return self._json("GET", self._path(kind, namespace, name), f"{kind.word} {name}")

    def list_all(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        """Read all objects of a kind in a namespace, or in all with None."""
        items, _ = self._list(kind, namespace, _selectors(labels, fields))
        return items

    def create(
        self, kind: Kind, namespace: str | None, body: Object, *, dry_run: bool = False
    ) -> Object:
        """Create an object; unknown fields are refused."""
        query = {"fieldValidation": "Strict", "fieldManager": FIELD_MANAGER}
        if dry_run:
            query["dryRun"] = "All"
        what = f"{kind.word} {body['metadata']['name']}"
        return self._json("POST", self._path(kind, namespace), what, query=query, body=body)

    def patch(self, kind: Kind, namespace: str | None, name: str, body: Object) -> Object:
        """Merge a patch into an object; unknown fields are refused."""
        query = {"fieldValidation": "Strict", "fieldManager": FIELD_MANAGER}
        path = self._path(kind, namespace, name)
        return self._json(
            "PATCH", path, f"{kind.word} {name}", query=query, body=body, content_type=MERGE_PATCH
        )

    def delete(self, kind: Kind, namespace: str | None, name: str, uid: str = "") -> None:
        """Begin to delete an object; with a uid only that very one."""
        body = {"preconditions": {"uid": uid}} if uid else {}
        path = self._path(kind, namespace, name)
        self._json("DELETE", path, f"{kind.word} {name}", body=body)

    def changes(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        deadline: float | None = None,
    ) -> Iterator[dict[str, Object]]:
        """Give all chosen objects by name now, and again after each change, until the deadline.

        The deadline is a moment of the clock. A watch that ends or breaks is begun anew; an
        unreachable server is tried again until the deadline, once it has answered at all.
        """
        answered = False
        failing_since: float | None = None
        while deadline is None or self._clock() < deadline:
            try:
                items, version = self._list(kind, namespace, _selectors(labels, fields))
                known = {item["metadata"]["name"]: item for item in items}
                answered, failing_since = True, None
                yield dict(known)
                yield from self._watch(
                    kind,
                    namespace,
                    selectors=_selectors(labels, fields),
                    known=known,
                    version=version,
                    deadline=deadline,
                )
            except (UnreachableError, ApiError) as problem:
                if isinstance(problem, ApiError) and problem.status == 410:
                    continue  # the version listed is too old for a watch: list anew
                began = failing_since is None
                failing_since = self._clock() if failing_since is None else failing_since
                if not answered or not may_pass(problem, self._clock() - failing_since):
                    raise
                if began:
                    self._say(f"{problem}; trying again")
                self._pause(RETRY_SECONDS)

    def _watch(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        selectors: dict[str, str],
        known: dict[str, Object],
        version: str,
        deadline: float | None,
    ) -> Iterator[dict[str, Object]]:
        """Follow one list until the watch breaks, the version is too old, or the deadline."""
        while True:
            seconds = WATCH_SECONDS
            if deadline is not None:
                seconds = min(seconds, max(1, int(deadline - self._clock() + 0.999)))
            query = {
                **selectors,
                "watch": "1",
                "resourceVersion": version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(seconds),
            }
            for event in self._lines(self._path(kind, namespace), query, kind.plural, seconds):
                changed = event.get("object") or {}
                if event.get("type") == "ERROR":
                    raise ApiError(int(changed.get("code") or 500), json.dumps(changed), "watch")
                version = changed["metadata"]["resourceVersion"]
                if event["type"] == "BOOKMARK":
                    continue
                name = changed["metadata"]["name"]
                if event["type"] == "DELETED":
                    known.pop(name, None)
                else:
                    known[name] = changed
                yield dict(known)
            if deadline is not None and self._clock() >= deadline:
                return

    def _lines(
        self, path: str, query: dict[str, str], what: str, seconds: int
    ) -> Iterator[dict[str, Any]]:
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds + 15)
        response = self._send("GET", path, what, query=query, timeout=timeout)
        pending = b""
        try:
            for chunk in response.stream(65536, decode_content=True):
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        except urllib3.exceptions.HTTPError as problem:
            raise UnreachableError(f"the watch of {what} broke: {problem}") from problem
        finally:
            response.close()

    def _list(
        self, kind: Kind, namespace: str | None, selectors: dict[str, str]
    ) -> tuple[list[Object], str]:
        items: list[Object] = []
        query = {**selectors, "limit": "500"}
        while True:
            page = self._json("GET", self._path(kind, namespace), kind.plural, query=query)
            items += page.get("items") or []
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return items, str(meta.get("resourceVersion") or "")
            query["continue"] = meta["continue"]

    def _path(self, kind: Kind, namespace: str | None, name: str = "") -> str:
        parts = [kind.path]
        if kind.namespaced and namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(kind.plural)
        if name:
            parts.append(quote(name, safe=""))
        return "/".join(parts)

    def _json(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        response = self._send(
            method,
            path,
            what,
            query=query or {},
            timeout=timeout,
            body=body,
            content_type=content_type,
        )
        try:
            return cast(Object, json.loads(response.data))
        except urllib3.exceptions.HTTPError as problem:
            raise UnreachableError(f"{self.server} broke off: {problem}") from problem
        except ValueError as problem:
            raise UnreachableError(
                f"{self.server} does not speak as a Kubernetes API: {what}"
            ) from problem

    def _send(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: dict[str, str],
        timeout: urllib3.Timeout,
        body: Object | None = None,
        content_type: str = "",
    ) -> urllib3.BaseHTTPResponse:
        url, headers = self.authorised(method, path, list(query.items()))
        headers["Accept"] = "application/json"
        if body is not None:
            headers["Content-Type"] = content_type
        pool = cast(urllib3.PoolManager, self.client.rest_client.pool_manager)
        try:
            response = pool.request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=timeout,
                preload_content=False,
            )
            if response.status >= 400:
                raise ApiError(response.status, response.data, what)
        except urllib3.exceptions.HTTPError as problem:
            raise UnreachableError(
                f"{self.server} does not answer: {_root_cause(problem)}"
            ) from problem
        except ValueError:
            # its text holds the token
            raise CliError(
                Exit.CLUSTER,
                "the credentials of the kubeconfig hold a line break, or a letter that cannot be "
                "sent: write them anew",
            ) from None
        return response

    def authorised(
        self, method: str, path: str, query: list[tuple[str, str]]
    ) -> tuple[str, dict[str, str]]:
        """Give the whole URL of a request, and the headers that say who asks."""
        _, url, headers, _, _ = self.client.param_serialize(
            method, path, query_params=query, header_params={}, auth_settings=["BearerToken"]
        )
        return str(url), dict(headers)


def may_pass(problem: UnreachableError | ApiError, seconds: float) -> bool:
    """Whether a failure that has lasted so long is worth another try.

    An API server that has just started knows neither rights nor our kinds for a moment.
    """
    if isinstance(problem, UnreachableError) or problem.status == 429 or problem.status >= 500:
        return True
    return problem.status in (401, 403, 404) and seconds < START_SECONDS


def _selectors(labels: str, fields: str) -> dict[str, str]:
    chosen = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in chosen.items() if value}


def _root_cause(problem: BaseException) -> str:
    """The innermost reason: `connection refused` rather than the name of a pool."""
    reason = getattr(problem, "reason", None)
    inner = reason if isinstance(reason, BaseException) else None
    text = str(inner or problem)
    return text.rpartition(": ")[2] if "[Errno" in text else text

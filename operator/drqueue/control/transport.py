"""Requests to the API server as JSON, through kubernetes.aio's connection, without its models."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode
from urllib.request import getproxies_environment

import aiohttp
from kubernetes.aio import client as kube
from kubernetes.aio import config as kube_config

from drqueue.control import dry_run
from drqueue.control.errors import Passing, from_response
from drqueue.control.limiter import Limiter
from drqueue.control.metrics import Metrics

MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
JSON: Final = "application/json"
METADATA: Final = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
METADATA_LIST: Final = (
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
)
REQUEST_SECONDS: Final = 15.0
"""An idle connection that fell silent costs so long, once. A page of a list takes a second."""
_MUTATING = {"POST", "PUT", "PATCH", "DELETE"}
_METHODS = {
    "create": "POST",
    "get": "GET",
    "list": "GET",
    "apply": "PATCH",
    "patch": "PATCH",
    "update": "PUT",
    "delete": "DELETE",
}


async def connect(kubeconfig: Path | None = None) -> kube.ApiClient:
    """A connection by that kubeconfig's current context; without one, as the pod's service account,
    or by KUBECONFIG.

    The account's token is read again every minute, for the kubelet replaces it within the hour.
    """
    configuration = kube.Configuration()
    named = kubeconfig or os.environ.get("KUBECONFIG")
    if named is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        kube_config.load_incluster_config(client_configuration=configuration)
    else:
        config_file = str(named) if named else None
        await kube_config.load_kube_config(config_file, client_configuration=configuration)
    # aiohttp looks for proxies anew at each request: not where there are none
    configuration.client_session_kwargs = {"trust_env": bool(getproxies_environment())}
    api = kube.ApiClient(configuration)
    api.user_agent = "drqueue-operator"
    return api


class Requests(Protocol):
    """What the client needs of a transport; tests put a fake in its place."""

    async def request(
        self,
        verb: str,
        kind: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> dict[str, Any]:
        """Send a request and answer the object it returned; raises the sorted errors."""


class Transport:
    """One connection pool to the API server: bounded in rate, counted, with sorted errors."""

    def __init__(
        self,
        api: kube.ApiClient,
        limiter: Limiter,
        metrics: Metrics,
        may_act: Callable[[], bool] = lambda: True,
        seconds: float = REQUEST_SECONDS,
        *,
        rehearse: bool = False,
    ) -> None:
        """With `rehearse`, the API server stores nothing of what is written."""
        self._api = api
        self._limiter = limiter
        self._metrics = metrics
        self._may_act = may_act
        self._seconds = seconds
        self._rehearse = rehearse

    async def request(
        self,
        verb: str,
        kind: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> dict[str, Any]:
        """Send a request and answer the object it returned; raises the sorted errors."""
        method = _METHODS[verb]
        what = f"{verb} {path}"
        await self._limiter.wait()
        if method in _MUTATING and not self._may_act():
            raise Passing(f"{what}: the Lease is no longer surely held, so nothing is written")
        if method in _MUTATING and self._rehearse and kind not in dry_run.REALLY_WRITTEN:
            query, body = dry_run.rehearsed(verb, query, body)
        headers = {"Accept": accept, "Content-Type": content_type}
        headers["User-Agent"] = self._api.user_agent
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path + ("?" + urlencode(query) if query else "")
        status = 0
        try:
            response = await self._api.call_api(
                method, url, header_params=headers, body=body, _request_timeout=self._seconds
            )
            status = response.status
            text = await response.read()
            retry_after = response.getheader("Retry-After")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Passing(f"{what}: {str(error) or type(error).__name__}") from error
        finally:
            self._metrics.requested(verb, kind, status)
        if status < 300:
            answer: dict[str, Any] = json.loads(text)
            return answer
        raise self._refused(status, text, retry_after, what)

    def _refused(self, status: int, text: bytes, retry_after: str | None, what: str) -> Exception:
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        error = from_response(status, body if isinstance(body, dict) else None, retry_after, what)
        if status == 429 and isinstance(error, Passing):
            self._limiter.pause(error.retry_after or 1.0)
        return error

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

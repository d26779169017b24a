"""Creates and edits our kinds on a real API server, and keeps what it said."""

import json
from typing import Any

from drqueue.api import GROUP, VERSION
from kubernetes import client

from tests.manifests import PLURALS, Manifest


class Admission:
    """Creates and edits our kinds, and tells what the API server said."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._objects = client.CustomObjectsApi(api)
        self._namespace = namespace

    def _where(self, kind: str) -> tuple[str, ...]:
        if kind == "RenderNodeClass":
            return (GROUP, VERSION, PLURALS[kind])
        return (GROUP, VERSION, self._namespace, PLURALS[kind])

    def _call(self, verb: str, kind: str) -> Any:
        scope = "cluster" if kind == "RenderNodeClass" else "namespaced"
        first, _, rest = verb.partition("_")
        return getattr(self._objects, f"{first}_{scope}_custom_object{'_' + rest if rest else ''}")

    def create(self, body: Manifest, **options: Any) -> str:
        """Create an object; gives nothing, or the refusal's message."""
        try:
            self._call("create", body["kind"])(*self._where(body["kind"]), body, **options)
        except client.ApiException as error:
            return _refusal(error)
        return ""

    def patch(self, kind: str, name: str, change: Manifest, subresource: str = "") -> str:
        """Merge a change into an object; gives nothing, or the refusal's message."""
        verb = f"patch_{subresource}" if subresource else "patch"
        try:
            self._call(verb, kind)(*self._where(kind), name, change)
        except client.ApiException as error:
            return _refusal(error)
        return ""

    def get(self, kind: str, name: str) -> Manifest:
        """Read an object as the API server stored it."""
        found: Manifest = self._call("get", kind)(*self._where(kind), name)
        return found

    def delete(self, kind: str, name: str) -> None:
        """Delete an object."""
        self._call("delete", kind)(*self._where(kind), name)


def _refusal(error: client.ApiException) -> str:
    if error.status not in (400, 422):
        raise error
    message: str = json.loads(error.body)["message"]
    return message

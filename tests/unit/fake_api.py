"""An API server in memory: create, get, update, list of whole objects, with resourceVersions."""

import copy
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from drqueue.control.errors import AlreadyExists, Conflict, NotFound
from drqueue.control.kinds import KINDS, Key, Object


class FakeApi:
    """Stands in for `drqueue.control.transport.Transport`."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.before: dict[str, Callable[[], Any]] = {}
        """By verb: called once, just before the next such request is answered."""
        self.fail: dict[str, Exception] = {}
        """By verb: raised until taken out."""
        self._version = 0

    async def request(
        self,
        verb: str,
        kind: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "",
        accept: str = "",
    ) -> dict[str, Any]:
        self.requests.append((verb, path, copy.deepcopy(body)))
        self.before.pop(verb, lambda: None)()
        if verb in self.fail:
            raise self.fail[verb]
        key = _key(kind, path, body)
        if verb == "create" and key in self.objects:
            raise AlreadyExists(f"{key} is there", status=409)
        if verb != "create" and key not in self.objects:
            raise NotFound(f"{key} is not there", status=404)
        if verb == "get":
            return copy.deepcopy(self.objects[key])
        return self._write(key, verb, body)

    def _write(self, key: Key, verb: str, body: Object) -> Object:
        wanted = body["metadata"].get("resourceVersion")
        if verb == "update":
            held = self.objects[key]["metadata"]["resourceVersion"]
            if wanted is not None and wanted != held:
                raise Conflict(f"{key} is at {held}, not {wanted}", status=409)
        self._version += 1
        obj = copy.deepcopy(body)
        obj["metadata"] |= {"resourceVersion": str(self._version)}
        obj["metadata"].setdefault("uid", f"uid-{self._version}")
        self.objects[key] = obj
        return copy.deepcopy(obj)


def _key(kind: str, path: str, body: Any) -> Key:
    parts = [unquote(part) for part in path.split("/")]
    after = parts[parts.index(KINDS[kind].plural) + 1 :]
    namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else None
    return Key(kind, namespace, after[0] if after else body["metadata"]["name"])

"""An API server in memory: whole objects, with resourceVersions, UIDs and finalizers. Nothing is
validated, and nothing is collected with its owner."""

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
        """By verb, or by verb and kind as in "create Pod": raised until taken out."""
        self.now = "2026-11-25T12:00:00Z"
        """When what is created and deleted is so, by this server's clock."""
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
        for asked in (verb, f"{verb} {kind}"):
            if asked in self.fail:
                raise self.fail[asked]
        if verb == "list":
            return self._list(kind, path, query or {})
        key = _key(kind, path, body)
        if verb == "create" and key in self.objects:
            raise AlreadyExists(f"{key} is there", status=409)
        if verb not in ("create", "apply") and key not in self.objects:
            raise NotFound(f"{key} is not there", status=404)
        if verb == "get":
            return copy.deepcopy(self.objects[key])
        if verb == "delete":
            return self._delete(key, body)
        held = self.objects.get(key)
        if verb == "update" and path.endswith("/status"):
            assert held is not None
            body = {
                **held,
                "status": body["status"],
                "metadata": held["metadata"] | body["metadata"],
            }
        elif verb in ("patch", "apply"):
            body = _merged(held or {}, body)
        return self._write(key, body)

    def _write(self, key: Key, body: Object) -> Object:
        held, obj = self.objects.get(key), copy.deepcopy(body)
        meta = obj["metadata"]
        if held is not None:
            version, wanted = held["metadata"]["resourceVersion"], meta.get("resourceVersion")
            if wanted not in (None, version):
                raise Conflict(f"{key} is at {version}, not {wanted}", status=409)
        self._version += 1
        meta |= {"resourceVersion": str(self._version)}
        meta.setdefault("uid", f"uid-{self._version}")
        meta.setdefault("creationTimestamp", self.now)
        if "deletionTimestamp" in meta and not meta.get("finalizers"):
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj
        return copy.deepcopy(obj)

    def _delete(self, key: Key, options: Object) -> Object:
        """A pod goes at once too: its kubelet is quick."""
        held = self.objects[key]
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted not in (None, held["metadata"]["uid"]):
            raise Conflict(f"the UID in the precondition is not {key}'s", status=409)
        if not held["metadata"].get("finalizers"):
            del self.objects[key]
            return {"kind": "Status", "status": "Success"}
        meta = {"deletionTimestamp": self.now, **held["metadata"]}
        return self._write(key, {**held, "metadata": meta})

    def _list(self, kind: str, path: str, query: Mapping[str, str]) -> Object:
        _, namespace, _ = _key(kind, f"{path}/any", None)
        label, _, value = query.get("labelSelector", "").partition("=")
        items = [
            copy.deepcopy(obj)
            for key, obj in self.objects.items()
            if key.kind == kind
            and namespace in (None, key.namespace)
            and (not label or (obj["metadata"].get("labels") or {}).get(label) == value)
        ]
        return {"metadata": {"resourceVersion": str(self._version)}, "items": items}


def _merged(old: Any, patch: Any) -> Any:
    """A JSON merge patch, applied."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = _merged(kept.get(name), value)
    return kept


def _key(kind: str, path: str, body: Any) -> Key:
    parts = [unquote(part) for part in path.split("/")]
    after = parts[parts.index(KINDS[kind].plural) + 1 :]
    namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else None
    return Key(kind, namespace, after[0] if after else body["metadata"]["name"])

"""Kubernetes by raw JSON: few methods, sorted errors, a bounded rate, and a store kept fresh."""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from drqueue.api.names import FIELD_MANAGER
from drqueue.control.dry_run import Rehearsal
from drqueue.control.errors import Conflict, NotFound
from drqueue.control.kinds import Key, Object, Objects, key_of, kind_of
from drqueue.control.store import version_of
from drqueue.control.transport import (
    APPLY_PATCH,
    JSON,
    MERGE_PATCH,
    METADATA,
    METADATA_LIST,
    Requests,
)

PAGE = 500
_ANOTHER = re.compile("UID in (the )?precondition")


class Client:
    """Speaks to the API server. Every answer of a write goes into the store at once.

    All methods raise the sorted errors of `drqueue.control.errors`.
    """

    def __init__(
        self,
        transport: Requests,
        heard: Callable[[Object, bool], None] = lambda obj, deleted: None,
        absent: Callable[[Key, str | None], object] = lambda key, uid: None,
        rehearsal: Rehearsal | None = None,
    ) -> None:
        """`heard(object, deleted)` takes in what writes answer, `absent(key, uid)` a 404. With a
        `rehearsal`, the transport stores nothing, and so no answer of a write is taken in."""
        self._transport = transport
        self._heard = heard
        self._absent = absent
        self._rehearsal = rehearsal

    async def get(self, key: Key) -> Object:
        """The object as it is now. Raises NotFound."""
        return await self._one("get", key)

    async def get_metadata(self, key: Key) -> Object:
        """Kind and metadata only: for Secrets and ConfigMaps that need not be read."""
        answer = await self._one("get", key, accept=METADATA)
        return {
            "apiVersion": kind_of(key.kind).api_version,
            "kind": key.kind,
            "metadata": answer["metadata"],
        }

    async def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> Objects:
        """All objects of a kind as they are now; `labels` and `fields` are selectors."""
        pages = self.pages(kind, namespace, labels=labels, fields=fields)
        return [obj async for page, _ in pages for obj in page]

    async def pages(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        metadata_only: bool = False,
        limit: int = PAGE,
    ) -> AsyncIterator[tuple[Objects, int]]:
        """The same page by page, each with the resourceVersion of the one list they are from.

        Raises Conflict when the list became too old in mid way: begin again.
        """
        where = kind_of(kind)
        query = {"limit": str(limit)}
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        while True:
            answer = await self._transport.request(
                "list",
                kind,
                where.path(namespace),
                query=query,
                accept=METADATA_LIST if metadata_only else JSON,
            )
            items = answer.get("items") or []
            for item in items:
                item["kind"], item["apiVersion"] = kind, where.api_version
            yield items, version_of(answer)
            proceed = answer["metadata"].get("continue")
            if not proceed:
                return
            query["continue"] = proceed

    async def create(self, obj: Object) -> Object:
        """POST; answers what the server made of it. Raises AlreadyExists."""
        key = key_of(obj)
        answer = await self._transport.request(
            "create",
            key.kind,
            kind_of(key.kind).path(key.namespace),
            query={"fieldManager": FIELD_MANAGER},
            body=obj,
        )
        return self._took("create", answer)

    async def apply(self, obj: Object) -> Object:
        """Server-side apply, by force, as our field manager; creates what is absent."""
        answer = await self._one(
            "apply",
            key_of(obj),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=obj,
            content_type=APPLY_PATCH,
        )
        return self._took("apply", answer)

    async def update_status(self, obj: Object, status: Mapping[str, Any]) -> Object:
        """Write the whole status, under the resourceVersion of `obj`. Raises Conflict, NotFound.

        A status equal to the one in `obj` is not written: `obj` comes back. So it does in a dry
        run, in which no transition ever is over: what follows from one would follow for ever.
        """
        if obj.get("status", {}) == status:
            return obj
        meta = obj["metadata"]
        identity = ("name", "namespace", "uid", "resourceVersion")
        body = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "metadata": {name: meta[name] for name in identity if name in meta},
            "spec": obj.get("spec", {}),
            "status": status,
        }
        answer = await self._one(
            "update", key_of(obj), "status", query={"fieldManager": FIELD_MANAGER}, body=body
        )
        if self._rehearsal is not None:
            self._rehearsal.status(obj, status)
            return obj
        return self._took("update", answer)

    async def patch(
        self, key: Key, patch: Mapping[str, Any], resource_version: str | None = None
    ) -> Object:
        """JSON merge patch; with a resource_version, raises Conflict if it is another by now."""
        body: dict[str, Any] = dict(patch)
        if resource_version is not None:
            body["metadata"] = {**body.get("metadata", {}), "resourceVersion": resource_version}
        answer = await self._one(
            "patch",
            key,
            query={"fieldManager": FIELD_MANAGER},
            body=body,
            content_type=MERGE_PATCH,
        )
        return self._took("patch", answer, patch)

    async def add_finalizer(self, obj: Object, finalizer: str) -> Object:
        """Under resourceVersion. Without a request where it is there already."""
        finalizers = obj["metadata"].get("finalizers") or []
        if finalizer in finalizers:
            return obj
        return await self._set_finalizers(obj, [*finalizers, finalizer])

    async def remove_finalizer(self, obj: Object, finalizer: str) -> None:
        """Under resourceVersion. Fine where it, or the object, is gone already."""
        finalizers = obj["metadata"].get("finalizers") or []
        if finalizer not in finalizers:
            return
        try:
            await self._set_finalizers(obj, [name for name in finalizers if name != finalizer])
        except NotFound:
            return

    async def _set_finalizers(self, obj: Object, finalizers: Sequence[str]) -> Object:
        patch = {"metadata": {"uid": obj["metadata"]["uid"], "finalizers": finalizers}}
        return await self.patch(key_of(obj), patch, obj["metadata"]["resourceVersion"])

    async def delete(
        self,
        key: Key,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
    ) -> bool:
        """Delete; False if it was gone already. With `uid`, another object of that name is left
        alone (False too). With `resource_version`, raises Conflict if it is another by now."""
        wanted = {"uid": uid, "resourceVersion": resource_version}
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        body["propagationPolicy"] = "Background"
        if any(wanted.values()):
            body["preconditions"] = {name: value for name, value in wanted.items() if value}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            answer = await self._one("delete", key, body=body)
        except NotFound:
            return False
        except Conflict as error:
            if uid is not None and _ANOTHER.search(error.message):
                self._absent(key, uid)
                return False
            raise
        if self._rehearsal is not None:
            whole = answer.get("kind") == key.kind
            self._rehearsal.would("delete", answer if whole else _gone(key, uid))
        elif answer.get("kind") == key.kind:
            self._took("delete", answer)
        else:  # a Status: nothing held it, it is gone
            self._absent(key, uid or (answer.get("details") or {}).get("uid"))
        return True

    async def _one(self, verb: str, key: Key, sub: str = "", **how: Any) -> Object:
        path = kind_of(key.kind).path(key.namespace, key.name, sub)
        try:
            return await self._transport.request(verb, key.kind, path, **how)
        except NotFound as error:
            if not sub and verb != "apply" and error.status == 404:
                self._absent(key, None)
            raise

    def _took(self, verb: str, obj: Object, change: Mapping[str, Any] | None = None) -> Object:
        """Hand what a write answered to the store; an object without finalizers that was being
        deleted is gone with this answer."""
        if self._rehearsal is not None:
            self._rehearsal.would(verb, obj, change)
            return obj
        meta = obj["metadata"]
        gone = "deletionTimestamp" in meta and not meta.get("finalizers")
        deleted = gone and obj["kind"] != "Pod"  # a pod goes when its kubelet says so
        self._heard(obj, deleted)
        return obj


def _gone(key: Key, uid: str | None) -> Object:
    """What is known of an object whose deletion answered no more than that."""
    metadata = {"name": key.name, "namespace": key.namespace, "uid": uid}
    return {"apiVersion": kind_of(key.kind).api_version, "kind": key.kind, "metadata": metadata}

"""Kubernetes by raw JSON: few methods, sorted errors, a bounded rate, and a store kept fresh."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from drqueue.control.kinds import Key, Object, Objects


class Client:
    """Speaks to the API server. Every answer of a write goes into the store at once.

    All methods raise the sorted errors of `drqueue.control.errors`.
    """

    async def get(self, key: Key) -> Object:
        """The object as it is now. Raises NotFound."""
        raise NotImplementedError

    async def get_metadata(self, key: Key) -> Object:
        """Kind and metadata only: for Secrets and ConfigMaps that need not be read."""
        raise NotImplementedError

    async def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> Objects:
        """All objects of a kind as they are now; `labels` and `fields` are selectors."""
        raise NotImplementedError

    def pages(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        metadata_only: bool = False,
        limit: int = 500,
    ) -> AsyncIterator[Objects]:
        """The same, page by page, from one consistent list."""
        raise NotImplementedError

    async def create(self, obj: Object) -> Object:
        """POST; answers what the server made of it. Raises AlreadyExists."""
        raise NotImplementedError

    async def apply(self, obj: Object) -> Object:
        """Server-side apply, by force, as our field manager; creates what is absent."""
        raise NotImplementedError

    async def update_status(self, obj: Object, status: Mapping[str, Any]) -> Object:
        """Write the whole status, under the resourceVersion of `obj`. Raises Conflict, NotFound.

        A status equal to the one in `obj` is not written: `obj` comes back.
        """
        raise NotImplementedError

    async def patch(
        self, key: Key, patch: Mapping[str, Any], resource_version: str | None = None
    ) -> Object:
        """JSON merge patch; with a resource_version, raises Conflict if it is another by now."""
        raise NotImplementedError

    async def add_finalizer(self, obj: Object, finalizer: str) -> Object:
        """Under resourceVersion. Without a request where it is there already."""
        raise NotImplementedError

    async def remove_finalizer(self, obj: Object, finalizer: str) -> None:
        """Under resourceVersion. Fine where it, or the object, is gone already."""
        raise NotImplementedError

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
        raise NotImplementedError

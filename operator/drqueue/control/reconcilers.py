"""The reconcilers by kind, and the providers of nodes by the name of their block in a class."""

from collections.abc import Mapping
from typing import Any

from drqueue.api.names import LABEL_COMPONENT
from drqueue.control.account import AccountReconciler
from drqueue.control.client import Client
from drqueue.control.context import Reconcile
from drqueue.control.errors import AlreadyExists, NotFound
from drqueue.control.job import JobReconciler
from drqueue.control.kinds import Key, Object, key_of
from drqueue.control.node import NodeReconciler
from drqueue.control.nodeclass import NodeClassReconciler
from drqueue.control.payment import PaymentReconciler
from drqueue.control.session import SessionReconciler
from drqueue.control.settings import Settings
from drqueue.control.store import Store
from drqueue.providers.base import Provider
from drqueue.providers.kubernetes import KubernetesNodes
from drqueue.providers.slave_pod import CONTAINER, SlaveDefaults

RECONCILERS: Mapping[str, Reconcile] = {
    "RenderSession": SessionReconciler(),
    "RenderJob": JobReconciler(),
    "RenderNode": NodeReconciler(),
    "RenderNodeClass": NodeClassReconciler(),
    "RenderAccount": AccountReconciler(),
    "RenderPayment": PaymentReconciler(),
}


def providers(client: Client, settings: Settings, store: Store) -> Mapping[str, Provider]:
    """All providers there are."""
    defaults = SlaveDefaults(settings.slave_image, settings.image_pull_secrets)
    return {"kubernetes": KubernetesNodes(StoredPods(client, store), defaults)}


class StoredPods:
    """Pods for the provider: read from the store, written by the client."""

    def __init__(self, client: Client, store: Store) -> None:
        self._client = client
        self._store = store

    def known(self, namespace: str, name: str) -> Object | None:
        """The pod as last heard, without a request."""
        return self._store.get(Key("Pod", namespace, name))

    async def read(self, namespace: str, name: str) -> Object | None:
        """The pod as it is now; None where there is none."""
        try:
            return await self._client.get(Key("Pod", namespace, name))
        except NotFound:
            return None

    async def create(self, pod: dict[str, Any]) -> bool:
        """Create it; False where the name is taken."""
        try:
            await self._client.create(pod)
        except AlreadyExists:
            return False
        return True

    async def delete(self, pod: Mapping[str, Any], grace_seconds: int) -> None:
        """Delete this very pod (by UID)."""
        key, uid = key_of(pod), pod["metadata"]["uid"]
        await self._client.delete(key, uid=uid, grace_seconds=grace_seconds)

    async def remove_finalizer(self, pod: Mapping[str, Any], finalizer: str) -> None:
        """Take one finalizer off."""
        await self._client.remove_finalizer(dict(pod), finalizer)

    def all(self) -> list[Mapping[str, Any]]:
        """All slaves' pods, as last heard."""
        return [
            pod
            for pod in self._store.iterate("Pod")
            if (pod["metadata"].get("labels") or {}).get(LABEL_COMPONENT) == CONTAINER
        ]

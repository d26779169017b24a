"""Nodes as pods of this cluster."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from drqueue.api.names import (
    LABEL_COMPONENT,
    LABEL_NODE,
    LABEL_NODE_UID,
    LABEL_SESSION,
    LABEL_SESSION_UID,
    POD_FINALIZER,
)
from drqueue.providers.base import Launch, NameTakenError, NodeId, Observation
from drqueue.providers.pod_status import is_overdue, observe_pod
from drqueue.providers.slave_pod import CONTAINER, SlaveDefaults, slave_pod


class Pods(Protocol):
    """What the provider needs of Kubernetes; the operator has it over its client and store."""

    def known(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The pod as last heard, without a request."""
        ...

    async def read(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The pod as it is now; None where there is none."""
        ...

    async def create(self, pod: dict[str, Any]) -> bool:
        """Create it; False where the name is taken."""
        ...

    async def delete(self, pod: Mapping[str, Any], grace_seconds: int) -> None:
        """Delete this very pod (by UID)."""
        ...

    async def remove_finalizer(self, pod: Mapping[str, Any], finalizer: str) -> None:
        """Take one finalizer off."""
        ...

    def all(self) -> list[Mapping[str, Any]]:
        """All pods of ours, as last heard."""
        ...


class KubernetesNodes:
    """The provider `kubernetes`: a node is a pod of its own name, in its own namespace."""

    def __init__(self, pods: Pods, defaults: SlaveDefaults) -> None:
        self._pods = pods
        self._defaults = defaults

    async def launch(self, launch: Launch) -> None:
        """Create the pod; fine when it is there already. Raises NameTakenError."""
        if await self._pods.create(slave_pod(launch, self._defaults)):
            return
        pod = await self._pods.read(launch.node.namespace, launch.node.name)
        if pod is not None and not _belongs(pod, launch.node):
            name = launch.node.name
            raise NameTakenError(f"a pod {name} that is not this node's is there: it has to go")

    async def observe(self, node: NodeId, now: datetime) -> Observation | None:
        """Read the pod as last heard; asks the API server only when none is known."""
        pod = self._pods.known(node.namespace, node.name)
        return observe_pod(pod, now) if pod is not None and _belongs(pod, node) else None

    async def is_gone(self, node: NodeId) -> bool:
        """Ask the API server whether there is no pod of this node."""
        pod = await self._pods.read(node.namespace, node.name)
        return pod is None or not _belongs(pod, node)

    async def stop(self, node: NodeId, grace: timedelta) -> None:
        """Delete the pod. Its finalizer keeps it readable until the end is recorded."""
        pod = self._pods.known(node.namespace, node.name)
        if pod is not None and _belongs(pod, node):
            await self._pods.delete(pod, int(grace.total_seconds()))

    async def release(self, node: NodeId, now: datetime) -> None:
        """Take our finalizer off, and see that the pod goes."""
        pod = self._pods.known(node.namespace, node.name)
        if pod is None or not _belongs(pod, node):
            return
        if "deletionTimestamp" not in pod["metadata"]:
            await self._pods.delete(pod, 1)
        elif is_overdue(pod, now):
            # its kubelet is silent, so that nobody else takes it away
            await self._pods.delete(pod, 0)
        # the deletion made another version of it
        pod = self._pods.known(node.namespace, node.name)
        if (
            pod is not None
            and _belongs(pod, node)
            and POD_FINALIZER in (pod["metadata"].get("finalizers") or ())
        ):
            await self._pods.remove_finalizer(pod, POD_FINALIZER)

    def orphan(self, namespace: str, name: str) -> NodeId | None:
        """The pod of a node that does not exist any more."""
        pod = self._pods.known(namespace, name)
        return _node_of(pod) if pod is not None else None

    async def list(self) -> list[NodeId]:
        """All slaves' pods, as last heard."""
        return [node for pod in self._pods.all() if (node := _node_of(pod)) is not None]


def _node_of(pod: Mapping[str, Any]) -> NodeId | None:
    meta = pod["metadata"]
    marks = meta.get("labels") or {}
    if marks.get(LABEL_COMPONENT) != CONTAINER:
        return None
    return NodeId(
        namespace=meta["namespace"],
        name=marks.get(LABEL_NODE, meta["name"]),
        uid=marks.get(LABEL_NODE_UID, ""),
        session_name=marks.get(LABEL_SESSION, ""),
        session_uid=marks.get(LABEL_SESSION_UID, ""),
    )


def _belongs(pod: Mapping[str, Any], node: NodeId) -> bool:
    return bool((pod["metadata"].get("labels") or {}).get(LABEL_NODE_UID) == node.uid)

"""The kinds that the operator speaks of, and the keys that name their objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from drqueue.api import GROUP, VERSION

Object = dict[str, Any]
"""An object as Kubernetes' JSON has it."""
Objects = list[Object]


class Key(NamedTuple):
    """Names one object. `namespace` is None for cluster-scoped kinds."""

    kind: str
    namespace: str | None
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


@dataclass(frozen=True)
class Kind:
    """Where a kind lives in the API."""

    name: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The apiVersion that its objects carry."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, sub: str = "") -> str:
        """The URL path of one object, or of a namespace's (None: the cluster's) collection."""
        parts = ["apis", self.group] if self.group else ["api"]
        parts.append(self.version)
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, sub) if part]
        return "/" + "/".join(quote(part, safe="") for part in parts)


def _ours(name: str, plural: str, namespaced: bool = True) -> Kind:
    return Kind(name, plural, GROUP, VERSION, namespaced)


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        _ours("RenderSession", "rendersessions"),
        _ours("RenderJob", "renderjobs"),
        _ours("RenderNode", "rendernodes"),
        _ours("RenderNodeClass", "rendernodeclasses", namespaced=False),
        _ours("RenderAccount", "renderaccounts"),
        _ours("RenderPayment", "renderpayments"),
        _ours("RenderInvoice", "renderinvoices"),
        Kind("Pod", "pods"),
        Kind("Service", "services"),
        Kind("Secret", "secrets"),
        Kind("ConfigMap", "configmaps"),
        Kind("PersistentVolumeClaim", "persistentvolumeclaims"),
        Kind("Namespace", "namespaces", namespaced=False),
        Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io"),
        Kind("StorageClass", "storageclasses", "storage.k8s.io", namespaced=False),
        Kind("Event", "events", "events.k8s.io"),
        Kind("Lease", "leases", "coordination.k8s.io"),
    )
}

RECONCILED: Final = ("RenderSession", "RenderJob", "RenderNode", "RenderNodeClass")
"""The kinds that have a reconciler; watched and swept whole."""
BOOKS: Final = ("RenderAccount", "RenderPayment")
"""The same, in the billing namespace only. Invoices are not kept: who needs one reads it."""
CHILDREN: Final = ("Pod", "PersistentVolumeClaim")
"""Watched and swept whole, but only those with our managed-by label."""
PARTS: Final = ("Secret", "Service", "NetworkPolicy")
"""Swept as metadata only (no data, no spec), and only those with our managed-by label."""


def kind_of(name: str) -> Kind:
    """The kind of that name; raises KeyError for one the operator does not know."""
    return KINDS[name]


def key_of(obj: Mapping[str, Any]) -> Key:
    """The key of an object that carries its kind."""
    meta = obj["metadata"]
    return Key(obj["kind"], meta.get("namespace"), meta["name"])

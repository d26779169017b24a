"""The kinds of objects that this program asks the API for."""

from dataclasses import dataclass
from typing import Any

from drqueue.api import API_VERSION
from drqueue.api.account import RenderAccount
from drqueue.api.base import Resource
from drqueue.api.invoice import RenderInvoice
from drqueue.api.job import RenderJob
from drqueue.api.node import RenderNode
from drqueue.api.nodeclass import RenderNodeClass
from drqueue.api.payment import RenderPayment
from drqueue.api.session import RenderSession

Object = dict[str, Any]
"""An object as the API gives it."""


@dataclass(frozen=True)
class Kind:
    """Where the API keeps objects of a kind, and what people call one."""

    path: str
    plural: str
    word: str
    namespaced: bool = True

    @classmethod
    def of(cls, resource: type[Resource], word: str) -> "Kind":
        """The kind of one of our own resources."""
        return cls(f"/apis/{API_VERSION}", resource.plural, word, resource.namespaced)


SESSION = Kind.of(RenderSession, "session")
JOB = Kind.of(RenderJob, "job")
NODE = Kind.of(RenderNode, "node")
NODE_CLASS = Kind.of(RenderNodeClass, "node class")
POD = Kind("/api/v1", "pods", "pod")
EVENT = Kind("/api/v1", "events", "event")
CONFIG_MAP = Kind("/api/v1", "configmaps", "ConfigMap")
ACCOUNT = Kind.of(RenderAccount, "account")
PAYMENT = Kind.of(RenderPayment, "payment")
INVOICE = Kind.of(RenderInvoice, "invoice")

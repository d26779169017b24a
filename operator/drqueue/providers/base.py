"""What every provider of nodes does, and the words in which it says what it sees."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from drqueue.api.nodeclass import Provider as ProviderBlock


class NameTakenError(Exception):
    """Something that is not this node's has the name that it needs; it may go away."""


@dataclass(frozen=True)
class NodeId:
    """A node as its provider must know it: what is outside is tagged with both UIDs."""

    namespace: str
    name: str
    uid: str
    session_name: str
    session_uid: str


@dataclass(frozen=True)
class Launch:
    """All that a slave needs to start."""

    node: NodeId
    provider: ProviderBlock
    renderers: tuple[str, ...]
    pools: tuple[str, ...]
    os: str
    drain_grace: timedelta
    claim_name: str
    one_machine: bool
    """The volume can be mounted on one machine only: keep to the session's other pods."""
    master_url: str
    owner_reference: Mapping[str, object]


@dataclass(frozen=True)
class Trouble:
    """Why a node does not get ready, in a condition's words."""

    reason: str
    message: str


EndCause = Literal["exited", "failed", "taken"]
"""Ended by itself with exit 0; ended with an error; deleted, evicted or lost with its machine."""


@dataclass(frozen=True)
class Observation:
    """What is seen of a node outside. Times are the provider's own, never a tenant's word."""

    provider_id: str
    created_at: datetime
    ready: bool = False
    ready_at: datetime | None = None
    """First Ready, as far as it can still be seen."""
    ended: bool = False
    ended_at: datetime | None = None
    """The end; of one that is lost, its last sign of life."""
    cause: EndCause | None = None
    message: str = ""
    """How it ended: exit code and the like."""
    stops_by: datetime | None = None
    """Its stop was asked for, by us or anyone: when it must have ended."""
    address: str | None = None
    trouble: Trouble | None = None


class Provider(Protocol):
    """A source of nodes. A node is launched once in its life."""

    async def launch(self, launch: Launch) -> None:
        """Start it. Doing so again finds the first one. Raises NameTakenError."""
        ...

    async def observe(self, node: NodeId, now: datetime) -> Observation | None:
        """See how it is; None when there is nothing of it outside."""
        ...

    async def stop(self, node: NodeId, grace: timedelta) -> None:
        """Ask it to end: a block may go on for `grace`. Fine when it has ended already."""
        ...

    async def is_gone(self, node: NodeId) -> bool:
        """Make sure, by asking, that there is nothing of it outside."""
        ...

    async def release(self, node: NodeId, now: datetime) -> None:
        """Let go of what is left of it, once its end is recorded."""
        ...

    def orphan(self, namespace: str, name: str) -> NodeId | None:
        """What is outside by the name of a node that does not exist any more."""
        ...

    async def list(self) -> list[NodeId]:
        """All that there is of ours outside, for the sweep."""
        ...

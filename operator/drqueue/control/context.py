"""What a reconciler is given, and what it gives back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from drqueue.control.client import Client
from drqueue.control.dry_run import Events, Rehearsal
from drqueue.control.kinds import Key
from drqueue.control.launches import Launches
from drqueue.control.masters import Masters
from drqueue.control.queue import WorkQueue
from drqueue.control.settings import Settings
from drqueue.control.shares import Shares
from drqueue.control.store import Store
from drqueue.security.ca import CertificateAuthority


@dataclass(frozen=True)
class Context:
    """The operator's parts."""

    settings: Settings
    client: Client
    store: Store
    queue: WorkQueue
    masters: Masters
    events: Events
    clock: Callable[[], datetime]
    """Now, aware, UTC."""
    ca: CertificateAuthority
    providers: Mapping[str, Any]
    """By the name of the field in `spec.provider`: kubernetes."""
    shares: Shares = field(default_factory=Shares)
    """What sessions claim of their classes."""
    launches: Launches = field(default_factory=Launches)
    """How launching nodes goes."""
    rehearsal: Rehearsal | None = None
    """In a dry run: who tells what would have been done."""


@dataclass(frozen=True)
class Result:
    """How a reconcile ended well: it runs again after `requeue_after` seconds, or on any change."""

    requeue_after: float | None = None


Reconcile = Callable[[Context, Key], Awaitable[Result]]
"""A reconciler. It may run at any time, also for an object that is gone; errors it raises are
sorted by the loop (`drqueue.control.errors`)."""

"""How launching nodes goes, class by class: in memory, and kept in the classes' statuses."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from drqueue.api.values import format_time, parse_time
from drqueue.control.conditions import shortened
from drqueue.control.cooling import Cooling, Room, restored

MOST_TENANTS = 100
"""Tenants, at most, that a class's status remembers."""

Json = dict[str, Any]


def mark(namespace: str) -> str:
    """What a tenant is called here and in a class's status, which all tenants read."""
    return sha256(namespace.encode()).hexdigest()[:16]


class Launches:
    """The streaks of failures of all classes, by tenants' marks. Belongs to one event loop."""

    def __init__(self) -> None:
        self._classes: dict[str, Cooling] = {}
        self._generations: dict[str, tuple[str, int]] = {}

    def look_at(self, node_class: Mapping[str, Any]) -> Cooling:
        """A class's streaks. They are over when the class is edited."""
        meta = node_class["metadata"]
        name, generation = meta["name"], (meta["uid"], meta.get("generation", 0))
        known = self._generations.get(name)
        self._generations[name] = generation
        before = self.of(name)
        if known is None and not before.streaks:
            self._classes[name] = replace(_read(node_class), ready_at=before.ready_at)
        elif known is not None and known != generation:
            self._classes[name] = Cooling()
        return self._classes.setdefault(name, Cooling())

    def of(self, class_name: str) -> Cooling:
        """The streaks of a class of that name, as far as any are known."""
        return self._classes.get(class_name, Cooling())

    def room(self, class_name: str, tenant: str, starting: int, now: datetime) -> Room:
        """What a tenant may launch of a class now."""
        return self.of(class_name).room(tenant, starting, now)

    def note(self, class_name: str, cooling: Cooling) -> bool:
        """Take in how it goes now; tells whether that is news."""
        changed = self.of(class_name) != cooling
        self._classes[class_name] = cooling
        return changed


def _read(node_class: Mapping[str, Any]) -> Cooling:
    launch = (node_class.get("status") or {}).get("launch") or {}
    meta, status = node_class["metadata"], node_class.get("status") or {}
    edited = status.get("observedGeneration") != meta.get("generation")
    if edited or not launch.get("failures") or not launch.get("coolUntil"):
        return Cooling()
    return restored(
        launch["failures"],
        parse_time(launch["coolUntil"]),
        launch.get("tenants") or (),
        launch.get("reason", ""),
        launch.get("message", ""),
        whole_class=launch.get("wholeClass", False),
    )


def as_status(cooling: Cooling) -> Json:
    """The class's status.launch, while there is a streak."""
    return {
        "failures": cooling.failures,
        **({"coolUntil": format_time(cooling.until)} if cooling.until else {}),
        "reason": cooling.reason,
        # words about one tenant's node may hold names of its own: its sessions say them
        **({"message": shortened(cooling.message)} if cooling.whole_class else {}),
        "wholeClass": cooling.whole_class,
        "tenants": sorted(cooling.streaks)[:MOST_TENANTS],
    }

"""What the slave's pod says to it in its environment, and what of that a renderer may see."""

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from drqueue.api.values import parse_quantity
from drqueue.farm.protocol import NodeOffer


class SettingsError(ValueError):
    """A variable that is missing or wrong; the text names it and the remedy."""


@dataclass(frozen=True)
class Settings:
    """A slave's settings. Seconds and bytes; `health` is a host and port."""

    master_url: str
    tls: Path
    work: Path
    offer: NodeOffer
    drain_seconds: float
    health: tuple[str, int]


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the DRQUEUE_ variables. Raises SettingsError."""
    cores = _number(environment, "DRQUEUE_NODE_CORES", float(os.cpu_count() or 1))
    memory = _number(environment, "DRQUEUE_NODE_MEMORY", 0.0)
    host, _, port = environment.get("DRQUEUE_HEALTH", "0.0.0.0:8080").rpartition(":")
    if not port.isdigit():
        raise SettingsError("DRQUEUE_HEALTH: write host:port, as in 0.0.0.0:8080")
    return Settings(
        master_url=_required(environment, "DRQUEUE_MASTER_URL").rstrip("/"),
        tls=Path(environment.get("DRQUEUE_TLS", "/tls")),
        work=Path(environment.get("DRQUEUE_WORK", "/work")),
        offer=NodeOffer(
            cores=cores,
            memory=int(memory),
            os=environment.get("DRQUEUE_NODE_OS", "linux"),
            pools=_names(environment, "DRQUEUE_NODE_POOLS"),
            renderers=_names(environment, "DRQUEUE_NODE_RENDERERS"),
        ),
        drain_seconds=_number(environment, "DRQUEUE_DRAIN_SECONDS", 0.0),
        health=(host, int(port)),
    )


def hide_from_renderers(environment: MutableMapping[str, str]) -> None:
    """Take out of the process's environment, which renderers inherit, all that is the slave's own.

    What a node class adds from a Secret or ConfigMap stays: it is meant for them.
    """
    for name, value in list(environment.items()):
        own = name.startswith(("DRQUEUE_", "KUBERNETES_"))
        if own or _SERVICE_LINK.fullmatch(f"{name}={value}"):
            del environment[name]


_SERVICE_LINK = re.compile(
    r"[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP))?=[a-z]+://.*"
    r"|PORT_\d+_(TCP|UDP|SCTP)_(ADDR|PORT|PROTO))(=.*)?"
)
"""What the kubelet may set to tell of the namespace's Services (enableServiceLinks)."""


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set: the operator sets it in a slave's pod")
    return value


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    try:
        value = float(parse_quantity(text)) if text else default
    except ValueError:
        raise SettingsError(f"{name}={text!r}: write a number of 0 or more") from None
    return value


def _names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in environment.get(name, "").split(",") if part.strip())

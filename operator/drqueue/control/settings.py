"""The operator's settings, from its environment (the chart sets it)."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self


@dataclass(frozen=True)
class Settings:
    """All that can be set. Durations in seconds."""

    namespace: str = "drqueue"
    """The operator's own: its Lease and CA live there."""
    identity: str = "local"
    """Name of this replica in the Lease; no other process may have it at the same time. With the
    pod's name, a container that restarts need not wait out its own Lease."""
    operator_image: str = "drqueue-operator:dev"
    """Image of masters and readers."""
    slave_image: str = "drqueue-slave:dev"
    """Image of slaves, where the class names none."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    """For masters and readers, and for slaves beside their class's; in the session's namespace."""
    storage_class: str | None = None
    """For claims of sessions whose class names none. None: the cluster's default."""
    master_resources: Mapping[str, Any] = field(default_factory=dict)
    """`resources` of the master's container, as in a pod."""
    lease_seconds: float = 60.0
    """A silent slave loses its block after so long."""
    watch_namespaces: tuple[str, ...] = ()
    """Only these namespaces; empty: all."""
    api_qps: float = 500.0
    """Requests a second to the API server, at most, on average."""
    sweep_seconds: float = 300.0
    workers: int = 32
    """Reconciles at the same time."""
    log_format: Literal["json", "plain"] = "json"
    log_level: str = "INFO"
    listen: str = "0.0.0.0:8080"
    """/healthz, /readyz and /metrics."""
    leader_seconds: float = 45.0
    """A silent leader loses the Lease after so long; it renews at a fifth of it. An API server that
    is away for less than three fifths of it costs no leader."""
    master_address: str | None = None
    """Where masters are reached by an operator outside the cluster: `host:port`, in which {name}
    and {namespace} stand for the master's Service. None: the Service's own address."""
    billing_namespace: str = ""
    """Where accounts, payments and invoices are. Empty: there are none, and all render freely."""
    dry_run: bool = False
    """Decide, log and tell by events, but start, stop and write nothing."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read DRQUEUE_*; raises ValueError naming the variable, its value and the remedy."""
        read = _Reader(environ)
        return cls(
            namespace=read.text("NAMESPACE", cls.namespace),
            identity=read.text(
                "IDENTITY", f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
            ),
            operator_image=read.text("OPERATOR_IMAGE", cls.operator_image),
            slave_image=read.text("SLAVE_IMAGE", cls.slave_image),
            image_pull_policy=read.choice(
                "IMAGE_PULL_POLICY", cls.image_pull_policy, ("Always", "IfNotPresent", "Never")
            ),
            image_pull_secrets=read.names("IMAGE_PULL_SECRETS"),
            storage_class=read.text("STORAGE_CLASS", "") or None,
            master_resources=read.json_object("MASTER_RESOURCES"),
            lease_seconds=read.number("LEASE_SECONDS", cls.lease_seconds, least=5),
            watch_namespaces=read.names("WATCH_NAMESPACES"),
            api_qps=read.number("API_QPS", cls.api_qps, least=1),
            sweep_seconds=read.number("SWEEP_SECONDS", cls.sweep_seconds, least=1),
            workers=int(read.number("WORKERS", cls.workers, least=1)),
            log_format="plain"
            if read.choice("LOG_FORMAT", cls.log_format, ("json", "plain")) == "plain"
            else "json",
            log_level=read.choice(
                "LOG_LEVEL", cls.log_level, ("DEBUG", "INFO", "WARNING", "ERROR")
            ),
            listen=read.text("LISTEN", cls.listen),
            leader_seconds=read.number("LEADER_SECONDS", cls.leader_seconds, least=5),
            master_address=read.text("MASTER_ADDRESS", "") or None,
            billing_namespace=read.text("BILLING_NAMESPACE", ""),
            dry_run=read.choice("DRY_RUN", "false", ("true", "false")) == "true",
        )


class _Reader:
    """Variables by their name behind DRQUEUE_; an empty one counts as absent."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        return self._environ.get(f"DRQUEUE_{name}", "").strip() or default

    def names(self, name: str) -> tuple[str, ...]:
        parts = self.text(name, "").split(",")
        return tuple(part.strip() for part in parts if part.strip())

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise ValueError(f"DRQUEUE_{name}={value!r}: write one of {', '.join(choices)}")
        return value

    def number(self, name: str, default: float, least: float) -> float:
        value = self.text(name, str(default))
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not least <= number < 1e9:
            raise ValueError(f"DRQUEUE_{name}={value!r}: write a number of at least {least:g}")
        return number

    def json_object(self, name: str) -> Mapping[str, Any]:
        value = self.text(name, "{}")
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"DRQUEUE_{name}={value!r}: not JSON ({error})") from None
        if not isinstance(parsed, dict):
            raise ValueError(
                f'DRQUEUE_{name}={value!r}: write an object, as in {{"requests": {{}}}}'
            )
        return parsed

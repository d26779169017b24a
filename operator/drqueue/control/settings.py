"""The operator's settings, from its environment (the chart sets it)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Settings:
    """All that can be set. Durations in seconds."""

    namespace: str = "drqueue"
    """The operator's own: its Lease and CA live there."""
    identity: str = "local"
    """Name of this replica in the Lease."""
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
    api_qps: float = 200.0
    """Requests a second to the API server, at most, on average."""
    sweep_seconds: float = 300.0
    workers: int = 16
    """Reconciles at the same time."""
    log_format: Literal["json", "plain"] = "json"
    log_level: str = "INFO"
    port: int = 8080
    """/healthz, /readyz and /metrics."""
    leader_lease_seconds: float = 15.0
    master_address: str | None = None
    """Where masters are reached by an operator outside the cluster: a `host:port` template with
    {name} and {namespace} of the master's Service. None: the Service's own address."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read DRQUEUE_*; raises ValueError naming the variable, its value and the remedy."""
        raise NotImplementedError

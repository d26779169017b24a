"""What the master is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class SettingsError(ValueError):
    """A variable is missing or wrong; the text names it, its value and the remedy."""


@dataclass(frozen=True)
class Settings:
    """Where the master keeps what, and where it listens."""

    session_uid: str
    volume: Path
    tls: Path
    lease_seconds: float
    listen: tuple[str, int]
    health: tuple[str, int]


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the environment. Raises SettingsError."""
    session_uid = environment.get("DRQUEUE_SESSION_UID", "")
    if not session_uid:
        raise SettingsError("DRQUEUE_SESSION_UID is not set: give the RenderSession's UID")
    text = environment.get("DRQUEUE_LEASE_SECONDS", "60")
    try:
        lease_seconds = float(text)
    except ValueError:
        lease_seconds = 0.0
    if not 1 <= lease_seconds <= 86_400:
        raise SettingsError(f"DRQUEUE_LEASE_SECONDS={text!r}: write seconds from 1 to 86400")
    return Settings(
        session_uid=session_uid,
        volume=Path(environment.get("DRQUEUE_VOLUME", "/volume")),
        tls=Path(environment.get("DRQUEUE_TLS", "/tls")),
        lease_seconds=lease_seconds,
        listen=_address(environment, "DRQUEUE_LISTEN", "0.0.0.0:8443"),
        health=_address(environment, "DRQUEUE_HEALTH", "0.0.0.0:8080"),
    )


def _address(environment: Mapping[str, str], name: str, default: str) -> tuple[str, int]:
    text = environment.get(name, default)
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"{name}={text!r}: write host:port, as in {default}")
    return host, int(port)

"""What all of a farm's pods share: restricted, without a token, on the session's volume."""

from collections.abc import Iterable, Mapping
from typing import Any

from drqueue.api.names import (
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_SESSION,
    LABEL_SESSION_UID,
    MANAGED_BY,
)

Json = dict[str, Any]

UID = 10001
"""User, group and fsGroup of all pods of a session, so that each can read what another wrote."""
HEALTH_PORT = 8080
MASTER_PORT = 8443
TLS_PATH = "/tls"


def labels(session_name: str, session_uid: str, component: str) -> dict[str, str]:
    """Labels of every child of a session."""
    return {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_SESSION: session_name,
        LABEL_SESSION_UID: session_uid,
        LABEL_COMPONENT: component,
    }


def pod_security() -> Json:
    """`securityContext` of a pod, within the restricted Pod Security Standard."""
    return {
        "runAsNonRoot": True,
        "runAsUser": UID,
        "runAsGroup": UID,
        "fsGroup": UID,
        # a volume of many frames is not walked at each start
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Json:
    """`securityContext` of a container, likewise."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def environment(values: Mapping[str, str]) -> list[Json]:
    """`env` of a container, with a home that can be written to."""
    return [
        {"name": name, "value": value}
        for name, value in {"HOME": "/tmp", **values}.items()  # noqa: S108
    ]


def scratch() -> Json:
    """The volume behind /tmp."""
    return {"name": "tmp", "emptyDir": {}}


def scratch_mount() -> Json:
    """The one place outside the volume that can be written to."""
    return {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108


def tls_volume(secret_name: str) -> Json:
    """The volume with the pod's own key and certificate."""
    return {"name": "tls", "secret": {"secretName": secret_name, "defaultMode": 0o440}}


def tls_mount() -> Json:
    """Where the key and certificate are."""
    return {"name": "tls", "mountPath": TLS_PATH, "readOnly": True}


def claim_volume(claim_name: str, read_only: bool = False) -> Json:
    """The session's volume."""
    source: Json = {"claimName": claim_name}
    if read_only:
        source["readOnly"] = True
    return {"name": "volume", "persistentVolumeClaim": source}


def probe(path: str, period: int, failures: int) -> Json:
    """An HTTP probe of the health port."""
    return {
        "httpGet": {"path": path, "port": "health"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }


def one_machine(session_uid: str) -> Json:
    """`affinity` that holds all pods of a session together, for a volume of one machine."""
    term = {
        "labelSelector": {"matchLabels": {LABEL_SESSION_UID: session_uid}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def pull_secrets(names: Iterable[str]) -> list[Json]:
    """`imagePullSecrets`, each once."""
    return [{"name": name} for name in dict.fromkeys(names)]

"""Manifests of the session's own pods: the master, and the reader of a sleeping session."""

from collections.abc import Mapping
from typing import Any

from drqueue.api.names import reader_name
from drqueue.control.children import SessionId
from drqueue.control.settings import Settings
from drqueue.providers import pod_parts

Json = dict[str, Any]

MASTER_RESOURCES: Mapping[str, Any] = {
    "requests": {"cpu": "50m", "memory": "96Mi"},
    "limits": {"memory": "512Mi"},
}
READER_RESOURCES: Mapping[str, Any] = {
    "requests": {"cpu": "20m", "memory": "64Mi"},
    "limits": {"memory": "256Mi"},
}
READER_IDLE_SECONDS = 600
READER_SECONDS = 4 * 3600
"""A reader's life, at the most."""
VOLUME_PATH = "/volume"


def master_pod(session: SessionId, settings: Settings, claim_name: str, one_machine: bool) -> Json:
    """The session's one master.

    Its container is restarted in place: on the same machine, with the volume still mounted, that is
    much quicker than another pod, and the journal's lock is surely free.
    """
    container: Json = {
        "name": "master",
        "command": ["drqueue-master"],
        "env": pod_parts.environment(
            {
                "DRQUEUE_SESSION_UID": session.uid,
                "DRQUEUE_VOLUME": VOLUME_PATH,
                "DRQUEUE_TLS": pod_parts.TLS_PATH,
                "DRQUEUE_LEASE_SECONDS": f"{settings.lease_seconds:g}",
                "DRQUEUE_LISTEN": f"0.0.0.0:{pod_parts.MASTER_PORT}",
                "DRQUEUE_HEALTH": f"0.0.0.0:{pod_parts.HEALTH_PORT}",
            }
        ),
        "ports": [
            {"name": "https", "containerPort": pod_parts.MASTER_PORT},
            {"name": "health", "containerPort": pod_parts.HEALTH_PORT},
        ],
        "readinessProbe": pod_parts.probe("/readyz", period=1, failures=3),
        "livenessProbe": pod_parts.probe("/healthz", period=10, failures=6),
        "resources": dict(settings.master_resources or MASTER_RESOURCES),
        "volumeMounts": [
            {"name": "volume", "mountPath": VOLUME_PATH},
            pod_parts.tls_mount(),
            pod_parts.scratch_mount(),
        ],
    }
    volumes = [
        pod_parts.claim_volume(claim_name),
        pod_parts.tls_volume(session.master),
        pod_parts.scratch(),
    ]
    pod = _pod(session, session.master, settings, container, volumes, one_machine=one_machine)
    pod["spec"]["restartPolicy"] = "Always"
    pod["spec"]["terminationGracePeriodSeconds"] = 30
    return pod


def reader_pod(session: SessionId, settings: Settings, claim_name: str, one_machine: bool) -> Json:
    """A pod that reads the volume for a while: no keys, nothing can be written."""
    container: Json = {
        "name": "reader",
        "command": ["drqueue-reader", "serve"],
        "env": pod_parts.environment(
            {
                "DRQUEUE_VOLUME": VOLUME_PATH,
                "DRQUEUE_IDLE_SECONDS": str(READER_IDLE_SECONDS),
            }
        ),
        "resources": dict(READER_RESOURCES),
        "volumeMounts": [
            {"name": "volume", "mountPath": VOLUME_PATH, "readOnly": True},
            pod_parts.scratch_mount(),
        ],
    }
    volumes = [pod_parts.claim_volume(claim_name, read_only=True), pod_parts.scratch()]
    name = reader_name(session.name, session.uid)
    pod = _pod(session, name, settings, container, volumes, one_machine=one_machine)
    pod["spec"]["restartPolicy"] = "Never"
    pod["spec"]["activeDeadlineSeconds"] = READER_SECONDS
    pod["spec"]["terminationGracePeriodSeconds"] = 5
    return pod


def _pod(
    session: SessionId,
    name: str,
    settings: Settings,
    container: Json,
    volumes: list[Json],
    *,
    one_machine: bool,
) -> Json:
    container |= {
        "image": settings.operator_image,
        "imagePullPolicy": settings.image_pull_policy,
        "securityContext": pod_parts.container_security(),
    }
    spec: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_parts.pod_security(),
        "containers": [container],
        "volumes": volumes,
    }
    if one_machine:
        spec["affinity"] = pod_parts.one_machine(session.uid)
    secrets = pod_parts.pull_secrets(settings.image_pull_secrets)
    if secrets:
        spec["imagePullSecrets"] = secrets
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": session.meta(name, container["name"]),
        "spec": spec,
    }

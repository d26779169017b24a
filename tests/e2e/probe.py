"""A pod of the tests' own that sees a session's whole volume, as restricted as the farm's pods."""

from typing import Any

from drqueue.providers import pod_parts

PROBE = "drqueue-test-probe"


def probe(image: str, claim: str) -> dict[str, Any]:
    """The pod's spec: it sleeps, with the volume at /volume."""
    return {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": pod_parts.pod_security(),
        "containers": [
            {
                "name": "probe",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "infinity"],
                "securityContext": pod_parts.container_security(),
                "volumeMounts": [{"name": "volume", "mountPath": "/volume"}],
            }
        ],
        "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": claim}}],
    }

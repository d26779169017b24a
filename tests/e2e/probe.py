"""A pod of the tests' own that sees a session's whole volume, as restricted as the farm's pods."""

from typing import Any

from drqueue.cli.cluster import Cluster
from drqueue.cli.errors import ApiError, UnreachableError
from drqueue.cli.execute import CommandFailedError, StreamBrokenError, execute
from drqueue.providers import pod_parts

PROBE = "drqueue-test-probe"
_CONTAINER = "probe"


def probe(image: str, claim: str) -> dict[str, Any]:
    """The pod's spec: it sleeps, with the volume at /volume."""
    return {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": pod_parts.pod_security(),
        "containers": [
            {
                "name": _CONTAINER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "infinity"],
                "securityContext": pod_parts.container_security(),
                "volumeMounts": [{"name": "volume", "mountPath": "/volume"}],
            }
        ],
        "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": claim}}],
    }


def run_in_probe(cluster: Cluster, namespace: str, script: str) -> str:
    """Run a shell line in the pod and give its stdout; a line that fails fails the test.

    Raises OSError where nobody knows how it ended: the pod was not reached, or the stream broke.
    """
    command = ("sh", "-c", script)
    try:
        said = b"".join(execute(cluster, namespace, PROBE, _CONTAINER, command))
    except (ApiError, UnreachableError, StreamBrokenError) as error:
        raise OSError(f"{script}: {error}") from error
    except CommandFailedError as error:
        raise AssertionError(f"{script}: exit {error.exit_code}: {error}") from error
    return said.decode(errors="replace")

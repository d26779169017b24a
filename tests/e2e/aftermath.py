"""After a fault: nothing is left of it, and the operator goes quiet."""

import time

from drqueue.api import names

from tests.e2e.farm import Farm, Object
from tests.e2e.processes import processes_of
from tests.e2e.waiting import wait

QUIET_SECONDS = 5.0
_OURS = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
_WRITTEN = (
    "RenderSession",
    "RenderJob",
    "RenderNode",
    "Secret",
    "Service",
    "PersistentVolumeClaim",
)


def comes_to_rest(farm: Farm) -> None:
    """Delete the jobs; wait until sessions sleep and nobody writes to the namespace's objects."""
    for job in farm.objects("RenderJob"):
        farm.delete("RenderJob", job["metadata"]["name"])
    uids: set[str] = set()

    def busy() -> Object:
        pods = [
            pod["metadata"]
            for pod in farm.objects("Pod", **_OURS)
            if pod["metadata"]["labels"][names.LABEL_COMPONENT] != "reader"  # it has its own time
        ]
        uids.update(pod["uid"] for pod in pods)
        left = {
            "pods": [pod["name"] for pod in pods],
            "nodes": [node["metadata"]["name"] for node in farm.objects("RenderNode")],
            "jobs": [job["metadata"]["name"] for job in farm.objects("RenderJob")],
            "processes": [pid for uid in uids for pid in processes_of(uid)],
        }
        return {what: found for what, found in left.items() if found}

    wait("pods, nodes and processes gone", lambda: not busy(), timeout=120, seen=busy)
    versions, since = _versions(farm), time.monotonic()

    def quiet() -> bool:
        nonlocal versions, since
        if (now := _versions(farm)) != versions:
            versions, since = now, time.monotonic()
        return time.monotonic() - since >= QUIET_SECONDS

    wait(f"{QUIET_SECONDS:g} s without a write", quiet, timeout=120, seen=lambda: versions)


def _versions(farm: Farm) -> dict[str, str]:
    return {
        f"{kind}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for kind in _WRITTEN
        for item in farm.objects(kind)
    }

"""Plays what a control plane without machines lacks: a machine, volumes, and pods' statuses.

The scheduler, the garbage collector and all other controllers are real.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from drqueue.api.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from kubernetes import client
from urllib3.exceptions import HTTPError

from tests.control_plane import busy

PERIOD = 0.1
OURS = f"{LABEL_MANAGED_BY}={MANAGED_BY}"

Pod = dict[str, Any]


def now() -> str:
    """The time as kubelets write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kubelet:
    """One machine for one namespace. `starts(pod)` may hold a pod back, by giving False."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._core = client.CoreV1Api(api)
        self._api = api
        self.namespace = namespace
        self.machine = f"machine-{namespace}"
        self.starts: Callable[[Pod], bool] = lambda pod: True
        self.started: Callable[[Pod], None] = lambda pod: None
        self.stopped: Callable[[Pod], None] = lambda pod: None
        self.waiting: dict[str, dict[str, str]] = {}
        """By component: the `waiting` state of its container, as for an image that is missing."""
        self.deaf = False
        """True: it is silent, as a machine that lost its power."""
        self.errors: list[str] = []
        self._ran: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)

    def __enter__(self) -> "Kubelet":
        resources = {"cpu": "640", "memory": "2Ti", "pods": "2000"}
        labels = {"kubernetes.io/hostname": self.machine, "kubernetes.io/os": "linux"}
        self._core.create_node({"metadata": {"name": self.machine, "labels": labels}})
        self._core.patch_node_status(
            self.machine, {"status": {"capacity": resources, "allocatable": resources}}
        )
        self._beat()
        self._core.patch_node(self.machine, {"spec": {"taints": None}})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(20)
        self._core.delete_node(self.machine)

    def _beat(self) -> None:
        condition = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "lastHeartbeatTime": now(),
        }
        self._core.patch_node_status(self.machine, {"status": {"conditions": [condition]}})

    def _run(self) -> None:
        beat = 0.0
        while not self._stopping.wait(PERIOD):
            try:
                if time.monotonic() - beat > 5:
                    self._beat()
                    beat = time.monotonic()
                self._bind_claims()
                if not self.deaf:
                    for pod in self.pods():
                        self._step(pod)
            except client.ApiException as error:
                # gone, changed, or ended by the test itself since it was read
                passed = error.status in (404, 409) or "non-terminated" in str(error.body)
                if not passed and not busy(error):
                    self.errors.append(str(error))
            except HTTPError:  # a connection broke: the next round is another try
                continue
            except Exception as error:
                self.errors.append(repr(error))

    def pods(self) -> list[Pod]:
        """All pods of the farm, as JSON."""
        listed = self._core.list_namespaced_pod(self.namespace, label_selector=OURS)
        return [self._api.sanitize_for_serialization(pod) for pod in listed.items]

    def _step(self, pod: Pod) -> None:
        meta, status = pod["metadata"], pod.get("status") or {}
        if not pod["spec"].get("nodeName"):
            return
        component = meta["labels"][LABEL_COMPONENT]
        phase = status.get("phase")
        if meta.get("deletionTimestamp"):
            if phase not in ("Succeeded", "Failed"):
                self.end(meta["name"], 0)
            self._gone(pod)
        elif phase == "Pending":
            if component in self.waiting:
                self._state(pod, "Pending", {"waiting": self.waiting[component]}, ready=False)
            elif self.starts(pod):
                state = {"running": {"startedAt": now()}}
                self._state(pod, "Running", state, ready=True)
                self._ran.add(meta["uid"])
                self.started(pod)

    def _gone(self, pod: Pod) -> None:
        self.stopped(pod)
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        self._core.delete_namespaced_pod(pod["metadata"]["name"], self.namespace, body=options)

    def end(self, name: str, exit_code: int, reason: str = "Completed") -> None:
        """Have a pod's container end."""
        pod = self._api.sanitize_for_serialization(
            self._core.read_namespaced_pod(name, self.namespace)
        )
        statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
        started = (statuses[0].get("state", {}).get("running") or {}).get("startedAt")
        terminated = {"exitCode": exit_code, "finishedAt": now(), "reason": reason}
        if started:
            terminated["startedAt"] = started
        phase = "Failed" if exit_code else "Succeeded"
        self._state(pod, phase, {"terminated": terminated}, ready=False)

    def _state(self, pod: Pod, phase: str, state: dict[str, Any], *, ready: bool) -> None:
        known = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
        wanted = "True" if ready else "False"
        old = known.get("Ready", {})
        since = old.get("lastTransitionTime") if old.get("status") == wanted else now()
        container = {
            "name": pod["spec"]["containers"][0]["name"],
            "image": pod["spec"]["containers"][0]["image"],
            "imageID": "",
            "ready": ready,
            "restartCount": 0,
            "state": state,
        }
        conditions = [{"type": "Ready", "status": wanted, "lastTransitionTime": since}]
        status = {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [container],
            "podIP": "10.0.0.1",
        }
        self._core.patch_namespaced_pod_status(
            pod["metadata"]["name"],
            self.namespace,
            {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status},
        )

    def _bind_claims(self) -> None:
        listed = self._core.list_namespaced_persistent_volume_claim(self.namespace)
        for claim in listed.items:
            if claim.status.phase != "Pending" or claim.spec.volume_name:
                continue
            if claim.metadata.name in self.waiting:
                continue
            reference = {
                "namespace": self.namespace,
                "name": claim.metadata.name,
                "uid": claim.metadata.uid,
            }
            self._core.create_persistent_volume(
                {
                    "metadata": {"name": f"pv-{claim.metadata.uid}"},
                    "spec": {
                        "capacity": {"storage": "1Ti"},
                        "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                        "claimRef": reference,
                        "storageClassName": claim.spec.storage_class_name or "",
                        "persistentVolumeReclaimPolicy": "Retain",
                        "hostPath": {"path": f"/nowhere/{claim.metadata.uid}"},
                    },
                }
            )

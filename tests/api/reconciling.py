"""The real operator against a real API server: what tests of its reconcilers need.

A machine is played (`kubelet.py`); the master is the real program, run as a process beside the
test when its pod would start; slaves speak the real protocol (`Slave`).
"""

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from drqueue.api.names import LABEL_COMPONENT, MANAGED_BY, master_name
from drqueue.api.values import format_time
from drqueue.farm.protocol import PROTOCOL_VERSION, VERSION_HEADER
from kubernetes import client

from tests.api.kubelet import Kubelet, Pod
from tests.api.operator_process import OperatorProcess
from tests.control_plane import Cluster
from tests.manifests import GONE, manifest
from tests.ports import Port

GROUP, VERSION = "drqueue.org", "v1alpha1"
PLURALS = {
    "RenderSession": "rendersessions",
    "RenderJob": "renderjobs",
    "RenderNode": "rendernodes",
    "RenderNodeClass": "rendernodeclasses",
}
SECONDS = 120.0

Object = dict[str, Any]


class MasterProcess:
    """The master of one session, as its pod would run it."""

    def __init__(self, core: client.CoreV1Api, namespace: str, folder: Path) -> None:
        self._core, self._namespace, self._folder = core, namespace, folder
        self.port, self._health = Port(), Port()
        self.volume = folder / "volume"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, pod: Pod) -> bool:
        """Start it if it does not run; tells whether it is ready."""
        if self.process is None:
            self._start(pod)
        try:
            url = f"http://{self._health.address}/readyz"
            with urllib.request.urlopen(url, timeout=2) as ok:
                return bool(ok.status == 200)
        except OSError:
            return False

    def _start(self, pod: Pod) -> None:
        container = pod["spec"]["containers"][0]
        tls = self.keys(pod["metadata"]["name"])
        self.volume.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            **{entry["name"]: entry["value"] for entry in container["env"]},
            "DRQUEUE_VOLUME": str(self.volume),
            "DRQUEUE_TLS": str(tls),
            "DRQUEUE_LISTEN": self.port.address,
            "DRQUEUE_HEALTH": self._health.address,
        }
        with (self._folder / "master.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from drqueue.farm.master.main import main; main()"],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def keys(self, secret_name: str) -> Path:
        """A Secret's keys in a folder, as its volume would hold them."""
        folder = self._folder / f"tls-{secret_name}"
        folder.mkdir(exist_ok=True)
        secret = self._core.read_namespaced_secret(secret_name, self._namespace)
        for name, value in secret.data.items():
            (folder / name).write_bytes(base64.b64decode(value))
        return folder

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None

    def clean_up(self) -> None:
        """End it for good."""
        self.kill()
        self.port.close()
        self._health.close()


class Slave:
    """A slave of few words: the real protocol, frames written at once."""

    def __init__(self, master: MasterProcess, node: str, server_name: str) -> None:
        folder = master.keys(node)
        self._context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self._context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self._address, self._server_name = ("127.0.0.1", master.port.number), server_name
        self._work = master.volume / "work"

    def report(
        self, attempt: Object | None = None, *, wants: bool = False, wait: float = 0.0
    ) -> Object:
        """POST /v1/work."""
        offer = {"cores": 0.5, "memory": 2**29, "os": "linux", "renderers": ["povray", "general"]}
        body = {"offer": offer, "attempt": attempt, "wants_lease": wants, "wait_seconds": wait}
        raw = socket.create_connection(self._address, timeout=120)
        connection = http.client.HTTPConnection(self._server_name)
        connection.sock = self._context.wrap_socket(raw, server_hostname=self._server_name)
        headers = {VERSION_HEADER: str(PROTOCOL_VERSION), "Content-Type": "application/json"}
        connection.request("POST", "/v1/work", json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        assert response.status == 200, text
        answer: Object = json.loads(text)
        return answer

    def lease(self, seconds: float = SECONDS) -> Object:
        """Pull until there is a block."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if lease := self.report(wants=True, wait=2.0)["lease"]:
                return dict(lease)
        raise AssertionError(f"no block within {seconds} s")

    def render(self, lease: Object, frames: list[int]) -> Object:
        """Write the frames' files, report them and the end."""
        folder = self._work / "attempts" / str(lease["attempt"])
        folder.mkdir(parents=True, exist_ok=True)
        done = []
        for frame in frames:
            path = folder / f"image_{frame:04}.txt"
            path.write_text(f"frame {frame}")
            files = [{"path": path.name, "size": path.stat().st_size}]
            done.append({"frame": frame, "seconds": 0.1, "files": files})
        attempt = {"attempt": lease["attempt"], "frames_done": done}
        return self.report({**attempt, "end": {"result": "succeeded", "exit_code": 0}})


class Farm:
    """One namespace with an operator of its own."""

    def __init__(
        self, cluster: Cluster, api: client.ApiClient, namespace: str, folder: Path
    ) -> None:
        self.namespace, self._folder, self._cluster = namespace, folder, cluster
        self.core = client.CoreV1Api(api)
        self._kinds = client.CustomObjectsApi(api)
        self._api = api
        self.class_name = f"class-{namespace}"
        self.kubelet = Kubelet(api, namespace)
        self.master = MasterProcess(self.core, namespace, folder)
        self.kubelet.starts = self._may_start
        self.kubelet.stopped = self._stopped
        self.operator = self.start_operator()

    def start_operator(self, **settings: str) -> OperatorProcess:
        self.operator = OperatorProcess(
            self._cluster.kubeconfig,
            self.namespace,
            self._folder / f"operator-{time.monotonic_ns()}",
            program=("-m", "drqueue.control.main"),
            MASTER_ADDRESS=self.master.port.address,
            LOG_FORMAT="plain",
            # one at a time: who follows one that was killed need not wait its Lease out
            IDENTITY=self.namespace,
            **settings,
        )
        return self.operator

    def _may_start(self, pod: Pod) -> bool:
        if pod["metadata"]["labels"][LABEL_COMPONENT] == "master":
            return self.master.start(pod)
        return True

    def _stopped(self, pod: Pod) -> None:
        if pod["metadata"]["labels"][LABEL_COMPONENT] == "master":
            self.master.kill()

    # objects -----------------------------------------------------------------------------------

    def make(
        self, kind: str, name: str | None = None, gone: Iterable[str] = (), **changes: Any
    ) -> Object:
        """Create an object of ours, by dotted paths (`__` for a dot) over the example's."""
        paths = {path.replace("__", "."): value for path, value in changes.items()}
        paths |= {path.replace("__", "."): GONE for path in gone}
        body = manifest(kind, paths, name)
        if kind == "RenderNodeClass":
            body["metadata"]["name"] = name or self.class_name
            return dict(
                self._kinds.create_cluster_custom_object(GROUP, VERSION, PLURALS[kind], body)
            )
        if kind == "RenderSession" and "spec__nodeClassName" not in changes:
            body["spec"]["nodeClassName"] = self.class_name
        return dict(self._kinds.create_namespaced_custom_object(*self._where(kind), body))

    def _where(self, kind: str) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self.namespace, PLURALS[kind]

    def get(self, kind: str, name: str) -> Object | None:
        try:
            if kind == "RenderNodeClass":
                found = self._kinds.get_cluster_custom_object(GROUP, VERSION, PLURALS[kind], name)
                return dict(found)
            return dict(self._kinds.get_namespaced_custom_object(*self._where(kind), name))
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise

    def all(self, kind: str) -> list[Object]:
        return list(self._kinds.list_namespaced_custom_object(*self._where(kind))["items"])

    def patch(self, kind: str, name: str, patch: Object) -> None:
        if kind == "RenderNodeClass":
            self._kinds.patch_cluster_custom_object(GROUP, VERSION, PLURALS[kind], name, patch)
        else:
            self._kinds.patch_namespaced_custom_object(*self._where(kind), name, patch)

    def delete(self, kind: str, name: str, **how: str) -> None:
        if kind == "RenderNodeClass":
            self._kinds.delete_cluster_custom_object(GROUP, VERSION, PLURALS[kind], name, **how)
        else:
            self._kinds.delete_namespaced_custom_object(*self._where(kind), name, **how)

    def events(self, name: str) -> list[str]:
        """Reasons of the events on an object, as raw JSON: the client's model wants a time."""
        where = ("events.k8s.io", "v1", self.namespace, "events")
        items = self._kinds.list_namespaced_custom_object(*where)["items"]
        return [e["reason"] for e in items if (e.get("regarding") or {}).get("name") == name]

    def slave(self, node: str, session: Object) -> Slave:
        stem = master_name(session["metadata"]["name"], session["metadata"]["uid"])
        return Slave(self.master, node, f"{stem}.{self.namespace}.svc")

    def limit(self, resource: str, count: int) -> None:
        """Have a quota allow so many of a resource, and wait until it is in force."""
        name, hard = resource.replace("/", "."), {resource: str(count)}
        try:
            self.core.patch_namespaced_resource_quota(
                name, self.namespace, {"spec": {"hard": hard}}
            )
        except client.ApiException as error:
            if error.status != 404:
                raise
            body = {"metadata": {"name": name}, "spec": {"hard": hard}}
            self.core.create_namespaced_resource_quota(self.namespace, body)

        def counted() -> bool:
            status = self.core.read_namespaced_resource_quota(name, self.namespace).status
            return bool(status.hard == hard and status.used)

        self.wait(f"the quota of {count} {resource} is counted", counted)

    def date_back(self, kind: str, name: str, type_: str, since: datetime) -> None:
        """Have a condition be as it is since another time."""
        conditions = self.status(kind, name)["conditions"]
        for condition in conditions:
            if condition["type"] == type_:
                condition["lastTransitionTime"] = format_time(since)
        self._kinds.patch_namespaced_custom_object_status(
            *self._where(kind), name, {"status": {"conditions": conditions}}
        )

    # waiting -----------------------------------------------------------------------------------

    def wait(self, what: str, holds: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """Wait for a condition and give what it gave; fails with what there is instead."""
        deadline = time.monotonic() + seconds
        while True:
            if found := holds():
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {what}\n{self.describe()}")
            time.sleep(0.1)

    def describe(self) -> str:
        """What there is, for a person who reads a failure."""
        lines = []
        for kind in ("RenderSession", "RenderJob", "RenderNode"):
            for obj in self.all(kind):
                status = json.dumps(obj.get("status"), indent=1)
                lines.append(f"{kind} {obj['metadata']['name']}: {status}")
        for pod in self.kubelet.pods():
            meta, phase = pod["metadata"], pod["status"].get("phase")
            marks = meta.get("deletionTimestamp"), meta.get("finalizers")
            lines.append(f"Pod {meta['name']}: {phase} {marks}")
        lines += [f"kubelet: {error}" for error in self.kubelet.errors[-3:]]
        log = self._folder / "master.log"
        lines.append(f"master: {log.read_text()[-1500:] if log.exists() else 'never started'}")
        lines.append(f"operator: {self.operator.errors()[-4000:]}")
        return "\n".join(lines)

    def status(self, kind: str, name: str) -> Object:
        found = self.get(kind, name)
        return dict((found or {}).get("status") or {})

    def condition(self, kind: str, name: str, type_: str) -> Object:
        conditions = self.status(kind, name).get("conditions") or []
        return next((c for c in conditions if c["type"] == type_), {})

    def wait_reason(self, kind: str, name: str, type_: str, reason: str) -> Object:
        """Wait until a condition has that reason, and give it."""

        def holds() -> Object | None:
            found = self.condition(kind, name, type_)
            return found if found.get("reason") == reason else None

        return dict(self.wait(f"{kind} {name}: {type_} is {reason}", holds))

    def wait_event(self, name: str, reason: str) -> None:
        """Wait until people were told of something about an object."""
        self.wait(f"an event {reason} on {name}", lambda: reason in self.events(name))

    def wait_phase(self, kind: str, name: str, phase: str) -> Object:
        """Wait for a status.phase, and give the status."""

        def holds() -> Object | None:
            status = self.status(kind, name)
            return status if status.get("phase") == phase else None

        return dict(self.wait(f"{kind} {name} is {phase}", holds))

    def wait_nodes(
        self, count: int, phase: str = "Ready", seconds: float = SECONDS
    ) -> list[Object]:
        """Wait until exactly so many nodes are in that phase, and no others are there."""

        def holds() -> list[Object] | None:
            nodes = self.all("RenderNode")
            fits = len(nodes) == count and all(
                (node.get("status") or {}).get("phase") == phase for node in nodes
            )
            return (nodes or [{}]) if fits else None

        found = self.wait(f"{count} nodes are {phase}", holds, seconds)
        return [node for node in found if node]

    def writes(self, kind: str | None = None) -> float:
        """Mutating requests of the operator so far, but for its Lease."""
        wanted = "" if kind is None else f'kind="{kind}"'
        return sum(float(line.split()[-1]) for line in self.write_lines() if wanted in line)

    def settled_writes(self, quiet: float = 3.0) -> float:
        """Wait until the operator has written nothing for a while; gives its writes so far."""
        last, since = self.write_lines(), time.monotonic()

        def holds() -> bool:
            nonlocal last, since
            now = self.write_lines()
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since >= quiet

        self.wait("the operator goes quiet", holds)
        return self.writes()

    def write_lines(self) -> list[str]:
        """The operator's mutating requests by verb and kind, as its metrics have them: one look,
        as a sum of several would take a renewal of the Lease between them for a write."""
        lines = self.operator.get("/metrics")[1].splitlines()
        reading = ('verb="get"', 'verb="list"', 'verb="watch"', 'kind="Lease"')
        return [
            line
            for line in lines
            if line.startswith("drqueue_api_requests_total") and not any(r in line for r in reading)
        ]

    def leftovers(self) -> list[str]:
        """Objects of the farm's that are there besides claims and the CA."""
        found = [f"node {node['metadata']['name']}" for node in self.all("RenderNode")]
        found += [f"pod {pod['metadata']['name']}" for pod in self.kubelet.pods()]
        label = f"app.kubernetes.io/managed-by={MANAGED_BY},drqueue.org/session"
        for kind, listed in (
            ("secret", self.core.list_namespaced_secret),
            ("service", self.core.list_namespaced_service),
            ("policy", client.NetworkingV1Api(self._api).list_namespaced_network_policy),
        ):
            items = listed(self.namespace, label_selector=label).items
            found += [f"{kind} {item.metadata.name}" for item in items]
        return found

    def claims(self) -> list[str]:
        listed = self.core.list_namespaced_persistent_volume_claim(self.namespace).items
        return [claim.metadata.name for claim in listed]

    def remove_class(self) -> None:
        """Delete the class; fine if the test did."""
        try:
            self.delete("RenderNodeClass", self.class_name)
        except client.ApiException as error:
            if error.status != 404:
                raise

    def clean_up(self) -> None:
        """Delete everything and wait until it is gone, while the operator still runs."""
        for kind in ("RenderJob", "RenderSession"):
            for obj in self.all(kind):
                self.delete(kind, obj["metadata"]["name"])
        self.wait(
            "all is gone after the deletion of jobs and sessions",
            lambda: (
                not self.all("RenderSession") and not self.all("RenderJob") and not self.leftovers()
            ),
        )
        assert not self.kubelet.errors, self.kubelet.errors

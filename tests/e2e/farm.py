"""What the end-to-end tests say to a farm, and how they wait for it.

Nothing here sleeps for synchronisation: `wait` polls a condition until a deadline and, when that
passes, fails with what was last seen.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from drqueue.api import API_VERSION, names
from drqueue.api.frames import parse_frames
from drqueue.cli.cluster import Cluster
from drqueue.cli.connect import connect
from kubernetes import client as k8s
from kubernetes import dynamic
from kubernetes.dynamic.exceptions import NotFoundError

from tests.e2e.probe import PROBE, probe, run_in_probe
from tests.e2e.waiting import wait

T = TypeVar("T")
Object = dict[str, Any]

SYSTEM_NAMESPACE = "drqueue-system"


@dataclass
class Farm:
    """One tenant's namespace on a cluster that has the operator installed."""

    api: k8s.ApiClient
    namespace: str
    kubeconfig: Path
    node_class: str
    image: str
    made: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.core = k8s.CoreV1Api(self.api)
        self.dynamic = dynamic.DynamicClient(self.api)
        self.cluster = Cluster(connect(str(self.kubeconfig), None))

    # objects ------------------------------------------------------------------------------

    def resource(self, kind: str) -> Any:
        ours = kind.startswith("Render")
        return self.dynamic.resources.get(api_version=API_VERSION if ours else "v1", kind=kind)

    def create(self, kind: str, name: str, **fields: Any) -> Object:
        """Create an object in the namespace, strictly: unknown fields are errors."""
        body = {
            "apiVersion": API_VERSION if kind.startswith("Render") else "v1",
            "kind": kind,
            "metadata": {"name": name, **fields.pop("metadata", {})},
            **fields,
        }
        made = self.resource(kind).create(
            body=body, namespace=self.namespace, field_validation="Strict"
        )
        return dict(made.to_dict())

    def session(self, name: str = "show", **spec: Any) -> Object:
        """Create a RenderSession: 2 nodes, 1 hour, a small volume, unless told otherwise."""
        fields = {
            "nodeClassName": self.node_class,
            "nodes": 2,
            "renderTime": "1h",
            "storage": {"size": "1Gi"},
            **spec,
        }
        return self.create("RenderSession", name, spec=fields)

    def job(self, name: str = "job", command: str | None = None, **spec: Any) -> Object:
        """Create a RenderJob of session `show`; with `command`, of the renderer `general`."""
        fields: Object = {"sessionName": "show", "frames": "1-4", **spec}
        if command is not None:
            fields |= {"renderer": "general", "parameters": {"Command": command}}
        return self.create("RenderJob", name, spec=fields)

    def get(self, kind: str, name: str) -> Object | None:
        try:
            return dict(self.resource(kind).get(name=name, namespace=self.namespace).to_dict())
        except NotFoundError:
            return None

    def objects(self, kind: str, **labels: str) -> list[Object]:
        selector = ",".join(f"{k}={v}" for k, v in labels.items())
        found = self.resource(kind).get(namespace=self.namespace, label_selector=selector or None)
        return [dict(item) for item in found.to_dict()["items"]]

    def patch(self, kind: str, name: str, body: Object) -> Object:
        made = self.resource(kind).patch(
            name=name,
            namespace=self.namespace,
            body=body,
            content_type="application/merge-patch+json",
        )
        return dict(made.to_dict())

    def delete(self, kind: str, name: str, **options: Any) -> None:
        with contextlib.suppress(NotFoundError):
            self.resource(kind).delete(name=name, namespace=self.namespace, **options)

    def pods(self, component: str, phase: str | None = None) -> list[Object]:
        """Pods of a component (master, slave, reader) that are not on their way out."""
        return [
            pod
            for pod in self.objects("Pod", **{names.LABEL_COMPONENT: component})
            if not pod["metadata"].get("deletionTimestamp")
            and (phase is None or pod["status"]["phase"] == phase)
        ]

    def events(self, name: str) -> list[str]:
        """`reason: message` of the events on an object of that name."""
        listed = self.core.list_namespaced_event(
            self.namespace, field_selector=f"involvedObject.name={name}"
        )
        return [f"{e.reason}: {e.message}" for e in listed.items]

    # waiting ------------------------------------------------------------------------------

    def snapshot(self) -> Object:
        """What a person would want to see when a wait fails."""
        return {
            kind: [
                {
                    "name": item["metadata"]["name"],
                    "deleting": item["metadata"].get("deletionTimestamp"),
                    "finalizers": item["metadata"].get("finalizers"),
                    "status": item.get("status") if kind.startswith("Render") else _pod(item),
                }
                for item in self.objects(kind)
            ]
            for kind in ("RenderSession", "RenderJob", "RenderNode", "Pod")
        }

    def wait(self, what: str, check: Callable[[], T | None], timeout: float = 120) -> T:
        return wait(what, check, timeout=timeout, seen=self.snapshot)

    def wait_job(self, name: str = "job", phase: str = "Succeeded", timeout: float = 180) -> Object:
        """Wait until a job is in a phase and return it."""

        def reached() -> Object | None:
            job = self.get("RenderJob", name)
            return job if job and (job.get("status") or {}).get("phase") == phase else None

        return self.wait(f"job {name} {phase}", reached, timeout)

    def wait_succeeded(self, count: int, name: str = "job", timeout: float = 120) -> Object:
        """Wait until a job's status says that at least `count` frames succeeded."""

        def reached() -> Object | None:
            job = self.get("RenderJob", name) or {}
            done = ((job.get("status") or {}).get("frames") or {}).get("succeeded", 0)
            return job if done >= count else None

        return self.wait(f"job {name}: {count} frames succeeded", reached, timeout)

    def wait_condition(
        self,
        kind: str,
        name: str,
        *,
        reason: str,
        type: str | None = None,
        status: str | None = None,
        timeout: float = 120,
    ) -> Object:
        """Wait for a condition with this reason; returns the condition."""

        def found() -> Object | None:
            item = self.get(kind, name) or {}
            for condition in (item.get("status") or {}).get("conditions") or []:
                if (
                    condition["reason"] == reason
                    and type in (None, condition["type"])
                    and status in (None, condition["status"])
                ):
                    return dict(condition)
            return None

        return self.wait(f"{kind} {name} condition {type or ''} {reason}", found, timeout)

    def wait_rendering(self, count: int = 1, timeout: float = 120) -> list[Object]:
        """Wait until at least `count` frames render; returns the nodes that are Ready.

        A RenderNode's own block is written too rarely for a test to wait for.
        """

        def busy() -> list[Object] | None:
            jobs = self.objects("RenderJob")
            counts = [((job.get("status") or {}).get("frames") or {}) for job in jobs]
            nodes = [
                node
                for node in self.objects("RenderNode")
                if (node.get("status") or {}).get("phase") == "Ready"
            ]
            rendering = sum(frames.get("running", 0) for frames in counts)
            return nodes if min(rendering, len(nodes)) >= count else None

        return self.wait(f"{count} frames rendering", busy, timeout)

    def wait_nothing_left(self, *, claims: int = 1, timeout: float = 120) -> None:
        """Wait until the session left nothing: no pod, secret, service, node; claims as told."""

        def left() -> Object:
            found = {
                kind: [item["metadata"]["name"] for item in self.objects(kind, **ours)]
                for kind, ours in (
                    ("Pod", {names.LABEL_MANAGED_BY: names.MANAGED_BY}),
                    ("Secret", {names.LABEL_MANAGED_BY: names.MANAGED_BY}),
                    ("Service", {names.LABEL_MANAGED_BY: names.MANAGED_BY}),
                    ("RenderNode", {}),
                )
            }
            held = len(self.objects("PersistentVolumeClaim"))
            return {k: v for k, v in found.items() if v} | (
                {} if held == claims else {"claims": held}
            )

        wait("nothing left behind", lambda: not left(), timeout=timeout, seen=left)

    # inside -------------------------------------------------------------------------------

    def master(self, timeout: float = 120) -> Object:
        return self.wait(
            "a running master", lambda: next(iter(self.pods("master", "Running")), None), timeout
        )

    def probe(self) -> None:
        """Have a pod of the test's own that has the whole volume at /volume.

        Masters sleep and die while tests look at the volume: the probe does neither.
        """

        def running() -> bool:
            if pod := self.get("Pod", PROBE):
                return bool(pod["status"].get("phase") == "Running")
            session = self.objects("RenderSession")[0]
            if claim := (session.get("status") or {}).get("claimName"):
                spec = probe(self.image, claim)
                self.create("Pod", PROBE, metadata={"labels": {PROBE: ""}}, spec=spec)
            return False

        self.wait("the probe", running)

    def on_volume(self, script: str) -> str:
        """Run a shell line where the whole volume is at /volume; again, if its end is not known."""
        self.probe()
        (said,) = self.wait(
            f"an answer to {script}", lambda: (run_in_probe(self.cluster, self.namespace, script),)
        )
        return said

    def frames(self, job: str = "job", *, check: bool = True) -> dict[int, Object]:
        """The journal's word on each frame, as the command line tells it.

        Without `check` none where it could not be told, for another look.
        """
        said = self.drqueue("-o", "json", "job", "frames", job, check=check)
        if said.returncode != 0:
            return {}
        return {frame["frame"]: frame for frame in json.loads(said.stdout)["frames"]}

    def work(self, script: str) -> str:
        """Run a shell line in the volume's work folder."""
        return self.on_volume(f"cd /volume/work && {script}")

    def open_gate(self) -> None:
        """Let gated frames end (see `commands.GATED`)."""
        self.work("touch go")

    def noted(self, what: str) -> list[int]:
        """The frame numbers that commands wrote to work/started or work/ended, in order."""
        return [int(n) for n in self.work(f"cat {what} 2>/dev/null || true").split()]

    def outputs(self, job: str = "job") -> list[str]:
        """Names of the files in a job's output folder."""
        return sorted(self.work(f"ls outputs/{job} 2>/dev/null || true").split())

    def outputs_text(self, job: str = "job") -> dict[str, str]:
        """The finished files and what is in them."""
        return {name: self.work(f"cat outputs/{job}/{name}") for name in self.outputs(job)}

    def node_phase(self, name: str) -> str | None:
        """Phase of a RenderNode; None when it is gone (or has none yet)."""
        return ((self.get("RenderNode", name) or {}).get("status") or {}).get("phase")

    def restarted(self, pod: Object) -> bool:
        """Whether a pod's container came up again after it ended, or another pod took its place."""
        for now in self.pods("master", "Running"):
            statuses = now["status"].get("containerStatuses") or [{}]
            if now["metadata"]["uid"] != pod["metadata"]["uid"]:
                return bool(statuses[0].get("ready"))
            if statuses[0].get("restartCount") and statuses[0].get("ready"):
                return True
        return False

    def drqueue(
        self, *argv: str, check: bool = True, timeout: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as a user would."""
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("drqueue")),
                "--kubeconfig",
                str(self.kubeconfig),
                "-n",
                self.namespace,
                *argv,
            ],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"drqueue {argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def request(self, kind: str, name: str, id: str, **value: Any) -> Object:
        """Ask by annotation and wait for the answer in status.handledRequests."""
        self.patch(
            kind,
            name,
            {"metadata": {"annotations": {names.REQUEST_PREFIX + id: json.dumps(value)}}},
        )

        def answered() -> Object | None:
            item = self.get(kind, name) or {}
            handled = (item.get("status") or {}).get("handledRequests") or []
            return next((dict(r) for r in handled if r["id"] == id), None)

        return self.wait(f"request {id} answered", answered)

    # node classes of one's own --------------------------------------------------------------

    @property
    def class_name(self) -> str:
        return f"own-{self.namespace}"

    def own_class(self, name: str | None = None, **spec: Any) -> str:
        """Create a node class for this test alone: the default class's spec, with changes."""
        name = name or self.class_name
        classes = self.resource("RenderNodeClass")
        default = classes.get(name=self.node_class).to_dict()["spec"]
        body = {
            "apiVersion": API_VERSION,
            "kind": "RenderNodeClass",
            "metadata": {"name": name},
            "spec": {**default, **spec},
        }
        classes.create(body=body)
        self.made.append(("RenderNodeClass", name))
        return name

    def patch_class(self, name: str, body: Object) -> None:
        self.resource("RenderNodeClass").patch(
            name=name, body=body, content_type="application/merge-patch+json"
        )

    def delete_class(self, name: str) -> None:
        with contextlib.suppress(NotFoundError):
            self.resource("RenderNodeClass").delete(name=name)


def _pod(item: Object) -> Object:
    status = item.get("status") or {}
    return {"phase": status.get("phase"), "containers": status.get("containerStatuses")}


def counted_once(frames: Iterable[Object], expected: Sequence[int] | str) -> None:
    """Assert that each expected frame succeeded, by exactly one accepted attempt."""
    wanted = list(parse_frames(expected)) if isinstance(expected, str) else list(expected)
    by_number = {f["frame"]: f for f in frames}
    assert sorted(by_number) == sorted(wanted)
    wrong = {n: f for n, f in by_number.items() if f["state"] != "succeeded"}
    assert not wrong, wrong

"""The floor of scaling up: what the operator writes for each node, sent by a bare client.

python -m bench.floor KUBECONFIG SESSION COUNT

Makes ready, says so, waits for a line on its standard input; then writes each node's RenderNode,
Secret and Pod and, when the pod runs, the node's status. It decides nothing and keeps nothing.
"""

import asyncio
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from drqueue.api.nodeclass import Provider
from drqueue.api.values import format_time
from drqueue.control import children, session_nodes
from drqueue.control.children import SessionId
from drqueue.control.client import Client
from drqueue.control.limiter import Limiter
from drqueue.control.metrics import Metrics
from drqueue.control.transport import Transport
from drqueue.providers.base import Launch, NodeId
from drqueue.providers.slave_pod import SlaveDefaults, slave_pod
from drqueue.security.ca import CertificateAuthority
from drqueue.security.identity import Identity
from kubernetes.aio import client as kube
from kubernetes.aio import config as kube_config

from bench.admin import Admin, Live
from bench.plane import CLAIM, NAMESPACE, OURS, PODS

AT_ONCE = 32
"""Requests under way: more of them did not make it faster."""
SLAVES = "drqueue.org/component=slave"


class Floor:
    """Makes the nodes of one session."""

    def __init__(self, client: Client, session: SessionId, node_class: dict[str, Any]) -> None:
        self._client, self._session, self._class = client, session, node_class
        authority, _ = CertificateAuthority.create(lambda: datetime.now(UTC))
        # one key pair for all: keys are made by the operator, and are no write
        self._keys = authority.issue(
            Identity("node", session.uid, "n", "u"), validity=timedelta(days=1)
        )
        self._fingerprint = authority.fingerprint
        self._nodes: dict[str, dict[str, Any]] = {}
        self.running: asyncio.Queue[str] = asyncio.Queue()

    async def make(self, indices: Iterable[int]) -> None:
        """Write RenderNode, Secret and Pod of each index."""
        for index in indices:
            wanted = session_nodes.manifest(self._session, index, self._class)
            node = await self._client.create(wanted)
            name = node["metadata"]["name"]
            self._nodes[name] = node
            await self._client.apply(self._secret(node))
            await self._client.create(self._pod(node))

    async def confirm(self, count: int) -> None:
        """Write the status of so many nodes, as their pods run."""
        for _ in range(count):
            node = self._nodes[await self.running.get()]
            await self._client.update_status(node, _ready(node["metadata"]["name"]))

    def _owner(self, node: dict[str, Any]) -> dict[str, Any]:
        meta = node["metadata"]
        return children.owner_reference("RenderNode", meta["name"], meta["uid"])

    def _secret(self, node: dict[str, Any]) -> dict[str, Any]:
        name = node["metadata"]["name"]
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": children.node_labels(self._session, name),
                "annotations": {
                    "drqueue.org/renew-at": format_time(self._keys.renew_at),
                    "drqueue.org/ca": self._fingerprint,
                },
                "ownerReferences": [self._owner(node)],
            },
            "data": self._keys.secret_data(),
        }

    def _pod(self, node: dict[str, Any]) -> dict[str, Any]:
        meta, session = node["metadata"], self._session
        launch = Launch(
            node=NodeId(NAMESPACE, meta["name"], meta["uid"], session.name, session.uid),
            provider=Provider.model_validate(node["spec"]["provider"]),
            renderers=tuple(node["spec"]["renderers"]),
            pools=(),
            os="linux",
            drain_grace=timedelta(minutes=30),
            claim_name=CLAIM,
            one_machine=False,
            master_url=f"https://{session.master}.{NAMESPACE}.svc:8443",
            owner_reference=self._owner(node),
        )
        return slave_pod(launch, SlaveDefaults("slave"))


def _ready(name: str) -> dict[str, Any]:
    """The status of a node that became Ready, as the operator has it."""
    now = format_time(datetime.now(UTC))
    return {
        "observedGeneration": 1,
        "phase": "Ready",
        "providerID": f"{NAMESPACE}/{name}",
        "address": "10.0.0.1",
        "readyAt": now,
        "conditions": [
            {
                "type": kind,
                "status": state,
                "reason": "Ready",
                "message": message,
                "lastTransitionTime": now,
                "observedGeneration": 1,
            }
            for kind, state, message in (
                ("Ready", "True", "It takes blocks."),
                ("Reconciling", "False", ""),
                ("Stalled", "False", ""),
            )
        ],
    }


async def _run(kubeconfig: Path, session_name: str, count: int) -> None:
    admin = Admin(kubeconfig)
    found = admin.ask("GET", f"{OURS}/namespaces/{NAMESPACE}/rendersessions/{session_name}")
    node_class = admin.ask("GET", f"{OURS}/rendernodeclasses/{found['spec']['nodeClassName']}")
    configuration = kube.Configuration()
    await kube_config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    async with kube.ApiClient(configuration) as api:
        limiter = Limiter(1e6, 1e6, time.monotonic)
        client = Client(Transport(api, limiter, Metrics()))
        floor = Floor(client, children.session_id(found), node_class)
        loop = asyncio.get_running_loop()

        def heard(name: str) -> None:
            loop.call_soon_threadsafe(floor.running.put_nowait, name)

        with Live(admin, PODS, labels=SLAVES, fields="status.phase=Running", heard=heard):
            print(f"{format_time(datetime.now(UTC))} ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            indices = iter(range(count))
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(floor.make(indices))
                group.create_task(floor.confirm(count))
            print("done", flush=True)
            await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))

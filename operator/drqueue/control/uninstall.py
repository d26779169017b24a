"""What `helm uninstall` runs first: `python -m drqueue.control.uninstall`.

Stops the operator, then the nodes, and takes our finalizers off, so that nothing is stuck when
nobody is there any more to take them off. The ends of nodes are written down and their time is
settled on their sessions, as the operator does it. Sessions, jobs and claims stay: an operator
that is installed again takes them up.

Level-triggered as the operator is: a pass derives all from what exists, may run twice or be cut
short, and is repeated until nothing is left.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from drqueue.api.names import (
    FINALIZER,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_NODE,
    MANAGED_BY,
    POD_FINALIZER,
)
from drqueue.control.client import Client
from drqueue.control.errors import NotFound
from drqueue.control.hooks import connected, insist
from drqueue.control.kinds import Key, Kind, Object, Objects, key_of
from drqueue.control.transport import MERGE_PATCH, Transport
from drqueue.control.uninstall_plan import became_ready, ended, is_lost, is_over, settled

GRACE_SECONDS = 15
"""What a pod gets to report its last frames and exit."""
OURS = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_COMPONENT} in (master,reader,slave)"
DEPLOYMENTS = Kind("Deployment", "deployments", "apps")


@dataclass(frozen=True)
class Farm:
    """All of ours that exists."""

    sessions: Objects
    jobs: Objects
    nodes: Objects
    pods: Objects

    def pods_of(self, *components: str) -> Objects:
        """The pods that are one of these."""
        return [
            pod for pod in self.pods if pod["metadata"]["labels"][LABEL_COMPONENT] in components
        ]

    def pairs(self) -> list[tuple[Object | None, Object | None]]:
        """Each node with its slave's pod; the one or the other may be missing."""
        nodes = {_place(node, node["metadata"]["name"]): node for node in self.nodes}
        pods = {_place(pod, _node_of(pod)): pod for pod in self.pods_of("slave")}
        return [(nodes.get(place), pods.get(place)) for place in sorted(nodes.keys() | pods.keys())]


class Uninstall:
    """One run of the hook. `tenants`: namespaces, or none for all."""

    def __init__(
        self,
        client: Client,
        stop_operator: Callable[[], Awaitable[Sequence[str]]],
        clock: Callable[[], datetime],
        tenants: Sequence[str] = (),
        say: Callable[[str], None] = click.echo,
    ) -> None:
        """`stop_operator` sees to it that none runs, and answers the pods that still do."""
        self._client = client
        self._stop_operator = stop_operator
        self._clock = clock
        self._tenants = tenants
        self._say = say

    async def once(self) -> list[str]:
        """Do what can be done now; answer what is left."""
        # two that act would fight: it makes the pods that this deletes
        if running := await self._stop_operator():
            return [f"the operator's pod {name} to end" for name in running]
        farm = await self._look()
        slaves = farm.pods_of("slave")
        await self._note_readiness(farm)
        await self._delete(slaves)
        left = [f"slave {key_of(pod)} to end" for pod in slaves if not is_over(pod, self._clock())]
        await self._end_nodes(farm)
        if slaves or farm.nodes:
            # masters go last: slaves hand them their last frames
            return left or ["the last nodes to be settled"]
        others = farm.pods_of("master", "reader")
        await self._delete(others)
        if others:
            return [f"{key_of(pod)} to end" for pod in others]
        held = [obj for obj in (*farm.jobs, *farm.sessions) if _has(obj, FINALIZER)]
        for obj in held:
            await self._client.remove_finalizer(obj, FINALIZER)
            self._say(f"{key_of(obj)}: let go")
        return []

    async def _look(self) -> Farm:
        return Farm(
            sessions=await self._all("RenderSession"),
            jobs=await self._all("RenderJob"),
            nodes=await self._all("RenderNode"),
            pods=await self._all("Pod", OURS),
        )

    async def _all(self, kind: str, labels: str | None = None) -> Objects:
        everywhere: Sequence[str | None] = [None]
        try:
            found = [
                await self._client.list(kind, namespace, labels=labels)
                for namespace in self._tenants or everywhere
            ]
        except NotFound:
            return []  # the kind itself is gone
        return [obj for objects in found for obj in objects]

    async def _delete(self, pods: Objects) -> None:
        for pod in pods:
            meta = pod["metadata"]
            if "deletionTimestamp" not in meta:
                await self._client.delete(key_of(pod), uid=meta["uid"], grace_seconds=GRACE_SECONDS)
                self._say(f"{key_of(pod)}: deleted")

    async def _note_readiness(self, farm: Farm) -> None:
        now = self._clock()
        for node, pod in farm.pairs():
            if node is not None and pod is not None and (status := became_ready(node, pod, now)):
                # the newer version, for what is written to it later in this pass
                node.update(await self._client.update_status(node, status))

    async def _end_nodes(self, farm: Farm) -> None:
        """Record, settle and let go of each node whose pod is over, and of pods without a node."""
        now = self._clock()
        for node, pod in farm.pairs():
            if pod is not None and not is_over(pod, now):
                continue
            if node is not None:
                await self._settle(await self._record(node, pod, now))
            if pod is not None:
                if is_lost(pod, now):
                    uid = pod["metadata"]["uid"]
                    await self._client.delete(key_of(pod), uid=uid, grace_seconds=0)
                await self._let_go(pod, POD_FINALIZER)
            if node is not None:
                await self._client.delete(key_of(node), uid=node["metadata"]["uid"])
                await self._let_go(node, FINALIZER)
                self._say(f"{key_of(node)}: ended")

    async def _record(self, node: Object, pod: Object | None, now: datetime) -> Object:
        return await self._client.update_status(node, ended(node, pod, now))

    async def _settle(self, node: Object) -> None:
        spec, meta = node["spec"], node["metadata"]
        try:
            session = await self._client.get(
                Key("RenderSession", meta["namespace"], spec["sessionName"])
            )
        except NotFound:
            return
        if session["metadata"]["uid"] == spec["sessionUid"]:
            await self._client.update_status(session, settled(session, node))

    async def _let_go(self, obj: Object, finalizer: str) -> None:
        """Take the finalizer off the object as it is now: its deletion made a newer version."""
        try:
            now = await self._client.get(key_of(obj))
        except NotFound:
            return
        if now["metadata"]["uid"] == obj["metadata"]["uid"]:
            await self._client.remove_finalizer(now, finalizer)


def _has(obj: Object, finalizer: str) -> bool:
    return finalizer in (obj["metadata"].get("finalizers") or [])


def _node_of(pod: Object) -> str:
    name: str = pod["metadata"]["labels"].get(LABEL_NODE, pod["metadata"]["name"])
    return name


def _place(obj: Object, name: str) -> tuple[str, str]:
    return obj["metadata"]["namespace"], name


async def stop_operator(
    client: Client, transport: Transport, namespace: str, deployment: str, selector: str
) -> list[str]:
    """Scale the operator's Deployment to none, and answer the names of its pods that are left."""
    path = DEPLOYMENTS.path(namespace, deployment, "scale")
    with contextlib.suppress(NotFound):  # gone already; its pods may still be there
        await transport.request(
            "patch",
            "Deployment",
            path,
            query={"fieldManager": "drqueue-uninstall"},
            body={"spec": {"replicas": 0}},
            content_type=MERGE_PATCH,
        )
    return [pod["metadata"]["name"] for pod in await client.list("Pod", namespace, labels=selector)]


async def _main(
    namespace: str, deployment: str, selector: str, tenants: Sequence[str], timeout: float
) -> bool:
    async with connected() as (client, transport):
        run = Uninstall(
            client,
            lambda: stop_operator(client, transport, namespace, deployment, selector),
            lambda: datetime.now(UTC),
            tenants,
        )
        return await insist(run.once, timeout)


@click.command(help=__doc__)
@click.option("--namespace", required=True, help="Where the operator's Deployment is.")
@click.option("--deployment", required=True, help="Its name.")
@click.option("--selector", required=True, help="Labels of its pods.")
@click.option("--tenant", "tenants", multiple=True, help="Only these namespaces. Default: all.")
@click.option("--timeout", type=float, default=240.0, show_default=True, help="Seconds.")
def main(
    namespace: str, deployment: str, selector: str, tenants: tuple[str, ...], timeout: float
) -> None:
    """Run the hook."""
    if asyncio.run(_main(namespace, deployment, selector, tenants, timeout)):
        click.echo("Nothing of ours runs. Sessions, jobs and claims stay.")
        return
    click.echo(
        f"Not done within {timeout:.0f} s; what is left is above. Run `helm uninstall` again, or, "
        "to leave things as they are, `helm uninstall --no-hooks` (docs/operations.md).",
        err=True,
    )
    sys.exit(1)


if __name__ == "__main__":
    main()

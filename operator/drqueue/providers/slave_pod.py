"""The manifest of a slave's pod, from its node and its class's terms."""

from dataclasses import dataclass

from drqueue.api.names import LABEL_NODE, LABEL_NODE_UID, POD_FINALIZER
from drqueue.api.nodeclass import KubernetesProvider
from drqueue.api.values import parse_quantity
from drqueue.providers import pod_parts
from drqueue.providers.base import Launch
from drqueue.providers.pod_parts import Json

CONTAINER = "slave"
GIVE_BACK_SECONDS = 20
"""From the end of the drain's grace until the kubelet kills: to give the block back."""


@dataclass(frozen=True)
class SlaveDefaults:
    """What the chart sets where a class does not."""

    image: str
    pull_secrets: tuple[str, ...] = ()


def slave_pod(launch: Launch, defaults: SlaveDefaults) -> Json:
    """Build the pod. Its name is the node's, and so is its Secret's."""
    block = launch.provider.kubernetes
    if block is None:
        raise ValueError(f"node {launch.node.name} is none of Kubernetes'")
    node = launch.node
    grace = int(launch.drain_grace.total_seconds())
    spec: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace + GIVE_BACK_SECONDS,
        "securityContext": pod_parts.pod_security(),
        "containers": [_container(launch, block, defaults)],
        "volumes": [
            pod_parts.claim_volume(launch.claim_name),
            pod_parts.tls_volume(node.name),
            pod_parts.scratch(),
            *(
                {
                    "name": f"extra-{number}",
                    "persistentVolumeClaim": {
                        "claimName": extra.claim_name,
                        "readOnly": extra.read_only,
                    },
                }
                for number, extra in enumerate(block.volumes)
            ),
        ],
    }
    if launch.one_machine:
        spec["affinity"] = pod_parts.one_machine(node.session_uid)
    secrets = pod_parts.pull_secrets((*block.image_pull_secrets, *defaults.pull_secrets))
    if secrets:
        spec["imagePullSecrets"] = secrets
    if block.node_selector:
        spec["nodeSelector"] = dict(block.node_selector)
    if block.tolerations:
        spec["tolerations"] = [toleration.dump() for toleration in block.tolerations]
    if block.runtime_class_name:
        spec["runtimeClassName"] = block.runtime_class_name
    if block.priority_class_name:
        spec["priorityClassName"] = block.priority_class_name
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": node.name,
            "namespace": node.namespace,
            "labels": {
                **pod_parts.labels(node.session_name, node.session_uid, CONTAINER),
                LABEL_NODE: node.name,
                LABEL_NODE_UID: node.uid,
            },
            "finalizers": [POD_FINALIZER],
            "ownerReferences": [dict(launch.owner_reference)],
        },
        "spec": spec,
    }


def _container(launch: Launch, block: KubernetesProvider, defaults: SlaveDefaults) -> Json:
    container: Json = {
        "name": CONTAINER,
        "image": block.image or defaults.image,
        "imagePullPolicy": block.image_pull_policy,
        "command": ["drqueue-slave"],
        "env": pod_parts.environment(_variables(launch, block)),
        "ports": [{"name": "health", "containerPort": pod_parts.HEALTH_PORT}],
        "readinessProbe": pod_parts.probe("/readyz", period=1, failures=3),
        "resources": _resources(block),
        "securityContext": pod_parts.container_security(),
        "volumeMounts": [
            # the journal lies beside `work`, out of reach of the tenant's code
            {"name": "volume", "mountPath": "/work", "subPath": "work"},
            pod_parts.tls_mount(),
            pod_parts.scratch_mount(),
            *(
                {
                    "name": f"extra-{number}",
                    "mountPath": extra.mount_path,
                    "readOnly": extra.read_only,
                }
                for number, extra in enumerate(block.volumes)
            ),
        ],
    }
    sources = [_source(s.secret_name, s.config_map_name, s.prefix) for s in block.environment]
    if sources:
        container["envFrom"] = sources
    return container


def _source(secret: str | None, config_map: str | None, prefix: str | None) -> Json:
    source: Json = {"secretRef": {"name": secret}} if secret else {}
    if config_map:
        source["configMapRef"] = {"name": config_map}
    if prefix:
        source["prefix"] = prefix
    return source


def _variables(launch: Launch, block: KubernetesProvider) -> dict[str, str]:
    return {
        "DRQUEUE_MASTER_URL": launch.master_url,
        "DRQUEUE_TLS": pod_parts.TLS_PATH,
        "DRQUEUE_WORK": "/work",
        "DRQUEUE_NODE_CORES": f"{parse_quantity(block.resources.cores).normalize():f}",
        "DRQUEUE_NODE_MEMORY": str(int(parse_quantity(block.resources.memory))),
        "DRQUEUE_NODE_OS": launch.os,
        "DRQUEUE_NODE_POOLS": ",".join(launch.pools),
        "DRQUEUE_NODE_RENDERERS": ",".join(launch.renderers),
        "DRQUEUE_DRAIN_SECONDS": str(int(launch.drain_grace.total_seconds())),
    }


def _resources(block: KubernetesProvider) -> Json:
    resources = block.resources
    limits = {"memory": resources.memory}
    if resources.cores_limit:
        limits["cpu"] = resources.cores_limit
    return {"requests": {"cpu": resources.cores, "memory": resources.memory}, "limits": limits}

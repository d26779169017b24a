"""What every cluster with a node holds besides Kubernetes' own: DNS, storage classes. Pure."""

import json
from typing import Any

from devcluster.local.nodeconfig import DNS_SERVICE, PAUSE_IMAGE, local_path
from devcluster.local.state import State

Object = dict[str, Any]

STORAGE_NAMESPACE = "local-path-storage"
STORAGE_CONFIG = "local-path-config"
STORAGE_ACCOUNT = "local-path-provisioner"

SETUP = """#!/bin/sh
set -eu
# Folders are made by root and a hostPath volume knows no fsGroup, so any uid may write here. Users
# of the host do not get this far: the folders above are open to root only.
mkdir -m 0777 -p "$VOL_DIR"
"""
TEARDOWN = """#!/bin/sh
set -eu
rm -rf "$VOL_DIR"
"""


def objects(state: State) -> list[Object]:
    """Give the objects to apply."""
    return [*_dns(state), *_storage(state)]


def _dns(state: State) -> list[Object]:
    ports = [{"name": f"dns-{p.lower()}", "port": 53, "protocol": p} for p in ("UDP", "TCP")]
    labels = {"k8s-app": "kube-dns", "kubernetes.io/service-name": "kube-dns"}
    rules = [
        _rule("", ["endpoints", "services", "pods", "namespaces"], ["list", "watch"]),
        _rule("discovery.k8s.io", ["endpointslices"], ["list", "watch"]),
    ]
    return [
        *_role("devcluster:coredns", "system:coredns", rules),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
            "spec": {"clusterIP": state.addresses.service(DNS_SERVICE), "ports": ports},
        },
        {  # CoreDNS is no pod: it runs beside the kubelet, at the node's address
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [state.addresses.node], "conditions": {"ready": True}}],
            "ports": ports,
        },
    ]


def _storage(state: State) -> list[Object]:
    watch = ["get", "list", "watch"]
    change = [*watch, "create", "patch", "update", "delete"]
    rules = [
        _rule("", ["nodes", "persistentvolumeclaims", "configmaps", "pods/log"], watch),
        _rule("", ["persistentvolumes", "pods"], change),
        _rule("", ["events"], ["create", "patch"]),
        _rule("storage.k8s.io", ["storageclasses"], watch),
    ]
    helper = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {
            "containers": [
                {"name": "helper-pod", "image": PAUSE_IMAGE, "imagePullPolicy": "Never"}
            ],
        },
    }
    inside = {"namespace": STORAGE_NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": STORAGE_NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": STORAGE_ACCOUNT, **inside},
        },
        *_role("devcluster:local-path", "system:local-path", rules),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": STORAGE_CONFIG, **inside},
            "data": {
                "config.json": local_path(state),
                "setup": SETUP,
                "teardown": TEARDOWN,
                "helperPod.yaml": json.dumps(helper),
            },
        },
        _storage_class("encrypted", "WaitForFirstConsumer", default=True),
        _storage_class("tiny", "Immediate", default=False),
    ]


def _storage_class(name: str, binding: str, *, default: bool) -> Object:
    annotation = {"storageclass.kubernetes.io/is-default-class": str(default).lower()}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": annotation},
        "provisioner": "rancher.io/local-path",
        "volumeBindingMode": binding,
        "reclaimPolicy": "Delete",
    }


def _rule(group: str, resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _role(name: str, user: str, rules: list[Object]) -> list[Object]:
    api = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": rules,
        },
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": api, "kind": "User", "name": user}],
        },
    ]

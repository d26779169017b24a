"""The configuration files of a node's programs, as text. Pure."""

import json
from pathlib import Path
from typing import Any

from devcluster.local import cgroups
from devcluster.local.state import State

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
"""On a /run of the node's own, as is everything that must not survive the node."""

PAUSE_IMAGE = "drqueue.local/pause:1"
DNS_SERVICE = 10


def node_name(state: State) -> str:
    """Give the name of a cluster's only node."""
    return f"{state.name}-node"


def containerd(state: State, *, runc: Path, cni: Path, snapshotter: str) -> str:
    """Give containerd's configuration."""
    strings = {
        key: json.dumps(str(value))  # a TOML basic string
        for key, value in {
            "root": state.folder / "containerd",
            "socket": CONTAINERD_SOCKET,
            "pause": PAUSE_IMAGE,
            "snapshotter": snapshotter,
            "runc": runc,
            "cni": cni,
            "net": state.folder / "cni",
        }.items()
    }
    return """version = 3
root = {root}
state = "/run/containerd"
[grpc]
address = {socket}
[plugins."io.containerd.cri.v1.images"]
snapshotter = {snapshotter}
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = {pause}
[plugins."io.containerd.cri.v1.runtime"]
# without CAP_SYS_RESOURCE runc dies on a negative oom score
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = [{cni}]
conf_dir = {net}
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = {runc}
SystemdCgroup = false
""".format(**strings)


def cni(state: State) -> str:
    """Give the CNI configuration: a wire a pod, addresses from the cluster's pod network."""
    ptp = {
        "type": "ptp",
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni",
            "ranges": [[{"subnet": state.addresses.pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return _json({"cniVersion": "1.0.0", "name": "pods", "plugins": [ptp]})


def kubelet(state: State) -> str:
    """Give the kubelet's configuration."""
    pki = state.folder / "pki"
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": state.addresses.node,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(pki / "kubelet.key"),
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroups.group(state.name),
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "clusterDNS": [state.addresses.service(DNS_SERVICE)],
            "clusterDomain": "cluster.local",
            "resolvConf": str(state.folder / "resolv.conf"),
            # images here cannot be pulled again, so none is ever thrown away for space
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
            "serializeImagePulls": False,
        }
    )


def kube_proxy(state: State) -> str:
    """Give kube-proxy's configuration; conntrack's limits are the host's, so it leaves them be."""
    return _json(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(state.folder / "kubeconfigs" / "kube-proxy")},
            "clusterCIDR": state.addresses.pods,
            "hostnameOverride": node_name(state),
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpCloseWaitTimeout": "0s",
                "tcpEstablishedTimeout": "0s",
            },
        }
    )


def corefile(state: State) -> str:
    """Give CoreDNS's configuration: no cache, so that a service is found once it is there."""
    return f""".:53 {{
    bind {state.addresses.node}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {state.folder / "kubeconfigs" / "coredns"}
        ttl 1
    }}
}}
"""


def local_path(state: State) -> str:
    """Give the provisioner's configuration: a shared folder a storage class."""
    folders = {name: state.folder / "storage" / name for name in ("encrypted", "tiny")}
    return _json(
        {
            "storageClassConfigs": {
                name: {"sharedFileSystemPath": str(folder)} for name, folder in folders.items()
            }
        }
    )


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1)

"""A Kubernetes of processes, without Docker: for tests, benchmarks and the demo.

cluster = start("mine", "control-plane")   # idempotent; builds what is missing, once
cluster.kubeconfig                         # an administrator's
user_kubeconfig("mine", "ann", ["artists"])
stop("mine")                               # removes all of it
"""

from devcluster.local.lifecycle import (
    Cluster,
    freeze_apiserver,
    get,
    load_images,
    start,
    start_apiserver,
    status,
    stop,
    stop_apiserver,
    thaw_apiserver,
    user_kubeconfig,
)

__all__ = [
    "Cluster",
    "freeze_apiserver",
    "get",
    "load_images",
    "start",
    "start_apiserver",
    "status",
    "stop",
    "stop_apiserver",
    "thaw_apiserver",
    "user_kubeconfig",
]

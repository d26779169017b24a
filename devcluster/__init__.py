"""A Kubernetes to develop on, without Docker if need be.

python -m devcluster up [--name drqueue] [--profile full|control-plane] [--audit]
python -m devcluster kubeconfig [--name …]      prints the path; `export KUBECONFIG=$(…)`
python -m devcluster status | list | down [--name …]
python -m devcluster build [COMPONENT…]         programs, built once into the cache
python -m devcluster images [--target …]        the project's images, loaded into the cluster
python -m devcluster user NAME [--group …]      prints a kubeconfig with a certificate of its own
python -m devcluster apiserver stop|start|freeze|thaw

`control-plane` (etcd, API server, controller-manager, scheduler) needs no root and is up in a few
seconds; `full` adds a node that runs pods. CLUSTER=existing|kind|local picks the way, DRQUEUE_CACHE
the place of binaries, images and clusters (~/.cache/drqueue). From Python: `devcluster.local`.
"""

"""A cluster's node: namespaces of its own on this host, and what runs in them.

One process, `catatonit`, is the first of a pid, mount and network namespace; all of the node is
started into these. When it dies the kernel ends everything in there, unmounts what was mounted and
drops interfaces and nftables rules, so a crash leaves nothing behind but files and control groups.
It also lets two nodes stand side by side, though each believes itself alone: with the same table
names of kube-proxy, the same /run/containerd, the same /var/lib/kubelet.
"""

import os
from pathlib import Path

from devcluster import components
from devcluster.errors import DevclusterError
from devcluster.local import (
    addons,
    certs,
    cgroups,
    controlplane,
    kubeconfig,
    kubectl,
    network,
    nodeconfig,
    pause,
    process,
)
from devcluster.local.run import run, try_run
from devcluster.local.state import State
from devcluster.progress import Steps

TINY_BYTES = "16m"
"""Size of the file system below the storage class `tiny`, for tests of full volumes."""

COVERED = ("/run", "/var/lib", "/var/log")
KUBELET_ROOT = Path("/var/lib/kubelet")
FARM_USER = 10001
"""Uid and gid of all pods of a session (the images' user)."""
_GOCRYPTFS = (
    "exec 3<>/dev/fuse && mount -i -t fuse.gocryptfs "
    '-o fd=3,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions gocryptfs "$3" && '
    "exec setpriv --ruid nobody --pdeathsig KILL gocryptfs -fg -allow_other "
    f'-force_owner={FARM_USER}:{FARM_USER} -passfile "$1" "$2" /dev/fd/3'
)
"""One owner for all. Started by root, gocryptfs 2.3 would take on the caller's user for each file
that is made, and what two pods make at the same moment is then refused ("Operation not permitted")
or left to root. It asks the real user id only, and keeps root's rights by the effective one;
fusermount would not mount for another real user, so that is done here."""
INSIDE = ("gocryptfs", "containerd", "kubelet", "kube-proxy", "coredns")


def start(state: State, steps: Steps) -> None:
    """Start what does not run yet of the node, and wait until it takes pods."""
    with steps.step(f"starting the node of {state.name}"):
        init = _ensure_namespaces(state)
        network.connect(state, init)
        _write_configs(state)
        _ensure_storage(state)
        _ensure_containerd(state)
        _daemon(state, "kubelet", *_kubelet(state))
        proxy = components.program("kube-proxy")
        _daemon(state, "kube-proxy", str(proxy), f"--config={state.folder / 'kube-proxy.json'}")
        dns = components.program("coredns")
        _daemon(state, "coredns", str(dns), "-conf", str(state.folder / "Corefile"))
        kubectl.apply(state.kubeconfig, addons.objects(state))
        _outside(state, "local-path-provisioner", _provisioner(state))
        kubectl.wait_until(
            f"node {nodeconfig.node_name(state)}", lambda: _not_ready(state), seconds=180
        )


def enter(state: State) -> list[str]:
    """Give the words before a command that make it run inside the node."""
    init = _init(state)
    if init is None:
        raise DevclusterError(
            f"the node of {state.name!r} does not run; "
            f"start it: python -m devcluster up --name {state.name}"
        )
    return ["nsenter", f"--target={init}", "--mount", "--net", "--pid", "--"]


def _init(state: State) -> int | None:
    found = state.processes.get("node")
    return found.pid if found and process.alive(found) else None


def _ensure_namespaces(state: State) -> int:
    if (running := _init(state)) is not None:
        return running
    process.end([state.processes.pop(name) for name in INSIDE if name in state.processes], grace=1)
    cgroups.remove(state.name)
    cgroups.make(state.name)
    new = ("--fork", "--kill-child", "--pid", "--mount", "--net", "--mount-proc")
    command = ["unshare", *new, "--propagation=private", "--", str(pause.CATATONIT), "-P"]
    outer = process.spawn(command, mark=state.mark, log=state.log("node"))
    state.processes["node-parent"] = outer
    state.save()

    def born() -> str | None:
        controlplane.require_alive(state, "node-parent")
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        pids = children.read_text().split() if children.exists() else []
        for pid in map(int, pids):
            found = process.identify(pid)
            if found and Path(f"/proc/{pid}/comm").read_text().strip() == "catatonit":
                state.processes["node"] = found
                return None
        return process.tail(state.log("node"))

    kubectl.wait_until(f"namespaces of {state.name}", born, seconds=60)
    _mount_own_folders(state)
    state.save()
    return state.processes["node"].pid


def _mount_own_folders(state: State) -> None:
    """Give the node folders of its own where programs insist on a place.

    The host's are covered, never used as mount points that could be missing or be removed there:
    the kernel drops a mount in every namespace when somebody removes the folder it lies on.
    """
    for covered in COVERED:
        if state.folder.is_relative_to(covered):
            raise DevclusterError(
                f"DRQUEUE_CACHE lies in {covered}, and a node has one of its own; move the cache"
            )
    inside = enter(state)
    for name in ("kubelet", "var-log"):
        (state.folder / name).mkdir(exist_ok=True)
    run(*inside, "mount", "--make-rshared", "/")
    for covered in ("/run", "/var/lib"):
        run(*inside, "mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", covered)
    run(*inside, "mkdir", str(KUBELET_ROOT))
    run(*inside, "mount", "--bind", str(state.folder / "kubelet"), str(KUBELET_ROOT))
    run(*inside, "mount", "--bind", str(state.folder / "var-log"), "/var/log")


def _write_configs(state: State) -> None:
    authority, folder, addresses = certs.authority(state), state.folder, state.addresses
    name = nodeconfig.node_name(state)
    authority.issue(
        "kubelet", f"system:node:{name}", ["system:nodes"], hosts=[name, addresses.node]
    )
    kubeconfig.for_component(state, "kubelet", f"system:node:{name}", ["system:nodes"])
    kubeconfig.for_component(state, "kube-proxy", "system:kube-proxy")
    kubeconfig.for_component(state, "coredns", "system:coredns")
    kubeconfig.for_component(state, "local-path", "system:local-path")
    (folder / "cni").mkdir(exist_ok=True)
    (folder / "resolv.conf").write_text("")
    (folder / "cni" / "10-pods.conflist").write_text(nodeconfig.cni(state))
    (folder / "kubelet.json").write_text(nodeconfig.kubelet(state))
    (folder / "kube-proxy.json").write_text(nodeconfig.kube_proxy(state))
    (folder / "Corefile").write_text(nodeconfig.corefile(state))
    (folder / "local-path.json").write_text(nodeconfig.local_path(state))
    text = nodeconfig.containerd(
        state,
        runc=components.program("runc"),
        cni=components.program("ptp").parent,
        snapshotter=_snapshotter(folder),
    )
    (folder / "containerd.toml").write_text(text)


def _snapshotter(folder: Path) -> str:
    """Give containerd's way to stack layers: overlay does not stack on itself (in a container)."""
    kind = run("stat", "--file-system", "--format=%T", str(folder)).strip()
    return "native" if kind == "overlayfs" else "overlayfs"


def _ensure_storage(state: State) -> None:
    storage = state.folder / "storage"
    storage.mkdir(mode=0o700, exist_ok=True)
    cipher, clear, tiny = (storage / name for name in ("cipher", "encrypted", "tiny"))
    for folder in (cipher, clear, tiny):
        folder.mkdir(exist_ok=True)
    key = state.folder / "pki" / "storage.key"
    if not (cipher / "gocryptfs.conf").exists():
        key.touch(mode=0o600)
        key.write_text(os.urandom(32).hex())
        # the key is random, so stretching it (scrypt) would only cost time
        run("gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", str(key), str(cipher))
    inside = enter(state)
    mounted = ["mountpoint", "--quiet"]
    if not try_run([*inside, *mounted, str(clear)]):
        _daemon(state, "gocryptfs", "sh", "-c", _GOCRYPTFS, "sh", str(key), str(cipher), str(clear))
        _wait(state, "gocryptfs", [*inside, *mounted, str(clear)], seconds=60)
        run(*inside, "chmod", "0711", str(clear))
    if not try_run([*inside, *mounted, str(tiny)]):
        size = f"size={TINY_BYTES},mode=0711"
        run(*inside, "mount", "-t", "tmpfs", "-o", size, "tmpfs", str(tiny))


def _ensure_containerd(state: State) -> None:
    config = state.folder / "containerd.toml"
    programs = components.program("containerd").parent
    path = f"{programs}:{components.program('runc').parent}:{os.environ['PATH']}"
    command = (str(programs / "containerd"), f"--config={config}")
    _daemon(state, "containerd", *command, environment={"PATH": path})
    _wait(state, "containerd", [*ctr(state), "version"], seconds=90)
    if nodeconfig.PAUSE_IMAGE not in run(*ctr(state), "images", "list", "--quiet").split():
        archive = state.folder / "pause.tar"
        pause.write(archive, nodeconfig.PAUSE_IMAGE)
        run(*ctr(state), "images", "import", str(archive))


def _wait(state: State, name: str, sign: list[str], *, seconds: float) -> None:
    """Wait until a command succeeds, which it does once that process serves."""

    def check() -> str | None:
        controlplane.require_alive(state, name)
        return None if try_run(sign) else process.tail(state.log(name))

    kubectl.wait_until(name, check, seconds=seconds)


def ctr(state: State) -> list[str]:
    """Give the words that start a containerd client on the node's images of Kubernetes."""
    client = str(components.program("ctr"))
    socket = f"--address={nodeconfig.CONTAINERD_SOCKET}"
    return [*enter(state), client, socket, "--namespace=k8s.io"]


def _kubelet(state: State) -> list[str]:
    return [
        str(components.program("kubelet")),
        f"--config={state.folder / 'kubelet.json'}",
        f"--kubeconfig={state.folder / 'kubeconfigs' / 'kubelet'}",
        f"--hostname-override={nodeconfig.node_name(state)}",
        f"--node-ip={state.addresses.node}",
        f"--root-dir={KUBELET_ROOT}",
    ]


def _provisioner(state: State) -> list[str]:
    return [
        str(components.program("local-path-provisioner")),
        "start",
        f"--kubeconfig={state.folder / 'kubeconfigs' / 'local-path'}",
        f"--config={state.folder / 'local-path.json'}",
        f"--namespace={addons.STORAGE_NAMESPACE}",
        f"--configmap-name={addons.STORAGE_CONFIG}",
        f"--service-account-name={addons.STORAGE_ACCOUNT}",
        f"--helper-image={nodeconfig.PAUSE_IMAGE}",
    ]


def _daemon(
    state: State, name: str, *command: str, environment: dict[str, str] | None = None
) -> None:
    # nsenter waits outside, and is what the record knows: without it the program must not go on
    tied = ("setpriv", "--pdeathsig", "KILL", "--")
    _outside(state, name, [*enter(state), *tied, *command], environment)


def _outside(
    state: State, name: str, command: list[str], environment: dict[str, str] | None = None
) -> None:
    known = state.processes.get(name)
    if known and process.alive(known):
        return
    state.processes[name] = process.spawn(
        command, mark=state.mark, log=state.log(name), environment=environment
    )
    state.save()


def _not_ready(state: State) -> str | None:
    for name in (*INSIDE, "local-path-provisioner"):
        controlplane.require_alive(state, name)
    condition = "{.status.conditions[?(@.type=='Ready')]['status','message']}"
    said = kubectl.kubectl(
        state.kubeconfig,
        *("get", "node", nodeconfig.node_name(state), "--ignore-not-found"),
        f"--output=jsonpath={condition}",
    )
    return None if said.startswith("True") else said or "not registered"

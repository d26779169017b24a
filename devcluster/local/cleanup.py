"""Removes what a cluster put on this machine, whether it ended well or not."""

from devcluster.local import cgroups, network, process
from devcluster.local import state as states
from devcluster.local.state import State


def strays(state: State) -> None:
    """End this cluster's processes that no record knows: a crash came before it was written.

    Those inside a node (containerd's shims) are its own affair: they live and die with it.
    """
    known = set(state.processes.values())
    found = [one for one in process.marked(state.mark) if one not in known]
    process.end([one for one in found if process.shares_pid_namespace(one)])


def everything(name: str) -> None:
    """End all processes of a cluster, and remove its wire, control groups and folder.

    Its data goes with it, so nobody is given time to save any. The node's first process takes all
    of the node with it: containers, mounts, rules.
    """
    folder = states.folder_of(name)
    state = states.load(name)
    recorded = list(state.processes.values()) if state else []
    process.end(recorded, grace=0)
    process.end(process.marked(str(folder)), grace=0)
    network.remove(name, state.index if state else None)
    cgroups.remove(name)
    if folder.exists():
        states.remove(folder)

"""Removes what a cluster put on this machine, whether it ended well or not."""

from devcluster.local import process
from devcluster.local import state as states
from devcluster.local.state import State


def strays(state: State) -> None:
    """End this cluster's processes that no record knows: a crash came before it was written."""
    known = set(state.processes.values())
    process.end([one for one in process.marked(state.mark) if one not in known])


def everything(name: str) -> None:
    """End all processes of a cluster and remove its folder."""
    folder = states.folder_of(name)
    state = states.load(name)
    recorded = list(state.processes.values()) if state else []
    marked = process.marked(str(folder))
    process.end([*recorded, *(one for one in marked if one not in recorded)])
    if folder.exists():
        states.remove(folder)

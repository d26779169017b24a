"""The wire between this host and a cluster's node: a bridge here, a veth into its namespace.

The host reaches pods and services by two routes through the node; nothing is forwarded or
translated on the host, so no firewall rule and no sysctl of it is touched. Pods reach the host, and
through it the API server, but not the Internet. kube-proxy's rules live in the node's own network
namespace and go with it.
"""

import json
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.local.run import run, try_run
from devcluster.local.state import Addresses, State


def alias(name: str) -> str:
    """Give what our bridge is marked with, so that a stranger's is never removed."""
    return f"drqueue:{name}"


def ensure_bridge(state: State) -> None:
    """Make the bridge with the host's address, or take over the one a crash left."""
    addresses = state.addresses
    if not Path(f"/sys/class/net/{addresses.bridge}").exists():
        run("ip", "link", "add", addresses.bridge, "type", "bridge")
        run("ip", "link", "set", addresses.bridge, "alias", alias(state.name))
    elif bridge_of(run("ip", "-json", "link", "show"), state.name) != addresses.bridge:
        raise DevclusterError(
            f"the interface {addresses.bridge} is somebody else's; "
            f"remove it: ip link delete {addresses.bridge}"
        )
    run("ip", "address", "replace", f"{addresses.host}/24", "dev", addresses.bridge)
    run("ip", "link", "set", addresses.bridge, "up")


def connect(state: State, init: int) -> None:
    """Lay the wire into the namespace of process `init`, and the routes to it; idempotent."""
    addresses = state.addresses
    outside = f"{addresses.bridge}n"
    inside = ("nsenter", f"--target={init}", "--net", "--")
    if not try_run([*inside, "ip", "link", "show", "eth0"]):
        try_run(["ip", "link", "delete", outside])  # of a node that just died
        peer = ("peer", "name", "eth0", "netns", str(init))
        run("ip", "link", "add", outside, "type", "veth", *peer)
    run("ip", "link", "set", outside, "master", addresses.bridge, "up")
    run(*inside, "ip", "link", "set", "lo", "up")
    run(*inside, "ip", "address", "replace", f"{addresses.node}/24", "dev", "eth0")
    run(*inside, "ip", "link", "set", "eth0", "up")
    run(*inside, "ip", "route", "replace", "default", "via", addresses.host)
    run(*inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    for network in (addresses.pods, addresses.services):
        through = ("via", addresses.node, "dev", addresses.bridge)
        run("ip", "route", "replace", network, *through)


def bridge_of(links: str, name: str) -> str | None:
    """Give the bridge marked as that cluster's, out of what `ip -json link show` printed."""
    for link in json.loads(links or "[]"):
        if link.get("ifalias") == alias(name):
            return str(link["ifname"])
    return None


def remove(name: str, index: int | None) -> None:
    """Remove a cluster's bridge and what is left of its wire; the routes go with the bridge."""
    if not try_run(["ip", "link", "show"]):
        return  # no `ip`: then none was made with it
    if index is not None:
        try_run(["ip", "link", "delete", f"{Addresses(index).bridge}n"])
    if found := bridge_of(run("ip", "-json", "link", "show"), name):
        run("ip", "link", "delete", found)

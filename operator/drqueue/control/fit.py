"""Whether a kind of node can render a job: its renderers, its size, its pools. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from drqueue.api.values import parse_quantity
from drqueue.providers.base import Trouble


@dataclass(frozen=True)
class Offer:
    """What a node has, or the nodes of a class will have."""

    renderers: frozenset[str]
    pools: frozenset[str]
    os: str
    cores: Decimal
    memory: Decimal


def offer_of(spec: Mapping[str, Any]) -> Offer:
    """Read the offer of a RenderNodeClass's or a RenderNode's spec."""
    block = (spec.get("provider") or {}).get("kubernetes") or {}
    resources = block.get("resources") or {}
    return _offer(
        tuple(spec.get("renderers") or ()),
        tuple(spec.get("pools") or ()),
        spec.get("os") or "linux",
        resources.get("cores", "1"),
        resources.get("memory", "1Gi"),
    )


@lru_cache(maxsize=1024)
def _offer(
    renderers: tuple[str, ...],
    pools: tuple[str, ...],
    os: str,
    cores: str | int,
    memory: str | int,
) -> Offer:
    # a session's nodes are alike, and looked at whenever one of them changes
    return Offer(
        frozenset(renderers), frozenset(pools), os, parse_quantity(cores), parse_quantity(memory)
    )


def why_not(job_spec: Mapping[str, Any], offer: Offer, class_name: str) -> Trouble | None:
    """Why such nodes cannot render a job, and what to do; None if they can."""
    renderer = job_spec.get("renderer")
    if renderer is not None and renderer not in offer.renderers:
        has = ", ".join(sorted(offer.renderers)) or "none"
        return Trouble(
            "RendererNotOffered",
            f"spec.renderer {renderer!r} is not offered by node class {class_name!r}, which has "
            f"{has}: create the job with one of these, or in a session of another class",
        )
    limits = job_spec.get("limits") or {}
    misses = []
    for name, have in (("cores", offer.cores), ("memory", offer.memory)):
        if limits.get(name) is not None and parse_quantity(limits[name]) > have:
            misses.append(f"spec.limits.{name} {limits[name]} is more than its {_plain(have)}")
    if limits.get("os") and limits["os"] != offer.os:
        misses.append(f"spec.limits.os {limits['os']!r} is not its {offer.os!r}")
    if limits.get("pool") and limits["pool"] not in offer.pools:
        pools = ", ".join(sorted(offer.pools)) or "none"
        misses.append(f"spec.limits.pool {limits['pool']!r} is none of its pools ({pools})")
    if not misses:
        return None
    return Trouble(
        "LimitsUnsatisfiable",
        f"no node of class {class_name!r} can meet the job's limits: {'; '.join(misses)}. "
        "Create the job with lower limits, or in a session of another class",
    )


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"

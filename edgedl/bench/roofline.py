"""How fast a node can be at most on the machine that it was profiled on.

The roofline model: a node can't be faster than its bytes at the bandwidth, nor than its
operations at the processor's rate, so the larger of the two is its floor.
Source: Williams, Waterman, Patterson, Roofline, CACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgedl.runtime.protocol import Limits, NodeProfile, Profile


@dataclass(frozen=True)
class Floor:
    """The least time a node can take, in nanoseconds, and what bounds it.

    `ns` is None where a part is unknown; what is known is then no bound.
    """

    ns: float | None
    bound: str


def floor(node: NodeProfile, limits: Limits) -> Floor:
    """A node's least time on this machine.

    Constants come from wherever the whole model's constants lie, being read once a run;
    activations were written a moment ago and are in the nearest cache.
    """
    if node.parameter_bytes is None:
        return Floor(None, "unknown")
    read = 1e9 * (node.parameter_bytes / limits.weights + node.moved_bytes / limits.near)
    rate = {"float32": limits.float32, "int8": limits.int8}.get(node.arithmetic)
    if node.operations is None or rate is None:
        return Floor(read, "bytes" if read else "nothing")
    computed = 1e9 * node.operations / rate
    return Floor(max(read, computed), "operations" if computed > read else "bytes")


def overhead_ns(profile: Profile) -> float:
    """What tracing adds to each call of a node: what the nodes take more than an untraced run."""
    calls = sum(node.calls for node in profile.nodes)
    excess = sum(node.traced_ns for node in profile.nodes) - profile.median_ns
    return max(0.0, excess) / calls if calls else 0.0


def net_ns(node: NodeProfile, overhead: float) -> float:
    """A node's time less what tracing added."""
    return max(0.0, node.traced_ns - overhead * node.calls)


def model_floor(profile: Profile) -> float | None:
    """The sum of the nodes' floors, in nanoseconds; None where one is unknown."""
    if profile.limits is None:
        return None
    floors = [floor(node, profile.limits).ns for node in profile.nodes]
    return None if None in floors else sum(ns or 0.0 for ns in floors)

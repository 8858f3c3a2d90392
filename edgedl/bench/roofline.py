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
    """The least time a node's bytes and its operations can take, in nanoseconds.

    Of bytes None is unknown; of operations, unknown or none.
    """

    bytes_ns: float | None
    operations_ns: float | None = None

    @property
    def ns(self) -> float | None:
        """The least time of the node; None where its bytes are unknown."""
        if self.bytes_ns is None:
            return None
        return max(self.bytes_ns, self.operations_ns or 0.0)

    @property
    def bound(self) -> str:
        """What bounds the node: `bytes`, `operations`, `nothing` or `unknown`."""
        if self.bytes_ns is None:
            return "unknown"
        if (self.operations_ns or 0.0) > self.bytes_ns:
            return "operations"
        return "bytes" if self.bytes_ns else "nothing"


def floor(node: NodeProfile, limits: Limits) -> Floor:
    """A node's least time on this machine.

    Constants come from wherever the whole model's constants lie, being read once a run;
    activations were written a moment ago and are in the nearest cache, and what a recurrent
    layer reads step by step may be there too.
    """
    rate = {"float32": limits.float32, "int8": limits.int8}.get(node.arithmetic)
    counted = node.operations is not None and rate is not None
    computed = 1e9 * (node.operations or 0) / (rate or 1.0) if counted else None
    if node.parameter_bytes is None:
        return Floor(None, computed)
    again = node.moved_bytes + node.reread_bytes
    return Floor(1e9 * (node.parameter_bytes / limits.weights + again / limits.near), computed)


def all_bytes(node: NodeProfile) -> int | None:
    """What a node reads and writes in a run; None where a part is unknown."""
    if node.parameter_bytes is None:
        return None
    return node.parameter_bytes + node.reread_bytes + node.moved_bytes


def overhead_ns(profile: Profile) -> float:
    """What tracing adds to each call of a node, at most.

    All nodes together take that much more than an untraced run; and no node's time is less
    than what tracing added to it, the lightest one's neither.
    """
    calls = sum(node.calls for node in profile.nodes)
    if not calls:
        return 0.0
    excess = sum(node.traced_ns for node in profile.nodes) - profile.median_ns
    lightest = min(node.traced_ns / node.calls for node in profile.nodes if node.calls)
    return min(max(0.0, excess) / calls, lightest)


def net_ns(node: NodeProfile, overhead: float) -> float:
    """A node's time less what tracing added."""
    return max(0.0, node.traced_ns - overhead * node.calls)


def model_floor(profile: Profile) -> float | None:
    """The sum of the nodes' floors, in nanoseconds; None where one is unknown."""
    if profile.limits is None:
        return None
    floors = [floor(node, profile.limits).ns for node in profile.nodes]
    return None if None in floors else sum(ns or 0.0 for ns in floors)

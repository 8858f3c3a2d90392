"""Which node runs on which provider: what may fall back to the CPU, and what did."""

from __future__ import annotations

from typing import Any

from edgedl.runtime.errors import DeviceError
from edgedl.runtime.providers import CPU, Target

_FORBID = "session.disable_cpu_ep_fallback"
_RECORD = "session.record_ep_graph_assignment_info"


def placement_entries(target: Target, tells: bool) -> dict[str, str]:
    """Session configuration that makes a fallback an error, or visible afterwards.

    Args:
        target: What was asked for.
        tells: Whether this onnxruntime tells which node went where (1.24 and newer). One that
            doesn't may let nothing fall back, unless the device's name allows everything.
    """
    if target.provider.name == CPU or target.fallback == "any":
        return {}
    if target.fallback == "none" or not tells:
        return {_FORBID: "1"}
    return {_RECORD: "1"}


def check_placement(session: Any, target: Target) -> None:
    """Refuse a session that serves something else than the provider asked for.

    Args:
        session: An InferenceSession opened with `placement_entries`.
        target: What was asked for.

    Raises:
        DeviceError: The provider is not active, or the CPU took nodes that it may not.
    """
    wanted, active = target.provider.name, session.get_providers()
    if wanted not in active:
        raise DeviceError(
            f"{wanted} was asked for, but onnxruntime fell back to {', '.join(active)}",
            f"check the driver; {target.provider.install}",
        )
    tells = hasattr(session, "get_provider_graph_assignment_info")
    if _RECORD not in placement_entries(target, tells):
        return
    from edgedl.runtime.operations import OPERATIONS  # not where everything runs on the CPU

    placed = [
        (part.ep_name, node)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    heavy = [f"{n.op_type} {n.name}" for on, n in placed if on == CPU and n.op_type in OPERATIONS]
    if heavy:
        raise left_to_cpu(target, f"{len(heavy)} node{'s' * (len(heavy) > 1)}", heavy)
    if placed and all(on == CPU for on, _ in placed):
        raise left_to_cpu(target, "every node")


def fallback_refused(error: Exception, target: Target) -> DeviceError | None:
    """The error to raise where ONNX Runtime refused a session since the CPU took a node."""
    if "fallback to CPU EP has been explicitly disabled" not in str(error):
        return None
    return left_to_cpu(target, "nodes")


def left_to_cpu(target: Target, what: str, nodes: list[str] | None = None) -> DeviceError:
    """That the CPU would take what was asked of another device."""
    named = f" ({', '.join((nodes or [])[:3])}{', ...' * (len(nodes or []) > 3)})" * bool(nodes)
    allowed = target.device.removesuffix("-only") + "+cpu"
    return DeviceError(
        f"device {target.device}: {target.provider.name} leaves {what}{named} to the CPU",
        f"--device {allowed} allows it; edgedl inspect BUNDLE --placement --device {allowed} "
        "shows which",
    )

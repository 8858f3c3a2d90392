"""Which node runs where, as one traced run on golden inputs tells."""

from __future__ import annotations

from edgedl.runtime.bundle import Bundle, open_bundle
from edgedl.runtime.feeds import pick_inputs
from edgedl.runtime.golden import read_golden
from edgedl.runtime.host import describe_host
from edgedl.runtime.protocol import (
    Case,
    PlacedNode,
    PlacementAnswer,
    PlacementRequest,
    VariantPlacement,
)
from edgedl.runtime.settings import Settings
from edgedl.runtime.trace import trace_session


def locate_nodes(request: PlacementRequest) -> PlacementAnswer:
    """Run each variant once; every node that ran, in its order and after fusion."""
    bundle = open_bundle(request.bundle)
    names = request.variants or tuple(v.name for v in bundle.manifest.variants)
    rows = tuple(VariantPlacement(name, _nodes(bundle, name, request)) for name in names)
    return PlacementAnswer(request.bundle, request.device, describe_host(), rows)


def _nodes(bundle: Bundle, name: str, request: PlacementRequest) -> tuple[PlacedNode, ...]:
    variant = bundle.manifest.variant(name)
    inputs = pick_inputs(bundle, read_golden(bundle), Case(request.bundle, name)).inputs
    with trace_session(bundle, variant, request.device, Settings(request.threads)) as traced:
        traced.run(inputs)
        (steps,) = traced.read()
    placed = {step.event.node: step.event.args.provider for step in steps}
    return tuple(PlacedNode(node, kind, on) for (node, kind, _), on in placed.items())

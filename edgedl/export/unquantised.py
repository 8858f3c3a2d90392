"""What a quantised variant leaves in float, node by node, with the reason."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import NodeProto, TensorProto

from edgedl.export.nodes import inner_nodes
from edgedl.export.recipes.material import RECURRENT, Product
from edgedl.export.surgery import weights_of
from edgedl.runtime.manifest import Unquantised

# Operators that carry weights or multiply: what a quantisation is for.
CONCERNED = ("Conv", "ConvTranspose", "MatMul", "Gemm", *RECURRENT, "Gather", "Attention")
NO_KERNEL = {
    "GRU": "the operator has no integer kernel",
    "RNN": "the operator has no integer kernel",
    "ConvTranspose": "the operator has no integer kernel",
}
INSIDE = "inside {}: recipes take the outer graph only"
NO_WEIGHTS = "no weights: both inputs are activations"
ELSE = "onnxruntime's quantiser left it"
# What quantisers append to a node's name where they take it apart.
SUFFIXES = ("", "_MatMul")


def unquantised(start: onnx.ModelProto, product: Product) -> tuple[Unquantised, ...]:
    """The nodes that are in float after a recipe as before it.

    Args:
        start: The model that was quantised; its nodes have names.
        product: What the recipe made of it.
    """
    after = {node.name: node for node in product.model.graph.node}
    dequantised = _dequantised(product.model)
    weights = weights_of(start)
    found = []
    for node in start.graph.node:
        concerned = node.name in product.kept
        if product.leaves is not None:
            concerned |= _concerns(node, weights) and _still_float(node, after, dequantised)
        if concerned:
            reason = _reason(node, product, weights)
            found.append(Unquantised(node.name, node.op_type, reason))
        if product.leaves is not None:
            found += _inside(node)
    return tuple(found)


def _inside(node: NodeProto) -> list[Unquantised]:
    """What an If's branches or a Loop's body hold, which no recipe touches."""
    return [
        Unquantised(
            f"{node.name}/{inner.name or inner.output[0]}",
            inner.op_type,
            INSIDE.format(node.op_type),
        )
        for inner in inner_nodes(node)
        if inner.op_type in CONCERNED and inner.op_type != "Gather"
    ]


def _dequantised(model: onnx.ModelProto) -> set[str]:
    """Values that come out of DequantizeLinear, or of bytes that were cast and scaled."""
    values: set[str] = set()
    stored = {
        i.name
        for i in model.graph.initializer
        if i.data_type in (TensorProto.INT8, TensorProto.UINT8)
    }
    for node in model.graph.node:
        restores = node.op_type in ("Cast", "Mul") and (stored | values) & set(node.input)
        if restores or node.op_type == "DequantizeLinear":
            values.update(node.output)
    return values


def _concerns(node: NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    """Whether the node looks up or multiplies floats: a Gather from a shape does not."""
    if node.op_type != "Gather":
        return node.op_type in CONCERNED
    table = weights.get(node.input[0])
    if table is None or table.data_type != TensorProto.FLOAT:
        return False
    return len(table.dims) > 1 and table.dims[-1] > 1


def _still_float(node: NodeProto, after: Mapping[str, NodeProto], dequantised: set[str]) -> bool:
    for suffix in SUFFIXES:
        now = after.get(f"{node.name}{suffix}")
        if now is not None and now.op_type in (node.op_type, "MatMul"):
            return not dequantised & set(now.input)
    return False


def _reason(node: NodeProto, product: Product, weights: Mapping[str, TensorProto]) -> str:
    if node.name in product.kept:
        return product.kept[node.name]
    held = any(name in weights for name in node.input)
    if node.op_type in ("MatMul", "Gemm", "Attention") and not held:
        return NO_WEIGHTS
    leaves = product.leaves or {}
    return leaves.get(node.op_type) or NO_KERNEL.get(node.op_type, ELSE)

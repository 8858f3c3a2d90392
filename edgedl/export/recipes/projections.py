"""Products with a constant matrix: the Dense and projection layers of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgedl.export.nodes import attribute
from edgedl.export.surgery import float_weight, weights_of
from edgedl.runtime.golden import Array

PRODUCTS = ("MatMul", "Gemm")


@dataclass(frozen=True)
class Projection:
    """A product with a constant matrix: `output = input @ weight (+ bias)`.

    `weight` is float32, (k, n). `bias` is the name of what is added; empty where nothing is.
    """

    name: str
    operator: str
    input: str
    output: str
    weight: Array
    bias: str = ""

    def products(self, nodes: Sequence[NodeProto], product: str) -> tuple[NodeProto, ...]:
        """Nodes that make `product` instead, and what adds the bias to it."""
        if not self.bias:
            return tuple(nodes)
        add = helper.make_node(
            "Add", [product, self.bias], [self.output], name=f"{self.name}__bias"
        )
        return (*nodes, add)

    @property
    def product(self) -> str:
        """The value to write the product to, before the bias is added."""
        return f"{self.name}__product" if self.bias else self.output


def projections(model: ModelProto) -> tuple[Projection, ...]:
    """Every MatMul and Gemm of the outer graph whose matrix is constant."""
    weights = weights_of(model)
    found = (_projection(node, weights) for node in model.graph.node)
    return tuple(projection for projection in found if projection is not None)


def _projection(node: NodeProto, weights: Mapping[str, TensorProto]) -> Projection | None:
    if node.op_type not in PRODUCTS or node.domain:
        return None
    weight = float_weight(weights, node.input[1])
    if weight is None or weight.ndim != 2 or node.input[0] in weights:
        return None
    bias = ""
    if node.op_type == "Gemm":
        bias = node.input[2] if len(node.input) > 2 else ""
        plain = attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "transA", 0) == 0
        if not plain or (bias and attribute(node, "beta", 1.0) != 1.0):
            return None
        weight = weight.T if attribute(node, "transB", 0) else weight
    return Projection(
        node.name, node.op_type, node.input[0], node.output[0], np.ascontiguousarray(weight), bias
    )


# An integer product pays for quantising its input, about a microsecond. Measured with
# onnxruntime 1.32 and AVX-512 VNNI, one row: float is faster up to 128 x 128, even at 256 x 256.
SMALL = 128 * 128
MINOR = 0.05


def minor(found: Sequence[Projection]) -> frozenset[str]:
    """Projections so small, beside the others too, that float is faster there."""
    total = sum(p.weight.size for p in found)
    return frozenset(
        p.name for p in found if p.weight.size <= SMALL and p.weight.size < MINOR * total
    )

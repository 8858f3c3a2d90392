"""TensorFlow operators that tf2onnx lacks or mistakes, written in ONNX's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto
from tf2onnx import utils

# What tf2onnx calls for an operator: (its graph, the node, the node's name, arguments).
Handler = Callable[[Any, Any, str, list[Any]], None]
# What it calls on a graph before it translates operators: (the graph, its nodes) -> nodes.
Rewriter = Callable[[Any, list[Any]], list[Any]]
TO_CHANNELS_FIRST, TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def _erfc(graph: Any, node: Any, name: str, args: list[Any]) -> None:
    """erfc(x) = 1 - erf(x). Exact gelu is x * erfc(-x / sqrt(2)) / 2.

    Where erf is close to 1 only the last digits of 1 are lost, 6e-8.
    """
    kind = utils.map_onnx_to_numpy_type(graph.get_dtype(node.output[0]))
    one = _constant(graph, name, 1, kind)
    erf = graph.make_node("Erf", [node.input[0]]).output[0]
    _replace(graph, node, "Sub", [one, erf])


def _expm1(graph: Any, node: Any, name: str, args: list[Any]) -> None:
    """expm1(x) = exp(x) - 1. Near 0 it loses digits, but no more than 6e-8."""
    kind = utils.map_onnx_to_numpy_type(graph.get_dtype(node.output[0]))
    one = _constant(graph, name, 1, kind)
    exp = graph.make_node("Exp", [node.input[0]]).output[0]
    _replace(graph, node, "Sub", [exp, one])


def _bucketize(graph: Any, node: Any, name: str, args: list[Any]) -> None:
    """Discretization: the number of boundaries that are not above x."""
    limits = _constant(graph, name, node.get_attr("boundaries").floats, np.float32)
    last = _constant(graph, name, [-1], np.int64)
    x = graph.make_node("Cast", [node.input[0]], attr={"to": TensorProto.FLOAT}).output[0]
    column = graph.make_node("Unsqueeze", [x, last]).output[0]
    above = graph.make_node("Less", [column, limits]).output[0]
    reached = graph.make_node("Not", [above]).output[0]
    ones = graph.make_node("Cast", [reached], attr={"to": TensorProto.INT32}).output[0]
    _replace(graph, node, "ReduceSum", [ones, last], {"keepdims": 0})


def _resize(graph: Any, node: Any, name: str, args: list[Any]) -> None:
    """Images (batch, height, width, channels) at another size, as TensorFlow interpolates them.

    tf2onnx gives ONNX a factor instead of the size: 24 pixels times the float nearest to
    20/24 are 19. It also interpolates images of integers as integers.
    """
    image = node.input[0]
    if node.type != "ResizeNearestNeighbor":
        image = graph.make_node("Cast", [image], attr={"to": TensorProto.FLOAT}).output[0]
    image = graph.make_node("Transpose", [image], attr={"perm": TO_CHANNELS_FIRST}).output[0]
    size = _constant(graph, name, [2], np.int64)
    kept = graph.make_node("Shape", [image]).output[0]
    kept = graph.make_node("Slice", [kept, _constant(graph, name, [0], np.int64), size]).output[0]
    size = graph.make_node("Cast", [node.input[1]], attr={"to": TensorProto.INT64}).output[0]
    sizes = graph.make_node("Concat", [kept, size], attr={"axis": 0}).output[0]
    attr = _interpolation(node)
    resized = graph.make_node("Resize", [image, "", "", sizes], attr=attr).output[0]
    _replace(graph, node, "Transpose", [resized], {"perm": TO_CHANNELS_LAST})


def _interpolation(node: Any) -> dict[str, Any]:
    """ONNX's attributes for TensorFlow's way; its bicubic one is Keys' with a = -0.5."""
    centred = "half_pixel_centers" in node.attr and node.attr["half_pixel_centers"].i
    corners = "align_corners" in node.attr and node.attr["align_corners"].i
    where = "align_corners" if corners else "half_pixel" if centred else "asymmetric"
    attr: dict[str, Any] = {"coordinate_transformation_mode": where}
    if node.type == "ResizeBilinear":
        return {**attr, "mode": "linear"}
    if node.type == "ResizeBicubic":
        return {**attr, "mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1}
    # floor(x) of TensorFlow's x, which ONNX counts from the pixel's centre where it is centred.
    nearest = "round_prefer_ceil" if centred or corners else "floor"
    return {**attr, "mode": "nearest", "nearest_mode": nearest}


def _constant(graph: Any, name: str, value: Any, dtype: Any) -> str:
    constant: str = graph.make_const(utils.make_name(name), np.array(value, dtype)).output[0]
    return constant


def _is_float(graph: Any, value: str) -> bool:
    return graph.get_dtype(value) in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def _sign_bit(graph: Any, ops: list[Any]) -> list[Any]:
    """Keras reads a float's sign from its bits, in argmax too; ONNX can't look at bits.

    x or 1/x is negative just where the sign bit is set: 1/-0.0 is -inf. (Not for NaN.)
    """
    for node in ops:
        masked = node.inputs[0] if node.type == "Less" else None
        bits = masked.inputs[0] if masked is not None and masked.type == "BitwiseAnd" else None
        if bits is None or bits.type != "Bitcast" or not _is_float(graph, bits.input[0]):
            continue
        zero = _constant(graph, node.name, 0, np.float32)
        flipped = graph.make_node("Reciprocal", [bits.input[0]]).output[0]
        signs = [
            graph.make_node("Less", [value, zero], dtypes=[TensorProto.BOOL]).output[0]
            for value in (bits.input[0], flipped)
        ]
        _replace(graph, node, "Or", signs)
    return list(graph.get_nodes())


def _replace(
    graph: Any, node: Any, operator: str, inputs: list[str], attr: dict[str, Any] | None = None
) -> None:
    shapes, dtypes = [graph.get_shape(node.output[0])], [graph.get_dtype(node.output[0])]
    graph.remove_node(node.name)
    graph.make_node(
        operator, inputs, attr=attr, name=node.name, outputs=node.output,
        shapes=shapes, dtypes=dtypes,
    )  # fmt: skip


HANDLERS: Mapping[str, tuple[Handler, list[Any]]] = {
    "Erfc": (_erfc, []),
    "Expm1": (_expm1, []),
    "ResizeBilinear": (_resize, []),
    "ResizeBicubic": (_resize, []),
    "ResizeNearestNeighbor": (_resize, []),
    "Bucketize": (_bucketize, []),
}
REWRITERS: tuple[Rewriter, ...] = (_sign_bit,)

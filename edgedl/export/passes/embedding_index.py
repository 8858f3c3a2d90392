"""Arithmetic that makes negative tokens count from the end goes: Gather does so by itself.

Keras writes an embedding as `where(token < 0, token + rows, token)` before the lookup; in ONNX
that is eight nodes. Whether some nodes compute just that is found by computing them for every
token there can be, from -rows to rows - 1, and for some above, which must stay above: a table
that answers those too (by clipping, say) is left alone.

Requires: element-wise nodes from one integer input and scalars; a table of at most
`MOST_ROWS` rows. Ensures: the same rows for every valid token, and an error for any other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgedl.export.nodes import attribute, is_op
from edgedl.export.passes.wiring import Change, PassResult, Wiring, copy_node, rewrite
from edgedl.runtime.golden import Array

ELEMENT_WISE = (
    "Cast", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not", "Add", "Sub", "Mul", "Where",
)  # fmt: skip
MOST_ROWS = 2_000_000
MOST_NODES = 12
INTEGERS = {TensorProto.INT32: np.int32, TensorProto.INT64: np.int64}


def run(model: ModelProto) -> PassResult:
    """Look tokens up directly wherever the arithmetic before it changes no row."""
    return rewrite(model, _find, "index arithmetic before an embedding taken out")


def _find(graph: Wiring) -> Iterator[Change]:
    for position, gather in enumerate(graph.nodes):
        if not is_op(gather, "Gather") or attribute(gather, "axis", 0) != 0:
            continue
        table = graph.shape(gather.input[0])
        rows = table[0] if table else None
        if not isinstance(rows, int) or rows > MOST_ROWS:
            continue
        found = _arithmetic(graph, gather.input[1])
        if found is None:
            continue
        tokens, nodes = found
        if _keeps_rows(graph, tokens, nodes, gather.input[1], rows):
            yield Change({position: [copy_node(gather, [gather.input[0], tokens])]})


def _arithmetic(graph: Wiring, index: str) -> tuple[str, list[NodeProto]] | None:
    """The element-wise nodes behind an index, in order, and the one value they start from."""
    places: set[int] = set()
    starts: set[str] = set()
    waiting = [index]
    while waiting:
        name = waiting.pop()
        constant = graph.constant(name)
        if constant is not None and constant.size == 1:
            continue
        place = graph.position(name)
        if place is None or not is_op(graph.nodes[place], *ELEMENT_WISE):
            starts.add(name)
            continue
        places.add(place)
        waiting += graph.nodes[place].input
    if len(starts) != 1 or not 0 < len(places) <= MOST_NODES:
        return None
    return starts.pop(), [graph.nodes[place] for place in sorted(places)]


def _keeps_rows(graph: Wiring, tokens: str, nodes: list[NodeProto], index: str, rows: int) -> bool:
    """Whether the nodes give every token the row that Gather itself would give it."""
    kind = graph.element(tokens)
    if kind not in INTEGERS:
        return False
    valid = np.arange(-rows, rows)
    outside = np.array([rows, rows + 1, 2 * rows, 5 * rows + 3])
    given = np.concatenate([valid, outside]).astype(INTEGERS[kind])
    computed = _compute(graph, tokens, nodes, index, given)
    inside = computed[: valid.size]
    if inside.min() < -rows or inside.max() >= rows:
        return False
    same = (inside % rows == valid % rows).all()
    beyond = computed[valid.size :]
    return bool(same and ((beyond < -rows) | (beyond >= rows)).all())


def _compute(graph: Wiring, tokens: str, nodes: list[NodeProto], index: str, given: Array) -> Array:
    """What the nodes make of some tokens, by ONNX's own reference."""
    kind = helper.np_dtype_to_tensor_dtype(given.dtype)
    constants = {
        name: array
        for node in nodes
        for name in node.input
        if (array := graph.constant(name)) is not None
    }
    part = helper.make_graph(
        nodes,
        "index",
        [helper.make_tensor_value_info(tokens, kind, [None])],
        [helper.make_tensor_value_info(index, graph.element(index) or kind, [None])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", graph.opset)]
    evaluator = ReferenceEvaluator(helper.make_model(part, opset_imports=opsets))
    (computed,) = evaluator.run(None, {tokens: given})
    return np.asarray(computed, np.int64)

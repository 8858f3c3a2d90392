"""Keras' GRU and SimpleRNN loops as ONNX's operators.

tf2onnx knows the loops of Keras 3's LSTM, but not these: they would become an ONNX Loop,
which runs a dozen small operators per step and which no recipe can quantise. A loop that
looks in any way different (a mask, say) is left to tf2onnx.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto
from tf2onnx import utils
from tf2onnx.graph_builder import GraphBuilder

from edgedl.runtime.golden import Array

ACTIVATIONS = ("Sigmoid", "Tanh", "Relu")


@dataclass(frozen=True)
class Cell:
    """A loop's step. The numbers are positions among the loop's variables.

    `activations` are ONNX's, in its order; `last` says that only the last output is kept.
    """

    operator: str
    activations: tuple[str, ...]
    x: int
    h: int
    y: int
    kernel: int
    recurrent: int
    bias: int | None
    last: bool
    reset_after: bool = False


class NoCellError(Exception):
    """A loop's body that is something else."""


class RecurrentLoops:
    """A rewriter for one conversion: tf2onnx shows it the loops' bodies first."""

    def __init__(self) -> None:
        self._cells: dict[str, Cell] = {}

    def __call__(self, graph: Any, ops: list[Any]) -> list[Any]:
        """Note the cell that a body is, or replace the loops whose cells are known."""
        with suppress(NoCellError):
            self._cells[graph.graph_name] = _read_cell(graph, ops)
        for node in ops:
            if node.is_while():
                cell = self._cells.get(node.get_attr_str("body"))
                if cell is not None and _is_plain(graph, node, cell):
                    _replace_loop(graph, node, cell)
        return list(graph.get_nodes())


def _read_cell(graph: Any, ops: list[Any]) -> Cell:
    writes = [node for node in ops if node.type == "TensorListSetItem"]
    _require(len(writes) == 1)
    y = writes[0].inputs[2]
    kept = {"y": _variable(graph, writes[0].inputs[0]), "last": writes[0].inputs[1].is_const()}
    return _read_gru(graph, y, kept) if y.type == "AddV2" else _read_rnn(graph, y, kept)


def _read_rnn(graph: Any, y: Any, kept: dict[str, Any]) -> Cell:
    """A step of SimpleRNN: y = f(x K + b + h R)."""
    _require(y.type in ACTIVATIONS)
    from_x, from_h = _operands(y.inputs[0], "AddV2")
    x, kernel, bias = _read_product(graph, from_x)
    h, recurrent = _operands(from_h, "MatMul")
    return Cell(
        "RNN", (y.type,), _sequence(graph, x), _variable(graph, h),
        kernel=kernel, recurrent=_variable(graph, recurrent), bias=bias, **kept,
    )  # fmt: skip


def _read_gru(graph: Any, y: Any, kept: dict[str, Any]) -> Cell:
    """A step of GRU: y = z h + (1 - z) n; the gates of x and h are cut from one product each."""
    old, new = _operands(y, "AddV2")
    z, h = _operands(old, "Mul")
    one_less, n = _operands(new, "Mul")
    one, also_z = _operands(one_less, "Sub")
    _require(one.is_const() and float(one.get_tensor_value()) == 1.0 and also_z is z)
    _require(z.type in ACTIVATIONS and n.type in ACTIVATIONS)
    z_x, z_h = _operands(z.inputs[0], "AddV2")
    _require(z_x.type == "Split" and n.inputs[0].type == "AddV2")
    # The gates of x: z, r, n.
    _require(z.inputs[0].input[0] == z_x.output[0] and n.inputs[0].input[0] == z_x.output[2])
    gated = n.inputs[0].inputs[1]
    reset_after = gated.type == "Mul"
    r, inner, recurrent = _read_reset(gated, h, z_h, reset_after)
    _require(r.type == z.type and r.inputs[0].input[0] == z_x.output[1])
    x, kernel, bias = _read_product(graph, z_x.inputs[1])
    own_bias = inner.type == "AddV2"
    product = inner.inputs[0] if own_bias else inner
    _require(own_bias == (reset_after and bias is not None))
    state, _ = _operands(product, "MatMul")
    _require(_variable(graph, state) == _variable(graph, h))
    return Cell(
        "GRU", (z.type, n.type), _sequence(graph, x), _variable(graph, h), kernel=kernel,
        recurrent=_variable(graph, recurrent), bias=bias, reset_after=reset_after, **kept,
    )  # fmt: skip


def _read_reset(gated: Any, h: Any, z_h: Any, reset_after: bool) -> tuple[Any, Any, Any]:
    """The reset gate, the product of h with the gates' kernels, and those kernels."""
    if reset_after:  # r * (h R + b)
        r, n_h = _operands(gated, "Mul")
    else:  # (r * h) R
        reset, n_h = _operands(gated, "MatMul")
        r, also_h = _operands(reset, "Mul")
        _require(also_h is h)
    _, r_h = _operands(r.inputs[0], "AddV2")
    inner = z_h.inputs[0]
    units = _start(r_h)
    _require(_start(z_h) == 0 and units > 0 and _start(n_h) == 2 * units)
    _require(r_h.inputs[0] is inner and (n_h.inputs[0] is inner or not reset_after))
    kernel = (inner.inputs[0] if inner.type == "AddV2" else inner).inputs[1]
    if kernel.type == "StridedSlice":
        _require(_start(kernel) == 0)
        kernel = kernel.inputs[0]
    return r, inner, kernel


def _read_product(graph: Any, node: Any) -> tuple[Any, int, int | None]:
    """x, and the positions of kernel and bias in x K + b."""
    bias = None
    if node.type in ("BiasAdd", "AddV2"):
        node, added = node.inputs[0], node.inputs[1]
        if added.type == "Squeeze":  # GRU's two biases are rows of one variable
            _require(added.inputs[0].type == "Split")
            added = added.inputs[0].inputs[1]
        bias = _variable(graph, added)
    x, kernel = _operands(node, "MatMul")
    return x, _variable(graph, kernel), bias


def _start(node: Any) -> int:
    """Where a slice of the last of two axes starts."""
    _require(node.type == "StridedSlice" and node.inputs[1].is_const())
    begin = node.inputs[1].get_tensor_value()
    _require(len(begin) == 2)
    return int(begin[1])


def _sequence(graph: Any, x: Any) -> int:
    _require(x.type == "TensorListGetItem")
    return _variable(graph, x.inputs[0])


def _variable(graph: Any, node: Any) -> int:
    """The position of a loop's variable."""
    while node.type == "Identity":
        node = node.inputs[0]
    _require(node.is_graph_input())
    return int(graph.input_names.index(node.output[0]))


def _operands(node: Any, operator: str) -> tuple[Any, Any]:
    _require(node.type == operator)
    return node.inputs[0], node.inputs[1]


def _require(holds: bool) -> None:
    if not holds:
        raise NoCellError


def _is_plain(graph: Any, loop: Any, cell: Cell) -> bool:
    """Whether the weights are constants and the sequence is a tensor."""
    weights = [cell.kernel, cell.recurrent, *([] if cell.bias is None else [cell.bias])]
    floats = all(
        graph.is_const(loop.input[w]) and graph.get_dtype(loop.input[w]) == TensorProto.FLOAT
        for w in weights
    )
    return floats and loop.inputs[cell.x].type == "TensorListFromTensor"


def _replace_loop(graph: Any, loop: Any, cell: Cell) -> None:
    kernel, recurrent = (
        graph.get_tensor_value(loop.input[w], as_list=False) for w in (cell.kernel, cell.recurrent)
    )
    units, gates = recurrent.shape
    weights = [kernel.T[None], recurrent.T[None], _biases(graph, loop, cell, gates)]
    constants = [
        graph.make_const(utils.make_name(loop.name), np.ascontiguousarray(w)).output[0]
        for w in weights
    ]
    build = GraphBuilder(graph)
    start = build.make_unsqueeze({"data": loop.input[cell.h], "axes": [0]})
    attr: dict[str, Any] = {"hidden_size": int(units), "activations": list(cell.activations)}
    if cell.operator == "GRU":
        attr["linear_before_reset"] = int(cell.reset_after)
    layer = graph.make_node(
        cell.operator, [loop.inputs[cell.x].input[0], *constants, "", start], attr=attr,
        output_count=2, dtypes=[TensorProto.FLOAT] * 2,
        shapes=[[-1, 1, -1, units], [1, -1, units]],
    )  # fmt: skip
    every, last = layer.output
    kept = last if cell.last else build.make_squeeze({"data": every, "axes": [1]})
    for consumer in graph.find_output_consumers(loop.output[cell.y]):
        if consumer.type == "TensorListStack":
            graph.replace_all_inputs(consumer.output[0], kept)
    state = build.make_squeeze({"data": last, "axes": [0]})
    graph.replace_all_inputs(loop.output[cell.h], state)


def _biases(graph: Any, loop: Any, cell: Cell, gates: int) -> Array:
    """ONNX's biases of x and h, float32 (1, 2 * gates)."""
    both = np.zeros((2, gates), np.float32)
    if cell.bias is not None:
        value = graph.get_tensor_value(loop.input[cell.bias], as_list=False)
        rows = np.atleast_2d(value)
        both[: len(rows)] = rows
    return both.reshape(1, -1)

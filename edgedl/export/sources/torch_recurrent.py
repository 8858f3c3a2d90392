"""Recurrent layers through torch.export in one piece.

torch.export's rule for `aten.lstm.input`, `aten.gru.input`, `aten.rnn_tanh.input` and
`aten.rnn_relu.input` runs the layer step by step, which pins the sequence length to the
example's. torch.onnx gets round it for LSTM and GRU by a second way of tracing, not for
nn.RNN, which it unrolls (torch 2.13).
Inside `recurrent_as_one` such a call becomes an operator of our own
that does the same and whose shape rule leaves the length free; `translations` makes one
ONNX LSTM, GRU or RNN per layer of it, and of the aten operator where the length is fixed.
Packed sequences are left to the exporter.

Layouts, torch to ONNX: gates i, f, g, o to i, o, f, c and r, z, n to z, r, h; biases b_ih and
b_hh side by side; sequences (batch, time, features) or time first, ONNX's (time, directions,
batch, hidden). Source: torch.nn.LSTM and nn.GRU, and the ONNX operators of those names;
nn.GRU resets after the linear map, `linear_before_reset=1`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edgedl.export.sources.torch_run import import_torch

# torch's gates in ONNX's order, and the ONNX operator with its attributes.
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
OPERATORS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
ACTIVATIONS = {"rnn_tanh": "Tanh", "rnn_relu": "Relu"}
SCHEMA = (
    "(Tensor input, {state}, Tensor[] params, bool has_biases, int num_layers, float dropout, "
    "bool train, bool bidirectional, bool batch_first) -> ({outputs})"
)


@contextmanager
def recurrent_as_one() -> Iterator[None]:
    """Calls of a recurrent layer become our own operator's, for a torch.export inside."""
    torch = import_torch()
    _library()
    whole = {getattr(torch._VF, kind): getattr(torch.ops.edgedl, kind) for kind in GATES}

    base: Any = torch.overrides.TorchFunctionMode

    class Whole(base):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            # A packed sequence's fourth argument is no flag.
            if func in whole and len(args) > 3 and isinstance(args[3], bool):
                return whole[func](*args)
            return func(*args, **(kwargs or {}))

    with Whole():
        yield


@contextmanager
def padded_again() -> Iterator[Callable[[], list[Any]]]:
    """Packed sequences that nobody pads again, for the TorchScript exporter.

    Its packed layer needs a padding behind it (torch 2.13: `vector::_M_range_check` without),
    which a model that uses the last state only doesn't have.

    Yields:
        What gives each such sequence padded, to be an output that is dropped afterwards.
    """
    torch = import_torch()
    layers = {getattr(torch._VF, kind) for kind in GATES}
    packed: list[tuple[Any, Any]] = []
    base: Any = torch.overrides.TorchFunctionMode

    class Watching(base):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            result = func(*args, **(kwargs or {}))
            if func in layers and len(args) > 3 and isinstance(args[3], list | tuple):
                packed.append((result[0], args[1]))
            if func is torch._VF._pad_packed_sequence:
                packed[:] = [pair for pair in packed if pair[0] is not args[0]]
            return result

    def pad() -> list[Any]:
        return [
            torch._VF._pad_packed_sequence(data, lengths, True, 0.0, lengths.shape[0])
            for data, lengths in packed
        ]

    with Watching():
        yield pad


@functools.cache
def _library() -> Any:
    """The operators `edgedl::lstm`, ...: the aten ones with a shape rule that keeps the time."""
    torch = import_torch()
    library = torch.library.Library("edgedl", "DEF")
    for kind in GATES:
        is_lstm = kind == "lstm"
        state = "Tensor[] hx" if is_lstm else "Tensor hx"
        outputs = ", ".join(["Tensor"] * (3 if is_lstm else 2))
        library.define(kind + SCHEMA.format(state=state, outputs=outputs))
        whole = getattr(torch.ops.aten, kind).input
        library.impl(kind, _own_outputs(whole), "CompositeExplicitAutograd")
        torch.library.register_fake(f"edgedl::{kind}", _shape, lib=library)
    return library


def _own_outputs(operator: Any) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        return tuple(output.clone() for output in operator(*args))

    return run


def _shape(input: Any, hx: Any, params: Any, *flags: Any) -> Any:
    """Shapes only: sequence features become hidden units, the state keeps its shape."""
    del params
    bidirectional = flags[4]
    states = list(hx) if isinstance(hx, list | tuple) else [hx]
    hidden = states[0].shape[-1] * (2 if bidirectional else 1)
    sequence = input.new_empty((*input.shape[:2], hidden))
    return (sequence, *(state.new_empty(state.shape) for state in states))


def translations() -> dict[Any, Callable[..., Any]]:
    """Our own and the aten operators, each with its translation through onnxscript."""
    torch = import_torch()
    _library()
    table: dict[Any, Callable[..., Any]] = {}
    for kind in GATES:
        translate = functools.partial(_translate, kind)
        table[getattr(torch.ops.edgedl, kind).default] = translate
        table[getattr(torch.ops.aten, kind).input] = translate
    return table


@functools.cache
def _onnx() -> Any:
    """ONNX's operators as onnxscript writes them."""
    from onnxscript import opset18

    return opset18


@dataclass(frozen=True)
class _Layer:
    """One layer: its weights per direction, as torch keeps them: w_ih, w_hh, b_ih, b_hh."""

    kind: str
    weights: tuple[Sequence[Any], ...]

    def apply(self, sequence: Any, states: Sequence[Any]) -> tuple[Any, ...]:
        """(time, batch, features) and states (directions, batch, hidden) in; both out."""

        directions = len(self.weights)
        w, r = (self._stack([d[i] for d in self.weights]) for i in (0, 1))
        b = None
        if len(self.weights[0]) == 4:
            both = [
                _onnx().Concat(self._reorder(d[2]), self._reorder(d[3]), axis=0)
                for d in self.weights
            ]
            b = _pile(both)
        attributes: dict[str, Any] = {
            "hidden_size": int(self.weights[0][1].shape[1]),
            "direction": "bidirectional" if directions == 2 else "forward",
        }
        if self.kind == "gru":
            attributes["linear_before_reset"] = 1
        if self.kind in ACTIVATIONS:
            attributes["activations"] = [ACTIVATIONS[self.kind]] * directions
        operator = getattr(_onnx(), OPERATORS[self.kind])
        outputs = operator(sequence, w, r, b, None, *states, **attributes)
        by_batch = _onnx().Transpose(outputs[0], perm=[0, 2, 1, 3])
        flat = _onnx().Reshape(by_batch, _onnx().Constant(value_ints=[0, 0, -1]))
        return (flat, *outputs[1:])

    def _stack(self, matrices: Sequence[Any]) -> Any:
        return _pile([self._reorder(matrix) for matrix in matrices])

    def _reorder(self, weights: Any) -> Any:
        """Gates in ONNX's order, along axis 0."""

        gates = GATES[self.kind]
        if len(gates) == 1:
            return weights
        parts = _onnx().Split(weights, axis=0, num_outputs=len(gates))
        return _onnx().Concat(*(parts[gate] for gate in gates), axis=0)


def _pile(values: Sequence[Any]) -> Any:
    """Values on a new leading axis, one per direction."""

    axis = _onnx().Constant(value_ints=[0])
    return _onnx().Concat(*(_onnx().Unsqueeze(value, axis) for value in values), axis=0)


def _translate(  # noqa: PLR0913
    kind: str,
    input: Any,
    hx: Any,
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Any, ...]:
    """One ONNX operator per layer."""

    del dropout, train
    directions = 2 if bidirectional else 1
    per_direction = 4 if has_biases else 2
    if len(params) != num_layers * directions * per_direction:
        raise NotImplementedError("a recurrent layer with a projection (proj_size)")
    states = list(hx) if kind == "lstm" else [hx]
    sequence = _onnx().Transpose(input, perm=[1, 0, 2]) if batch_first else input
    ends: list[tuple[Any, ...]] = []
    for layer in range(num_layers):
        first = layer * directions
        weights = tuple(
            params[(first + d) * per_direction : (first + d + 1) * per_direction]
            for d in range(directions)
        )
        begin = [_rows(state, first, first + directions) for state in states]
        sequence, *end = _Layer(kind, weights).apply(sequence, begin)
        ends.append(tuple(end))
    last = [_onnx().Concat(*(end[i] for end in ends), axis=0) for i in range(len(states))]
    if batch_first:
        sequence = _onnx().Transpose(sequence, perm=[1, 0, 2])
    return (sequence, *last)


def _rows(value: Any, start: int, stop: int) -> Any:

    return _onnx().Slice(
        value,
        _onnx().Constant(value_ints=[start]),
        _onnx().Constant(value_ints=[stop]),
        _onnx().Constant(value_ints=[0]),
    )

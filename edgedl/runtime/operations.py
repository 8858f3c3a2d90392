"""Arithmetic operations of a node, counted from its tensors' shapes.

A multiplication and the addition that follows are two operations, as in LINPACK and in every
processor's peak. What is linear in a tensor's size (bias, activation, scale) is left out: it is
below a percent wherever arithmetic decides. None means unknown, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from msgspec import Struct


class Tensor(Struct, frozen=True):
    """A tensor as ONNX Runtime's trace tells it: its element type (`float`, `int8`) and shape."""

    dtype: str
    shape: tuple[int, ...]


Tensors = Sequence[Tensor]
Count = Callable[[Tensors, Tensors], int | None]


def count_operations(operator: str, inputs: Tensors, outputs: Tensors) -> int | None:
    """Operations of one call of a node; None for operators that aren't counted, or unknown."""
    count = OPERATIONS.get(operator)
    if count is None or not inputs or not outputs:
        return None
    return count(inputs, outputs)


def arithmetic(operator: str, inputs: Tensors) -> str:
    """Whose rate bounds a counted node: `int8` or `float32`; empty for any other arithmetic."""
    if operator in _WEIGHTS_UNPACKED:
        return ""
    kinds = {t.dtype for t in inputs if t.shape}  # scales and zero points may be of any kind
    if kinds & {"int8", "uint8"}:
        return "int8"
    return "float32" if "float" in kinds and not kinds & {"float16", "double"} else ""


def reread_bytes(operator: str, inputs: Tensors, outputs: Tensors) -> int:
    """Constants that a recurrent layer reads once more for every step after its first.

    A step needs the one before it, so the state's kernel R (third input, after X and W) is
    read anew each time. Where its size isn't known, nothing is counted.
    """
    gates = _GATES.get(operator)
    if gates is None or len(inputs) < 3 or len(inputs[0].shape) != 3 or not outputs:
        return 0
    kernel, units = inputs[2], outputs[0].shape[-1]
    wide = {"float": 4, "float16": 2, "double": 8, "int8": 1, "uint8": 1}.get(kernel.dtype, 0)
    if len(kernel.shape) != 3 or prod(kernel.shape[1:]) != gates * units**2:
        return 0
    return (inputs[0].shape[0] - 1) * prod(kernel.shape) * wide


def _matmul(inputs: Tensors, outputs: Tensors) -> int | None:
    """C (..., M, N) = A (..., M, K) B: 2 |C| K.

    A is the first input in every operator of this kind; transposed it has K and M swapped, so
    K is the product of its last two axes over M.
    """
    a, c = inputs[0].shape, outputs[0].shape
    if not a or not c or not prod(c):
        return None
    if len(a) == 1 or len(c) < 2:
        return 2 * prod(c) * a[-1]
    depth, rest = divmod(a[-1] * a[-2], c[-2])
    return None if rest else 2 * prod(c) * depth


def _conv(inputs: Tensors, outputs: Tensors) -> int | None:
    """Y (N, M, ...) with a kernel (M, C/groups, k, ...): 2 |Y| (C/groups) k..., in any layout.

    The kernel is the first input after the image that has the image's rank.
    """
    rank = len(inputs[0].shape)
    kernel = next((t.shape for t in inputs[1:] if rank > 2 and len(t.shape) == rank), None)
    return None if kernel is None else 2 * prod(outputs[0].shape) * prod(kernel[1:])


def _conv_transpose(inputs: Tensors, outputs: Tensors) -> int | None:
    """X (N, C, ...) with a kernel (C, M/groups, k, ...): 2 |X| (M/groups) k..."""
    rank = len(inputs[0].shape)
    kernel = next((t.shape for t in inputs[1:] if rank > 2 and len(t.shape) == rank), None)
    return None if kernel is None else 2 * prod(inputs[0].shape) * prod(kernel[1:])


def _recurrent(gates: int) -> Count:
    """X (T, B, I) through a recurrent layer of D directions and H units.

    Each step multiplies the input and the state by every gate's kernels:
    2 T B D (gates H) (I + H), from the definition of LSTM, GRU and RNN in the ONNX operators.
    Y is (T, D, B, H), Y_h (D, B, H). With lengths given (int32), shorter rows may end early,
    and the count is unknown.
    """

    def count(inputs: Tensors, outputs: Tensors) -> int | None:
        if len(inputs[0].shape) != 3 or any(t.dtype == "int32" for t in inputs):
            return None
        steps, batch, features = inputs[0].shape
        y = outputs[0].shape
        if len(y) not in (3, 4):
            return None
        directions, units = (y[1] if len(y) == 4 else y[0]), y[-1]
        return 2 * steps * batch * directions * gates * units * (features + units)

    return count


def _attention(inputs: Tensors, outputs: Tensors) -> int | None:
    """Queries (..., S, d) over keys (..., L, d) and values (..., L, v): 2 |QK| + 2 |AV|.

    Of ONNX's own Attention with four axes and of MultiHeadAttention with three, both without
    past keys; then 2 B heads S L (d + v), heads being part of d and v where there are three
    axes. The fused Attention that projects its input itself has weights (I, 3 H) second:
    2 B S I 3H more, and H is a third of them.
    """
    first = inputs[0].shape
    if len(inputs) > 1 and len(first) == 3 and len(inputs[1].shape) == 2:
        if any(len(t.shape) == 5 for t in inputs):
            return None  # past keys
        batch, steps, features = first
        width = inputs[1].shape[1]
        return 2 * batch * steps * features * width + 4 * batch * steps**2 * (width // 3)
    if len(inputs) != 3 or len({len(t.shape) for t in inputs}) != 1 or len(first) not in (3, 4):
        return None
    _, keys, values = (t.shape for t in inputs)
    lead = prod(first[:-2])
    if len(first) == 4 and first[1] != keys[1]:
        return None  # grouped heads
    return 2 * lead * first[-2] * keys[-2] * (first[-1] + values[-1])


_GATES = {"LSTM": 4, "DynamicQuantizeLSTM": 4, "GRU": 3, "RNN": 1}

# Operators with arithmetic to speak of. The rest move data.
OPERATIONS: dict[str, Count] = {
    **dict.fromkeys(
        ("Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul",
         "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits", "MatMulBnb4"),
        _matmul,
    ),
    **dict.fromkeys(
        ("Conv", "FusedConv", "ConvInteger", "QLinearConv", "NhwcConv", "NhwcFusedConv"), _conv
    ),
    "ConvTranspose": _conv_transpose,
    **{operator: _recurrent(gates) for operator, gates in _GATES.items()},
    **dict.fromkeys(("Attention", "QAttention", "MultiHeadAttention"), _attention),
}  # fmt: skip

# Their weights are unpacked to another type first, which one depends on an attribute.
_WEIGHTS_UNPACKED = frozenset(("MatMulNBits", "MatMulBnb4"))

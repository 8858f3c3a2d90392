"""Operations counted from shapes: each by hand."""

from __future__ import annotations

import pytest

from edgedl.runtime.operations import Tensor, arithmetic, count_operations, reread_bytes


def tensors(*shapes: tuple[int, ...], dtype: str = "float") -> list[Tensor]:
    return [Tensor(dtype, shape) for shape in shapes]


@pytest.mark.parametrize(
    ("operator", "inputs", "output", "operations"),
    [
        ("Gemm", [(1, 5408), (5408, 128), (128,)], (1, 128), 2 * 5408 * 128),
        ("FusedGemm", [(5408, 7), (5408, 128)], (7, 128), 2 * 7 * 5408 * 128),  # transposed A
        ("MatMul", [(2, 3, 4), (4, 5)], (2, 3, 5), 2 * 2 * 3 * 4 * 5),
        ("MatMul", [(4,), (4, 5)], (5,), 2 * 4 * 5),
        ("DynamicQuantizeMatMul", [(3, 4), (5,)], (3, 5), 2 * 3 * 4 * 5),
        ("Conv", [(1, 1, 28, 28), (32, 1, 3, 3), (32,)], (1, 32, 26, 26), 2 * 676 * 32 * 9),
        ("Conv", [(1, 6, 8), (6, 1, 3)], (1, 6, 6), 2 * 6 * 6 * 3),  # depthwise
        ("QLinearConv", [(1, 28, 28, 1), (), (), (32, 1, 3, 3)], (1, 26, 26, 32), 2 * 676 * 32 * 9),
        ("ConvTranspose", [(1, 4, 5, 5), (4, 2, 3, 3)], (1, 2, 7, 7), 2 * 4 * 25 * 2 * 9),
        ("LSTM", [(7, 1, 64), (1, 2048)], (7, 1, 1, 256), 7 * 2 * 4 * 256 * (64 + 256)),
        ("GRU", [(7, 2, 64)], (7, 2, 2, 8), 7 * 2 * 2 * 2 * 3 * 8 * (64 + 8)),
        ("RNN", [(6, 1, 4)], (1, 1, 5), 6 * 2 * 5 * (4 + 5)),  # Y_h only
        (
            "MultiHeadAttention",
            [(1, 5, 8), (1, 7, 8), (1, 7, 6)],
            (1, 5, 6),
            2 * 5 * 7 * 8 + 2 * 5 * 7 * 6,
        ),
        (
            "Attention",
            [(2, 5, 8), (8, 24), (24,)],
            (2, 5, 8),
            2 * 2 * 5 * 8 * 24 + 2 * 2 * (2 * 5 * 5 * 8),
        ),
        (
            "Attention",
            [(1, 2, 5, 4), (1, 2, 7, 4), (1, 2, 7, 3)],
            (1, 2, 5, 3),
            2 * 2 * 5 * 7 * (4 + 3),
        ),
    ],
)
def test_operations_are_counted(
    operator: str, inputs: list[tuple[int, ...]], output: tuple[int, ...], operations: int
) -> None:
    assert count_operations(operator, tensors(*inputs), tensors(output)) == operations


@pytest.mark.parametrize(
    ("operator", "inputs", "output"),
    [
        ("Relu", tensors((3, 4)), (3, 4)),
        ("Conv", tensors((1, 1, 8, 8), (32,)), (1, 32, 6, 6)),  # its kernel was packed away
        ("LSTM", [*tensors((7, 2, 64)), Tensor("int32", (2,))], (7, 1, 2, 8)),  # lengths
        ("MultiHeadAttention", tensors((1, 5, 8)), (1, 5, 8)),
        ("Attention", tensors((1, 8, 5, 4), (1, 2, 7, 4), (1, 2, 7, 3)), (1, 8, 5, 3)),  # groups
        ("Gemm", [], (3, 4)),
    ],
)
def test_what_cannot_be_known_is_not_guessed(
    operator: str, inputs: list[Tensor], output: tuple[int, ...]
) -> None:
    assert count_operations(operator, inputs, tensors(output)) is None


@pytest.mark.parametrize(
    ("operator", "inputs", "whose"),
    [
        ("Gemm", tensors((1, 2), (2, 3)), "float32"),
        ("DynamicQuantizeMatMul", [*tensors((1, 2)), Tensor("int8", (2, 3))], "int8"),
        ("LSTM", [*tensors((1, 1, 2)), Tensor("int8", ())], "float32"),
        ("MatMul", tensors((1, 2), (2, 3), dtype="float16"), ""),
        ("MatMulNBits", [*tensors((1, 2)), Tensor("uint8", (2, 3))], ""),
    ],
)
def test_whose_peak_bounds_them(operator: str, inputs: list[Tensor], whose: str) -> None:
    assert arithmetic(operator, inputs) == whose


def test_a_recurrent_layers_state_kernel_is_read_at_every_step() -> None:
    x, w, r = tensors((7, 1, 64), (1, 1024, 64), (1, 1024, 256))
    (y,) = tensors((7, 1, 1, 256))
    assert reread_bytes("LSTM", [x, w, r], [y]) == 6 * 1024 * 256 * 4
    quantised = Tensor("int8", (1, 256, 1024))
    assert reread_bytes("DynamicQuantizeLSTM", [x, w, quantised], [y]) == 6 * 1024 * 256
    assert reread_bytes("LSTM", tensors((7, 1, 64), (1, 2048), (1, 1, 256)), [y]) == 0  # packed
    assert reread_bytes("Gemm", [x, w, r], [y]) == 0

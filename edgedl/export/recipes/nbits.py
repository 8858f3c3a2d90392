"""MatMulNBits: a matrix in blocks of few bits, activations in float.

Source: com.microsoft.MatMulNBits in onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from edgedl.export.nodes import MICROSOFT
from edgedl.export.recipes.projections import Projection
from edgedl.runtime.golden import Array

# The accuracy level at which a block's activations are rounded to int8 and multiplied as
# integers: 3 to 50 times faster than level 0 on AVX-512 VNNI, for less noise than the weights'.
INTEGER_PRODUCTS = 4
# A block's scale is the best of these shares of what its largest weight asks for.
SCALES = np.linspace(0.8, 1.0, 9, dtype=np.float32)


def nbits_nodes(
    projection: Projection, bits: int, block: int
) -> tuple[tuple[NodeProto, ...], dict[str, Array]]:
    """The nodes that stand for a projection, and their weights.

    Args:
        projection: A product with a constant matrix, (k, n).
        bits: 4 or 8.
        block: Weights of a column that share a scale: 16, 32, 64, 128 or 256.
    """
    values, scales = pack(projection.weight, bits, block)
    names = [f"{projection.name}__{bits}bit", f"{projection.name}__scales"]
    k, n = projection.weight.shape
    node = helper.make_node(
        "MatMulNBits", [projection.input, *names], [projection.product],
        f"{projection.name}__nbits", domain=MICROSOFT, K=k, N=n, bits=bits, block_size=block,
        accuracy_level=INTEGER_PRODUCTS,
    )  # fmt: skip
    nodes = projection.products([node], projection.product)
    return nodes, dict(zip(names, (values, scales), strict=True))


def pack(weight: Array, bits: int, block: int) -> tuple[Array, Array]:
    """A matrix (k, n) as uint8 (n, blocks, block * bits / 8), and its scales (n * blocks,).

    Symmetric: a stored number less half its range, times the scale, is the weight.
    """
    k, n = weight.shape
    count = -(-k // block)
    padded = np.zeros((count * block, n), np.float32)
    padded[:k] = weight
    blocks = np.ascontiguousarray(padded.T).reshape(n, count, block)
    half = 1 << (bits - 1)
    scales = _scales(blocks, half)
    stored = (_rounded(blocks, scales, half) + half).astype(np.uint8)
    packed = stored if bits == 8 else stored[..., 0::2] + stored[..., 1::2] * np.uint8(16)
    return packed, scales.ravel()


def _scales(blocks: Array, half: int) -> Array:
    """Each block's scale with the least squared error, (n, blocks)."""
    # The largest weight takes the end of the range that has one number more.
    position = np.abs(blocks).argmax(-1)[..., None]
    full = np.take_along_axis(blocks, position, -1)[..., 0] / np.float32(-half)
    full[full == 0] = 1
    best, least = full, np.full(full.shape, np.inf, np.float32)
    for share in SCALES if half < 128 else SCALES[-1:]:
        scales = full * share
        error = np.square(_rounded(blocks, scales, half) * scales[..., None] - blocks).sum(-1)
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return best.astype(np.float32)


def _rounded(blocks: Array, scales: Array, half: int) -> Array:
    return np.asarray(np.clip(np.rint(blocks / scales[..., None]), -half, half - 1))

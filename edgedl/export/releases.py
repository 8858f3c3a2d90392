"""onnxruntime releases: which one first runs an operator outside ONNX's own set."""

from __future__ import annotations

import re

from onnx import NodeProto

from edgedl.export.nodes import MICROSOFT, attribute

# Found by loading a graph of each operator of com.microsoft that onnxruntime 1.22 has in
# 1.15.0 (the oldest release with a wheel for Python 3.11), 1.16.3, 1.17.0, 1.18.1, 1.19.2
# and 1.20.1. What isn't listed is in 1.15 already, or newer than this table.
FIRST = "1.15"
LEAST_ORT_FOR_OPERATOR = {
    "GroupQueryAttention": "1.16", "MatMulBnb4": "1.16", "MatMulFpQ4": "1.16",
    "PackedMultiHeadAttention": "1.16", "RotaryEmbedding": "1.16", "SkipGroupNorm": "1.16",
    "DynamicTimeWarping": "1.17", "EPContext": "1.17", "GemmFloat8": "1.17",
    "MatMulNBits": "1.17", "MoE": "1.17", "UnfoldTensor": "1.17", "WhisperBeamSearch": "1.17",
    "GemmaRotaryEmbedding": "1.18", "QMoE": "1.18", "SparseAttention": "1.18",
    "GatherBlockQuantized": "1.20",
}  # fmt: skip
FOUR_BITS = LEAST_ORT_FOR_OPERATOR["MatMulNBits"]
# MatMulNBits with 8 bits: 1.21 refuses them, 1.22 multiplies them at accuracy level 4.
EIGHT_BITS = "1.22"
# In 1.15 and later: what the recipes and onnxruntime's own optimisers and quantisers write.
SINCE_THE_FIRST = frozenset({
    "Attention", "BiasGelu", "BiasSoftmax", "BiasSplitGelu", "DequantizeLinear",
    "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "EmbedLayerNormalization", "FastGelu",
    "FusedConv", "FusedGemm", "FusedMatMul", "Gelu", "GridSample", "GroupNorm", "Inverse",
    "MatMulIntegerToFloat", "MultiHeadAttention", "NhwcMaxPool", "Pad", "QAttention",
    "QEmbedLayerNormalization", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat",
    "QLinearConv", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul",
    "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax", "QLinearWhere", "QuantizeLinear",
    "QuickGelu", "Rfft", "Irfft", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
    "TransposeMatMul", "Trilu", "Unique",
})  # fmt: skip
# An operator of com.microsoft that this table doesn't know: newer than all it knows.
UNKNOWN = "1.23"


def least_for_operator(node: NodeProto) -> str:
    """The first onnxruntime that runs a node, as far as its operator decides."""
    if node.domain != MICROSOFT:
        return "1.0"
    if node.op_type == "MatMulNBits" and attribute(node, "bits", 4) == 8:
        return EIGHT_BITS
    if node.op_type in SINCE_THE_FIRST:
        return FIRST
    return LEAST_ORT_FOR_OPERATOR.get(node.op_type, UNKNOWN)


def release(version: str) -> tuple[int, ...]:
    """A release number as something to compare; what follows the third part is left out."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def reaches(oldest: str | None, needed: str) -> bool:
    """Whether the oldest onnxruntime that must do is as new as one that is needed."""
    return oldest is None or release(oldest) >= release(needed)

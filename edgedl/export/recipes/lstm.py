"""LSTM layers as DynamicQuantizeLSTM: int8 weights, one scale for each row of each gate."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from edgedl.export.nodes import MICROSOFT, attribute
from edgedl.export.recipes.symmetric import symmetric
from edgedl.export.surgery import float_weight, rewritten, weights_of
from edgedl.runtime.golden import Array

BATCH_FIRST = "its layout is batch first, which DynamicQuantizeLSTM lacks"
NO_WEIGHTS = "its weights are no constants"
INPUTS = 8  # X, W, R, B, sequence_lens, initial_h, initial_c, P


def obstacle(node: NodeProto, weights: Mapping[str, TensorProto]) -> str:
    """Why an LSTM can't be quantised; empty where it can."""
    if any(float_weight(weights, name) is None for name in node.input[1:3]):
        return NO_WEIGHTS
    return BATCH_FIRST if attribute(node, "layout", 0) else ""


def quantise_lstms(
    model: onnx.ModelProto, chosen: Collection[str], unsigned: bool
) -> onnx.ModelProto:
    """A copy whose chosen LSTMs are DynamicQuantizeLSTM.

    Args:
        model: A model whose nodes have names; see `edgedl.export.surgery.prepared`.
        chosen: Names of LSTM nodes that have no obstacle.
        unsigned: Weights as uint8 around 128 instead of int8.
    """
    weights = weights_of(model)
    replacements, added = {}, {}
    for node in model.graph.node:
        if node.name in chosen:
            quantised, constants = _quantise(node, weights, unsigned)
            replacements[node.name] = [quantised]
            added.update(constants)
    return rewritten(model, replacements, added)


def _quantise(
    node: NodeProto, weights: Mapping[str, TensorProto], unsigned: bool
) -> tuple[NodeProto, dict[str, Array]]:
    inputs = [*node.input, *[""] * (INPUTS - len(node.input))]
    constants: dict[str, Array] = {}
    for position, letter in ((1, "W"), (2, "R")):
        weight = float_weight(weights, node.input[position])
        if weight is None:
            raise AssertionError("an LSTM without constant weights was chosen")
        values, scale, zero = _rows(weight, unsigned)
        names = [f"{node.name}__{letter}{part}" for part in ("", "_scale", "_zero")]
        inputs[position] = names[0]
        inputs += names[1:]
        constants.update(zip(names, (values, scale, zero), strict=True))
    attributes = {
        a.name: helper.get_attribute_value(a) for a in node.attribute if a.name != "layout"
    }
    quantised = helper.make_node(
        "DynamicQuantizeLSTM", inputs, node.output, f"{node.name}__quantised", domain=MICROSOFT,
        **attributes,
    )  # fmt: skip
    return quantised, constants


def _rows(weight: Array, unsigned: bool) -> tuple[Array, Array, Array]:
    """(directions, 4h, k) as (directions, k, 4h) bytes, with scales (directions, 4h)."""
    rounded, scale = symmetric(weight, (2,))
    zero, dtype = (128, np.uint8) if unsigned else (0, np.int8)
    values = (rounded.transpose(0, 2, 1) + np.int16(zero)).astype(dtype, order="C")
    return values, scale[:, :, 0], np.full(scale.shape[:2], zero, dtype)

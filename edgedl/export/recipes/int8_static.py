"""int8-static: int8 weights and activations, ranges set by calibration (QDQ, per-channel).

`int8-static` takes a tensor's least and largest value for its range, `int8-static-percentile`
and `int8-static-entropy` cut outliers. What the numbers' types are is the target's matter;
see `edgedl.export.target`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from edgedl.export.nodes import names_read
from edgedl.export.recipes.calibration import Method, open_activations, ranges
from edgedl.export.recipes.material import RECURRENT, Material, Product, quantise
from edgedl.export.recipes.ranges import Range

OPERATORS = ("Conv", "MatMul", "Gemm")
# The quantiser writes probabilities in steps of 1/256, whatever range was measured: of a
# thousand classes nearly all are zero then. In float it takes as long.
LEFT_ALONE = ("Softmax",)


def obstacle(material: Material) -> str:
    """Recurrent layers have no static kernel; calibration needs samples of its own."""
    if material.count(*RECURRENT):
        return "ONNX Runtime quantises a recurrent layer dynamically only; use int8-dynamic"
    if not material.count(*OPERATORS):
        return f"the model has no Conv, MatMul or Gemm{material.outside(*OPERATORS)}"
    if material.count("QuantizeLinear"):
        return "the model holds QDQ pairs already"
    if not material.calibration.count:
        return "no samples are left for calibration; give more with --samples"
    return ""


def make(material: Material) -> Product:
    """Ranges by least and largest value."""
    return _make(material, "minmax")


def make_percentile(material: Material) -> Product:
    """Ranges that hold 99.99 % of the values."""
    return _make(material, "percentile")


def make_entropy(material: Material) -> Product:
    """Ranges that lose least information."""
    return _make(material, "entropy")


def _make(material: Material, method: Method) -> Product:
    activations = open_activations(material.model)
    measured = ranges(activations, material.calibration, method)
    model = insert_qdq(material, measured, Choice())
    return Product(model, settings(material, method), {})


def settings(material: Material, method: Method) -> dict[str, Any]:
    """What a static recipe was made with."""
    signed = material.target.signed_activations
    return {
        "format": "QDQ",
        "activations": "int8" if signed else "uint8",
        "weights": material.target.weights,
        "per_channel": True,
        "calibration": method,
        "calibration_samples": material.calibration.count,
    }


@dataclass(frozen=True)
class Choice:
    """Which nodes are quantised: those of `only` (all where it is empty), none of `never`."""

    only: Collection[str] = field(default=())
    never: Collection[str] = field(default=())


def insert_qdq(
    material: Material, measured: Mapping[str, Range], choice: Choice
) -> onnx.ModelProto:
    """The model with QDQ pairs around the chosen nodes.

    Raises:
        RecipeError: ONNX Runtime's quantiser fails.
    """
    return quantise(lambda: _quantised(material, measured, choice), "int8-static")


def _quantised(
    material: Material, measured: Mapping[str, Range], choice: Choice
) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.quant_utils import save_and_reload_model_with_shape_infer

    bounds = {
        name: (np.array(low, np.float32), np.array(high, np.float32))
        for name, (low, high) in measured.items()
    }
    signed = material.target.signed_activations
    quantizer = QDQQuantizer(
        save_and_reload_model_with_shape_infer(material.model),
        per_channel=True,
        reduce_range=material.target.saturates,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if signed else QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, bounds),
        nodes_to_quantize=list(choice.only),
        nodes_to_exclude=[*choice.never, *_read_by_subgraphs(material.model)],
        op_types_to_quantize=_kinds(),
        extra_options={},
    )
    quantizer.quantize_model()
    model: onnx.ModelProto = quantizer.model.model
    return model


def _read_by_subgraphs(model: onnx.ModelProto) -> list[str]:
    """The activations whose outputs an If or a Loop reads from inside.

    The quantiser lets the range of the node before take an activation's place, and sees
    only that no node reads the float tensor: a subgraph then reads what wasn't cut.
    """
    inside = {name for node in model.graph.node for name in names_read(node) - {*node.input}}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("Relu", "Clip") and not inside.isdisjoint(node.output)
    ]


def quantisable(model: onnx.ModelProto) -> tuple[str, ...]:
    """The names of the nodes that a static recipe may quantise, in graph order."""
    kinds = _kinds()
    return tuple(node.name for node in model.graph.node if node.op_type in kinds)


def _kinds() -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry} - {*LEFT_ALONE})

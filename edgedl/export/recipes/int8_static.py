"""int8-static: int8 weights and activations, ranges set by calibration (QDQ, per-channel).

Weights keep to 7 bits: on x86 without VNNI the product of a full-range unsigned
activation and a full-range signed weight saturates in 16 bits. With 7 bits every CPU
gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from edgedl.export.recipes.material import RECURRENT, Material, Product, quantise
from edgedl.export.samples import Samples
from edgedl.runtime.golden import Arrays

OPERATORS = ("Conv", "MatMul", "Gemm")
CALIBRATION_BATCH = 32


def obstacle(material: Material) -> str:
    """Recurrent layers have no static kernel; calibration needs samples of its own."""
    if material.count(*RECURRENT):
        return "ONNX Runtime quantises a recurrent layer dynamically only; use int8-dynamic"
    if not material.count(*OPERATORS):
        return "the model has no Conv, MatMul or Gemm"
    if not material.calibration.count:
        return "no samples are left for calibration; give more with --samples"
    return ""


def make(material: Material) -> Product:
    """Calibrate on the calibration samples and insert QDQ pairs."""
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    output = material.scratch / "int8-static.onnx"
    quantise(
        lambda: quantize_static(
            material.model,
            output,
            _reader(material.calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=None,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        ),
        "int8-static",
    )
    settings = {
        "format": "QDQ",
        "activations": "uint8",
        "weights": "int8, 7 bits",
        "per_channel": True,
        "calibration": "minmax",
        "calibration_samples": material.calibration.count,
    }
    return Product(onnx.load_model(output), settings)


def _reader(samples: Samples) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._parts = _parts(samples)

        def get_next(self) -> Arrays | None:
            return next(self._parts, None)

    return Reader()


def _parts(samples: Samples) -> Iterator[Arrays]:
    for start in range(0, samples.count, CALIBRATION_BATCH):
        yield samples.part(range(start, min(start + CALIBRATION_BATCH, samples.count)))

"""int8-dynamic: int8 weights, activations quantised as they come.

Matrix products and LSTMs only. A Conv quantised dynamically becomes ConvInteger, which
is about three times slower than float, so convolutions stay as they are.
"""

from __future__ import annotations

import onnx

from edgedl.export.recipes.material import Material, Product, quantise

OPERATORS = ("MatMul", "Gemm", "LSTM")


def obstacle(material: Material) -> str:
    """There must be something to quantise."""
    return "" if material.count(*OPERATORS) else "the model has no MatMul, Gemm or LSTM"


def make(material: Material) -> Product:
    """Quantise the weights of matrix products and LSTMs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    output = material.scratch / "int8-dynamic.onnx"
    # Unsigned weights for an LSTM: on x86 without VNNI the kernel for signed ones
    # saturates in 16 bits and loses accuracy that ARM keeps.
    unsigned = material.count("LSTM") > 0
    quantise(
        lambda: quantize_dynamic(
            material.model,
            output,
            op_types_to_quantize=list(OPERATORS),
            per_channel=not unsigned,
            reduce_range=not unsigned,
            weight_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
        ),
        "int8-dynamic",
    )
    settings = {
        "operators": list(OPERATORS),
        "weights": "uint8" if unsigned else "int8, 7 bits",
        "per_channel": not unsigned,
    }
    return Product(onnx.load_model(output), settings)

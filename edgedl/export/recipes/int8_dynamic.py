"""int8-dynamic: int8 weights, activations quantised as they come.

Matrix products and LSTMs only. A Conv quantised dynamically becomes ConvInteger, which
is about three times slower than float, so convolutions stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from edgedl.export.recipes import lstm
from edgedl.export.recipes.material import Material, Product, quantise
from edgedl.export.recipes.projections import minor, projections
from edgedl.export.surgery import weights_of

OPERATORS = ("MatMul", "Gemm", "LSTM")
LEAVES = {
    "Conv": "the recipe leaves convolutions in float: ConvInteger is slower",
    "ConvTranspose": "the recipe leaves convolutions in float: there is no integer kernel",
    "Gather": "the recipe leaves tables in float: nothing is multiplied",
}
SMALL = "so small that quantising its input costs more than it saves"


def obstacle(material: Material) -> str:
    """There must be something to quantise."""
    if material.count(*OPERATORS):
        return ""
    return f"the model has no MatMul, Gemm or LSTM{material.outside(*OPERATORS)}"


def make(material: Material) -> Product:
    """Quantise the weights of matrix products and LSTMs."""
    return make_without(material, ())


def make_without(material: Material, never: Collection[str]) -> Product:
    """Quantise all but some nodes, by name."""
    # Unsigned weights for an LSTM: on x86 without VNNI the kernel for signed ones
    # saturates in 16 bits and loses accuracy that ARM keeps.
    unsigned = material.target.saturates
    weights = weights_of(material.model)
    layers = [n for n in material.model.graph.node if n.op_type == "LSTM"]
    kept = {n.name: reason for n in layers if (reason := lstm.obstacle(n, weights))}
    chosen = {n.name for n in layers} - kept.keys() - set(never)
    kept.update(dict.fromkeys(minor(projections(material.model)), SMALL))
    model = _quantise_products(material, {*kept, *never})
    model = lstm.quantise_lstms(model, chosen, unsigned)
    settings = {
        "operators": list(OPERATORS),
        "weights": material.target.weights,
        "lstm_weights": "uint8" if unsigned else "int8",
        "per_channel": True,
    }
    return Product(model, settings if chosen else {**settings, "lstm_weights": None}, LEAVES, kept)


def _quantise_products(material: Material, never: Collection[str]) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    output = material.scratch / "int8-dynamic.onnx"
    # A Gemm is first taken apart into a MatMul and an Add; it is known by either name.
    excluded = [name for kept in never for name in (kept, f"{kept}_MatMul")]

    def make() -> onnx.ModelProto:
        quantize_dynamic(
            material.model,
            output,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=excluded,
            per_channel=True,
            reduce_range=material.target.saturates,
            weight_type=QuantType.QInt8,
            # What comes out of operators that shape inference doesn't know.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        return onnx.load_model(output)

    return quantise(make, "int8-dynamic")


def quantisable(model: onnx.ModelProto) -> tuple[str, ...]:
    """The names of the nodes that the recipe may quantise, in graph order."""
    products = {p.name for p in projections(model)} - minor(projections(model))
    weights = weights_of(model)
    return tuple(
        node.name
        for node in model.graph.node
        if node.name in products or (node.op_type == "LSTM" and not lstm.obstacle(node, weights))
    )

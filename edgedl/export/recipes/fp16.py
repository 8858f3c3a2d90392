"""fp16: weights and arithmetic in half precision, inputs and outputs as they were.

Half the bytes, and on a GPU or a CPU with half arithmetic more speed. ONNX Runtime's CPU
provider has few such kernels on x86: it casts to float and back there, which costs time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgedl.devices.child import run_child
from edgedl.export.errors import RecipeError
from edgedl.export.nodes import attribute, copied
from edgedl.export.recipes.calibration import extremes, open_activations
from edgedl.export.recipes.material import RECURRENT, Material, Product, quantise
from edgedl.export.surgery import float_weight, rewritten, weights_of
from edgedl.runtime.golden import Array

# Half precision ends at 65504. A value within a factor of two of it on calibration samples
# may be past it on others.
MOST = 65504.0
MARGIN = 2.0
# Beside those that ONNX Runtime's converter leaves out: operators whose sums or exponents
# need more than 11 bits, as ONNX Runtime's own transformer optimiser leaves them.
BLOCKED = ("CumSum", "ReduceSum", "ReduceMean", "Pow", "Exp", "Log", "Range")
TOO_LARGE = "kept in float32: its values come near 65504, where half precision ends"
TOO_FINE = "kept in float32: half precision is too coarse for it"
RECURRENT_KEPT = "kept in float32, its weights stored in half: it has no half kernel on a CPU"
HEAVY = ("Conv", "ConvTranspose", "MatMul", "Gemm", *RECURRENT)
# Loading a Transpose in half precision before a MatMul, other than of the last two axes,
# ends in a segmentation fault in onnxruntime 1.31 and 1.32 on a CPU; not in 1.22.
MOVED = "kept in float32: before a MatMul, onnxruntime 1.32 crashes on it in half precision"
# A crash takes the process with it, so the model is loaded in another one first.
LOAD = "import sys, onnxruntime as o; o.InferenceSession(sys.argv[1], providers=[sys.argv[2]])"
LOAD_SECONDS = 120
# How the converter names what a node that it leaves alone computes.
FROM_FLOAT = "_cast_to_fp16"


def obstacle(material: Material) -> str:
    """There must be float weights."""
    floats = any(i.data_type == TensorProto.FLOAT for i in material.model.graph.initializer)
    return "" if floats else f"the model has no float32 weights{material.outside(*HEAVY)}"


def make(material: Material) -> Product:
    """Convert all that fits into half precision."""
    from onnxruntime.transformers import float16

    nodes = material.model.graph.node
    kept = {n.name: RECURRENT_KEPT for n in nodes if n.op_type in RECURRENT}
    kept |= dict.fromkeys(_before_matmul(material.model), MOVED)
    kept |= dict.fromkeys(_too_large(material), TOO_LARGE)
    copy = copied(material.model)
    model = quantise(
        lambda: float16.convert_float_to_float16(
            copy,
            keep_io_types=True,
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *BLOCKED],
            node_block_list=list(kept),
        ),
        "fp16",
    )
    model = _without_round_trips(model)
    model = _store_in_half(model, [n for n, reason in kept.items() if reason == RECURRENT_KEPT])
    _require_loading(model, material.scratch / "fp16.onnx")
    fine = {n.name: TOO_FINE for n in nodes if n.op_type in BLOCKED}
    settings = {"weights": "float16", "inputs_and_outputs": "as they were"}
    return Product(model, settings, kept={**fine, **kept})


def _before_matmul(model: onnx.ModelProto) -> list[str]:
    """The names of the Transposes that a MatMul reads."""
    read = {name for n in model.graph.node if n.op_type == "MatMul" for name in n.input}
    moved = (n for n in model.graph.node if n.op_type == "Transpose")
    return [node.name for node in moved if node.output[0] in read]


def _require_loading(model: onnx.ModelProto, file: Path) -> None:
    onnx.save_model(model, file)
    command = [sys.executable, "-c", LOAD, str(file), "CPUExecutionProvider"]
    try:
        done = run_child(command, limit_s=LOAD_SECONDS)
    except subprocess.TimeoutExpired:
        raise RecipeError(
            f"fp16: onnxruntime doesn't load this model in {LOAD_SECONDS} s", "leave fp16 out"
        ) from None
    if done.returncode < 0:
        raise RecipeError(
            f"fp16: onnxruntime crashes (signal {-done.returncode}) when it loads this model",
            "leave fp16 out",
        )


def _without_round_trips(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which a value goes from one float32 node to the next as it is.

    The converter rounds what comes out of a node that it leaves alone to half precision, also
    where another such node reads it: there a large value would overflow.
    """
    casts = [n for n in model.graph.node if n.op_type == "Cast"]
    inputs = {value.name for value in model.graph.input}
    rounded = {
        n.output[0]: n.input[0]
        for n in casts
        if attribute(n, "to", 0) == TensorProto.FLOAT16
        and (n.input[0] in inputs or n.input[0].endswith(FROM_FLOAT))
    }
    replacements: dict[str, Sequence[NodeProto]] = {
        n.name: [helper.make_node("Identity", [rounded[n.input[0]]], n.output, n.name)]
        for n in casts
        if attribute(n, "to", 0) == TensorProto.FLOAT and n.input[0] in rounded
    }
    return rewritten(model, replacements, {})


def _store_in_half(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """The float weights of these nodes in half precision, cast when the model is loaded."""
    weights = weights_of(model)
    replacements: dict[str, Sequence[NodeProto]] = {}
    added: dict[str, Array] = {}
    for node in model.graph.node:
        if node.name not in names:
            continue
        copy = copied(node)
        casts = []
        for position, name in enumerate(node.input):
            weight = float_weight(weights, name)
            if weight is None:
                continue
            own = f"{node.name}__{name}"
            copy.input[position] = own
            added[f"{own}__half"] = weight.astype(np.float16)
            casts.append(
                helper.make_node("Cast", [f"{own}__half"], [own], own, to=TensorProto.FLOAT)
            )
        replacements[node.name] = [*casts, copy]
    return rewritten(model, replacements, added)


def _too_large(material: Material) -> list[str]:
    """The names of the nodes that read or write values past half precision."""
    large = {
        i.name
        for i in material.model.graph.initializer
        if i.data_type == TensorProto.FLOAT and _reach(numpy_helper.to_array(i)) > MOST
    }
    if material.calibration.count:
        found = extremes(open_activations(material.model), material.calibration)
        reach = {name: max(abs(bound) for bound in seen.range) for name, seen in found.items()}
        large |= {name for name, most in reach.items() if most * MARGIN > MOST}
    nodes = material.model.graph.node
    return [node.name for node in nodes if large & {*node.input, *node.output}]


def _reach(values: Array) -> float:
    return float(np.abs(values).max(initial=0.0))

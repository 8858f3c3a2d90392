"""The ONNX model as a whole: its interface, validity, operators and least runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper

from edgedl.export.errors import ConversionError
from edgedl.export.interface import Interface
from edgedl.export.nodes import copied, every_node, graphs, opset_version
from edgedl.export.releases import least_for_operator, reaches, release
from edgedl.runtime.errors import one_line
from edgedl.runtime.manifest import TensorSpec

# The first onnxruntime release that reads an opset, and one that reads an IR version.
# Source: onnxruntime's docs/Versioning.md, table "Compatibility"; but a graph of every operator
# that is new in an opset, loaded in 1.15 to 1.23, says 1.16 for opset 19 (1.15 has no kernels
# for its Cast, Reshape, QuantizeLinear and others) and 1.21 for opset 22 (1.20.1 refuses it).
LEAST_ORT_FOR_OPSET = {
    12: "1.3", 13: "1.6", 14: "1.8", 15: "1.9", 16: "1.11", 17: "1.12", 18: "1.14",
    19: "1.16", 20: "1.17", 21: "1.18", 22: "1.21", 23: "1.23",
}  # fmt: skip
LEAST_ORT_FOR_IR = {7: "1.3", 8: "1.9", 9: "1.15", 10: "1.18", 11: "1.21", 12: "1.23"}
LEAST_IR_FOR_OPSET = {18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}
OLDEST_IR = 8
FLOATING = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def conform(model: ModelProto, interface: Interface) -> ModelProto:
    """A copy with the interface's tensors at the least IR version, found valid.

    Raises:
        ConversionError: The model has other tensors, or is not valid.
    """
    conforming = with_least_ir(set_interface(model, interface))
    check_model(conforming)
    return conforming


def set_interface(model: ModelProto, interface: Interface) -> ModelProto:
    """A copy of the model with the interface's names, dtypes and shapes.

    Inputs and outputs are matched by position. Shapes recorded inside the graph are
    dropped: converters leave names such as `unk__36` there, and sizes of the example.

    Raises:
        ConversionError: The model has another number of inputs or outputs.
    """
    renamed = copied(model)
    graph = renamed.graph
    inputs = [v.name for v in graph.input if v.name not in {i.name for i in graph.initializer}]
    outputs = [v.name for v in graph.output]
    for kind, found, wanted in (
        ("inputs", inputs, interface.inputs),
        ("outputs", outputs, interface.outputs),
    ):
        if len(found) != len(wanted):
            raise ConversionError(f"the converted model has {len(found)} {kind}, not {len(wanted)}")
    outputs = _own_outputs(graph, set(inputs), outputs)
    specs = [*interface.inputs, *interface.outputs]
    names = {old: spec.name for old, spec in zip([*inputs, *outputs], specs, strict=True)}
    _rename_values(graph, names)
    del graph.value_info[:]
    del graph.input[:]
    graph.input.extend(_value_info(spec) for spec in interface.inputs)
    del graph.output[:]
    graph.output.extend(_value_info(spec) for spec in interface.outputs)
    return renamed


def _own_outputs(graph: GraphProto, inputs: set[str], outputs: list[str]) -> list[str]:
    """The outputs' values; one that is an input, or stands twice, gets an Identity."""
    own: list[str] = []
    for position, name in enumerate(outputs):
        if name in inputs or name in own:
            fresh = f"{name}__output_{position}"
            graph.node.append(helper.make_node("Identity", [name], [fresh], name=fresh))
            name = fresh
        own.append(name)
    return own


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, element, list(spec.shape))


def _rename_values(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Rename values everywhere; an inner value that has a new name's name steps aside."""
    taken = set(names.values()) - set(names)
    inner = {v for node in every_node(graph) for v in (*node.input, *node.output)}
    inner |= {i.name for part in graphs(graph) for i in part.initializer}
    mapping = {**{name: f"{name}__inner" for name in taken & inner}, **names}
    for node in every_node(graph):
        node.input[:] = [mapping.get(v, v) for v in node.input]
        node.output[:] = [mapping.get(v, v) for v in node.output]
    for part in graphs(graph):
        for value in (*part.initializer, *part.input, *part.output, *part.value_info):
            value.name = mapping.get(value.name, value.name)


def operators(model: ModelProto) -> dict[str, int]:
    """How often each operator stands in the model, with its domain where not ONNX's own."""
    counts = Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in every_node(model.graph)
    )
    return dict(sorted(counts.items()))


def with_least_ir(model: ModelProto) -> ModelProto:
    """A copy at the oldest IR version its opset allows, so that older runtimes load it."""
    lowered = copied(model)
    lowered.ir_version = max(OLDEST_IR, LEAST_IR_FOR_OPSET.get(opset_version(model), OLDEST_IR))
    return lowered


def is_as_large(model: ModelProto, other: ModelProto) -> bool:
    """Whether two models hold as many weights of each shape and type, wherever they stand.

    A recipe that changes none has made nothing: no weight is quantised, factored or rounded.
    """
    return _sizes(model) == _sizes(other)


def _sizes(model: ModelProto) -> Counter[tuple[int, ...]]:
    return Counter((i.data_type, *sorted(i.dims)) for i in model.graph.initializer)


def least_onnxruntime(model: ModelProto) -> str:
    """The oldest onnxruntime release that reads this opset, IR version and operators."""
    by_opset = LEAST_ORT_FOR_OPSET.get(
        opset_version(model), LEAST_ORT_FOR_OPSET[max(LEAST_ORT_FOR_OPSET)]
    )
    by_ir = LEAST_ORT_FOR_IR.get(model.ir_version, LEAST_ORT_FOR_IR[max(LEAST_ORT_FOR_IR)])
    by_operators = (least_for_operator(node) for node in every_node(model.graph))
    return max(by_opset, by_ir, *by_operators, key=release)


def require_readable(model: ModelProto, min_ort: str | None) -> None:
    """Refuse a model that the oldest onnxruntime it is for can't read.

    Raises:
        ConversionError: Names the release that it needs.
    """
    needs = least_onnxruntime(model)
    if not reaches(min_ort, needs):
        every = every_node(model.graph)
        culprits = sorted({n.op_type for n in every if least_for_operator(n) == needs})
        which = ", ".join([f"opset {opset_version(model)}", f"IR {model.ir_version}", *culprits])
        raise ConversionError(
            f"the model needs onnxruntime {needs} ({which}); --min-ort is {min_ort}",
            "raise --min-ort, or leave the recipe out",
        )


def latest_opset(min_ort: str) -> int:
    """The latest opset that an onnxruntime release reads."""
    fitting = [o for o, ort in LEAST_ORT_FOR_OPSET.items() if release(ort) <= release(min_ort)]
    if not fitting:
        raise ConversionError(
            f"onnxruntime {min_ort} is older than edgedl can export for",
            f"the oldest is {min(LEAST_ORT_FOR_OPSET.values(), key=release)}",
        )
    return max(fitting)


def check_model(model: ModelProto) -> None:
    """onnx.checker, with full shape inference.

    Raises:
        ConversionError: The model is not valid.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"onnx.checker: {one_line(error)}") from error


def has_bad_weights(model: ModelProto) -> str:
    """The first initialiser that holds NaN; empty where none does.

    Infinity may be meant: a mask's filling, the neutral element of a maximum.
    """
    for initializer in model.graph.initializer:
        floating = initializer.data_type in FLOATING
        if floating and np.isnan(onnx.numpy_helper.to_array(initializer)).any():
            return str(initializer.name)
    return ""

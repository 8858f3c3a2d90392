"""TensorFlow functions to ONNX, through tf2onnx: what Keras models and SavedModels share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedl.export.errors import ConversionError, SourceError
from edgedl.export.interface import Interface
from edgedl.export.nodes import ONNX, every_node
from edgedl.export.quiet import quiet
from edgedl.export.request import DEFAULT_OPSET
from edgedl.runtime.errors import MissingExtraError, one_line
from edgedl.runtime.golden import Arrays
from edgedl.runtime.manifest import TensorSpec
from edgedl.runtime.quality import BATCH

if TYPE_CHECKING:
    import onnx

TOOLS: tuple[str, ...] = ("keras", "tensorflow", "tf2onnx")
# What tracing, freezing and tf2onnx raise for a model that they can't take.
CONVERSION_ERRORS = (
    ValueError, KeyError, TypeError, AttributeError, RuntimeError, NotImplementedError,
    AssertionError, IndexError,
)  # fmt: skip


def import_tensorflow() -> Any:
    """TensorFlow, without its start-up noise."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet():
            import tensorflow as tf

            tf.config.list_physical_devices()  # looks for a GPU now, while nobody listens
    except ImportError as error:
        raise MissingExtraError(f"tensorflow ({error})", "tensorflow") from error
    tf.get_logger().setLevel("ERROR")
    return tf


def input_spec(name: str, dtype: str, shape: Sequence[int | None]) -> TensorSpec:
    """An input as TensorFlow declares it: axis 0 is the batch, other free axes are named.

    Raises:
        SourceError: It holds something else than numbers.
    """
    try:
        numbers = np.dtype(dtype)
    except TypeError:
        raise SourceError(
            f"input {name!r} is of dtype {dtype}: only numbers go into a bundle",
            "leave that preprocessing out of the exported model",
        ) from None
    dims = tuple(
        int(d) if d is not None else BATCH if axis == 0 else f"{name}_{axis}"
        for axis, d in enumerate(shape)
    )
    return TensorSpec(name, str(numbers), dims)


def to_onnx(
    call: Callable[[Arrays], Sequence[Any]],
    interface: Interface,
    opset: int | None,
    layers: Collection[str] = (),
) -> onnx.ModelProto:
    """Trace, freeze and convert a function of named tensors.

    Args:
        call: Named tensors to output tensors, in the interface's order.
        interface: The inputs to trace it with.
        opset: As for `Conversion`.
        layers: Names that errors may blame.

    Raises:
        ConversionError: It can't be traced, or needs an operator that ONNX lacks.
    """
    tf = import_tensorflow()
    try:
        with quiet():
            import tf2onnx

            from edgedl.export.sources import tensorflow_operators as operators
            from edgedl.export.sources.tensorflow_recurrent import RecurrentLoops
    except ImportError as error:
        raise MissingExtraError(f"tf2onnx ({error})", "tensorflow") from error
    try:
        with quiet():
            frozen, inputs, outputs = _freeze(tf, call, interface)
            model, _ = tf2onnx.convert.from_graph_def(
                frozen,
                input_names=inputs,
                output_names=outputs,
                opset=opset or DEFAULT_OPSET,
                custom_op_handlers=dict(operators.HANDLERS),
                custom_rewriter=[*operators.REWRITERS, RecurrentLoops()],
            )
    except CONVERSION_ERRORS as error:
        raise ConversionError(f"tf2onnx: {one_line(error)}") from error
    proto: onnx.ModelProto = model
    _require_known_operators(proto, layers)
    return proto


def _freeze(
    tf: Any, call: Callable[[Arrays], Sequence[Any]], interface: Interface
) -> tuple[Any, list[str], list[str]]:
    """The function as a graph without variables, and its tensors' names."""
    from tf2onnx import tf_loader

    names = [s.name for s in interface.inputs]
    signature = [
        tf.TensorSpec([d if isinstance(d, int) else None for d in s.shape], s.dtype, s.name)
        for s in interface.inputs
    ]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def forward(*tensors: Any) -> tuple[Any, ...]:
        outputs = call(dict(zip(names, tensors, strict=True)))
        return tuple(tf.identity(value) for value in outputs)

    concrete = forward.get_concrete_function()
    inputs = [t.name for t in concrete.inputs[: len(names)]]
    outputs = [t.name for t in concrete.outputs]
    frozen = tf_loader.from_function(concrete, [*inputs, *_captured(tf, concrete)], outputs)
    _fill_in(tf, frozen, _captured(tf, concrete))
    _allow_inlining(frozen)
    return frozen, inputs, outputs


def _captured(tf: Any, concrete: Any) -> dict[str, Any]:
    """Tensors from outside that the function reads, by name; variables are none of them.

    Keras keeps what a Normalization layer has learned in such tensors.
    """
    inner = concrete.inputs[len(concrete.inputs) - len(concrete.captured_inputs) :]
    pairs = zip(inner, concrete.captured_inputs, strict=True)
    return {tensor.name: value for tensor, value in pairs if tensor.dtype != tf.resource}


def _fill_in(tf: Any, frozen: Any, captured: Mapping[str, Any]) -> None:
    """Write captured tensors into the graph, where they stand as inputs."""
    values = {name.split(":")[0]: value for name, value in captured.items()}
    for node in frozen.node:
        if node.name in values:
            node.op = "Const"
            node.attr.clear()
            node.attr["dtype"].type = values[node.name].dtype.as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values[node.name]))


def _allow_inlining(frozen: Any) -> None:
    """Functions to be compiled by XLA (Keras' grouped convolutions) stay calls otherwise."""
    inner = [node for function in frozen.library.function for node in function.node_def]
    for holder in (*frozen.node, *inner, *frozen.library.function):
        for mark in ("_XlaMustCompile", "_noinline"):
            holder.attr.pop(mark, None)


def _require_known_operators(model: onnx.ModelProto, layers: Collection[str]) -> None:
    """tf2onnx leaves an operator it lacks in ONNX's own domain, and says nothing.

    Raises:
        ConversionError: Names the first one and its layer.
    """
    import onnx

    for node in every_node(model.graph):
        if node.domain in ONNX and not onnx.defs.has(node.op_type):
            raise ConversionError(
                f"layer {blame(node.name, layers)!r} needs TensorFlow's {node.op_type}, "
                "which has no translation to ONNX"
            )


def blame(node: str, layers: Collection[str]) -> str:
    """The layer that a graph's node came from: the innermost scope that is a layer's name."""
    scopes = node.split("/")[:-1]
    for scope in reversed(scopes):
        # A layer that is called again gets a number behind its name.
        for name in (scope, re.sub(r"_\d+$", "", scope)):
            if name in layers:
                return name
    return scopes[-1] if scopes else node

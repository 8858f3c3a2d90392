"""Keras models, through tf2onnx."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedl.export.errors import ConversionError, SourceError
from edgedl.export.interface import DynamicAxis, Interface, clean_name, with_dynamic
from edgedl.export.quiet import quiet
from edgedl.export.request import DEFAULT_OPSET
from edgedl.export.sources import Conversion, call_factory, describe_arrays
from edgedl.runtime.errors import MissingExtraError, one_line
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec
from edgedl.runtime.quality import BATCH

if TYPE_CHECKING:
    import onnx


def open_keras(path: Path) -> KerasSource:
    """Load a `.keras` file; nothing in it is executed.

    Raises:
        SourceError: It is missing, or isn't a Keras archive.
    """
    if not path.is_file():
        raise SourceError(f"{path} is missing", "give a .keras file")
    if not zipfile.is_zipfile(path):
        raise SourceError(
            f"{path} is not a Keras archive (a .keras file is a zip)",
            "save the model with model.save('model.keras')",
        )
    keras = import_keras()
    try:
        with quiet():
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{path} can't be loaded: {one_line(error)}",
            "a custom layer needs its code: give file.py:factory instead",
        ) from error
    return KerasSource(model)


def import_keras() -> Any:
    """Keras over TensorFlow, without TensorFlow's start-up noise."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with quiet():
            import keras
            import tensorflow as tf

            tf.config.list_physical_devices()  # looks for a GPU now, while nobody listens
    except ImportError as error:
        raise MissingExtraError(f"tensorflow ({error})", "tensorflow") from error
    if keras.backend.backend() != "tensorflow":
        raise SourceError(
            f"Keras runs on {keras.backend.backend()} here", "set KERAS_BACKEND=tensorflow"
        )
    tf.get_logger().setLevel("ERROR")
    return keras


class KerasSource:
    """A Keras model with known inputs."""

    framework = "keras"
    distributions: tuple[str, ...] = ("keras", "tensorflow", "tf2onnx")

    def __init__(self, model: Any) -> None:
        if not getattr(model, "inputs", None):
            raise SourceError(
                f"Keras model {model.name!r} has no inputs yet",
                "call it once on an example before saving",
            )
        self.model = model
        self._outputs = _output_names(model)

    def input_specs(
        self, samples: Arrays | None, dynamic: Sequence[DynamicAxis]
    ) -> tuple[TensorSpec, ...]:
        """The model's own inputs; axis 0 is the batch, other free axes are named after them."""
        del samples
        specs = [
            TensorSpec(name, str(np.dtype(tensor.dtype)), _dims(name, tensor.shape))
            for name, tensor in zip(self._input_names(), self.model.inputs, strict=True)
        ]
        return with_dynamic(specs, dynamic)

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """Keras' own outputs, in inference mode."""
        inputs = [feeds[name] for name in self._input_names()]
        outputs = call_factory(self._call, f"the model, run on {describe_arrays(feeds)},", inputs)
        names = tuple(outputs) if isinstance(outputs, dict) else self._outputs
        return names, tuple(np.asarray(value) for value in self._flat(outputs))

    def conversions(self) -> tuple[Conversion, ...]:
        """tf2onnx over a tf.function; its from_keras can't read Keras 3."""
        why = "tf2onnx.convert.from_keras fails on Keras 3 models"
        return (Conversion("tf2onnx.convert.from_function", why, self._from_function),)

    def _from_function(
        self, interface: Interface, example: Arrays, opset: int | None
    ) -> onnx.ModelProto:
        del example
        try:
            with quiet():
                import tensorflow as tf
                import tf2onnx
        except ImportError as error:
            raise MissingExtraError(f"tf2onnx ({error})", "tensorflow") from error
        signature = [
            tf.TensorSpec([d if isinstance(d, int) else None for d in s.shape], s.dtype, s.name)
            for s in interface.inputs
        ]

        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def forward(*inputs: Any) -> tuple[Any, ...]:
            return tuple(tf.identity(value) for value in self._flat(self._call(list(inputs))))

        try:
            with quiet():
                model, _ = tf2onnx.convert.from_function(
                    forward, input_signature=signature, opset=opset or DEFAULT_OPSET
                )
        except (ValueError, KeyError, TypeError, RuntimeError, NotImplementedError) as error:
            raise ConversionError(f"tf2onnx: {one_line(error)}") from error
        proto: onnx.ModelProto = model
        return proto

    def _call(self, inputs: list[Any]) -> Any:
        return self.model(inputs[0] if len(inputs) == 1 else inputs, training=False)

    def _flat(self, outputs: Any) -> list[Any]:
        if isinstance(outputs, dict):
            return list(outputs.values())
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]

    def _input_names(self) -> list[str]:
        return [clean_name(tensor.name) for tensor in self.model.inputs]


def _dims(name: str, shape: Sequence[int | None]) -> tuple[int | str, ...]:
    return tuple(
        d if d is not None else BATCH if axis == 0 else f"{name}_{axis}"
        for axis, d in enumerate(shape)
    )


def _output_names(model: Any) -> tuple[str, ...]:
    """The names of the layers that make the outputs, as a person gave them."""
    names = getattr(model, "output_names", None)
    if names:
        return tuple(names)
    layers = getattr(model, "layers", [])
    if len(model.outputs) == 1 and layers:
        return (layers[-1].name,)
    return tuple("output" if i == 0 else f"output_{i}" for i in range(len(model.outputs)))

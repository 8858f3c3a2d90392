"""Keras models, through tf2onnx."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedl.export.errors import SourceError
from edgedl.export.interface import DynamicAxis, Interface, with_dynamic
from edgedl.export.quiet import quiet
from edgedl.export.releases import release
from edgedl.export.sources import Conversion, call_factory, describe_arrays
from edgedl.export.sources.keras_calls import calls_of, named_outputs
from edgedl.export.sources.keras_stand_ins import with_stand_ins
from edgedl.export.sources.tensorflow import TOOLS, import_tensorflow, to_onnx
from edgedl.runtime.errors import MissingExtraError, one_line
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec

if TYPE_CHECKING:
    import onnx

HDF5 = (".h5", ".hdf5")
# The first release that heeds safe_mode in HDF5 files too (CVE-2025-9905).
SAFE_HDF5 = (3, 11, 3)
LOAD_ERRORS = (ValueError, TypeError, KeyError, AttributeError, OSError, zipfile.BadZipFile)
ASK_FOR_FACTORY = "a custom layer needs its code: give file.py:factory instead"


def open_keras(path: Path) -> KerasSource:
    """Load a `.keras` or legacy HDF5 file; nothing in it is executed.

    Raises:
        SourceError: It is missing, isn't a Keras file, or needs code that it doesn't hold.
    """
    if not path.is_file():
        raise SourceError(f"{path} is missing", "give a .keras file")
    if path.suffix not in HDF5 and not zipfile.is_zipfile(path):
        raise SourceError(
            f"{path} is not a Keras archive (a .keras file is a zip)",
            "save the model with model.save('model.keras')",
        )
    keras = import_keras()
    if path.suffix in HDF5 and release(keras.__version__) < SAFE_HDF5:
        raise SourceError(
            f"Keras {keras.__version__} may run code from an HDF5 file: {path} is refused",
            "install keras 3.11.3 or newer, or save the model as a .keras file",
        )
    try:
        with quiet():
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    except LOAD_ERRORS as error:
        unknown = _unknown_layer(keras, path, error)
        reason = f"{unknown} is not Keras' own" if unknown else one_line(error)
        raise SourceError(f"{path} can't be loaded: {reason}", ASK_FOR_FACTORY) from error
    return KerasSource(model)


def _unknown_layer(keras: Any, path: Path, error: Exception) -> str:
    """The layer whose class isn't there, in words; empty where that isn't the reason.

    Keras' own error shows the whole model's configuration instead.
    """
    named = re.search(r"Unknown layer: '([^']+)'", str(error))
    if named:
        return f"layer class {named[1]}"
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return ""
    for part in _parts(config):
        registered = part.get("registered_name") or part["class_name"]
        module = str(part.get("module") or "")
        if not module.startswith("keras") and not keras.saving.get_registered_object(registered):
            return f"layer {part['config'].get('name')!r} of class {registered}"
    return ""


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every serialised object in a model's configuration that may be a layer."""
    children = config.values() if isinstance(config, dict) else config
    if isinstance(config, dict) and "class_name" in config:
        inner = config.get("config")
        if isinstance(inner, dict) and "name" in inner:
            yield config
    for child in children:
        if isinstance(child, dict | list):
            yield from _parts(child)


def import_keras() -> Any:
    """Keras over TensorFlow."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import_tensorflow()
    try:
        with quiet():
            import keras
    except ImportError as error:
        raise MissingExtraError(f"keras ({error})", "tensorflow") from error
    if keras.backend.backend() != "tensorflow":
        raise SourceError(
            f"Keras runs on {keras.backend.backend()} here", "set KERAS_BACKEND=tensorflow"
        )
    return keras


class KerasSource:
    """A Keras model. One that declares no inputs gets them from the samples."""

    framework = "keras"
    distributions = TOOLS

    def __init__(self, model: Any) -> None:
        self.model = model
        self._keras = import_keras()
        self._calls = calls_of(self._keras, model)
        self._outputs = _output_names(model)

    def input_specs(
        self, samples: Arrays | None, dynamic: Sequence[DynamicAxis]
    ) -> tuple[TensorSpec, ...]:
        """The model's inputs; axis 0 is the batch, other free axes are named after them."""
        return with_dynamic(self._calls.specs(samples), dynamic)

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """Keras' own outputs, in inference mode."""

        def answer() -> tuple[tuple[str, ...], tuple[Array, ...]]:
            names, tensors = self._named(self._calls(self.model, feeds))
            return names, tuple(np.asarray(tensor) for tensor in tensors)

        answered: tuple[tuple[str, ...], tuple[Array, ...]] = call_factory(
            answer, f"the model, run on {describe_arrays(feeds)},"
        )
        return answered

    def conversions(self) -> tuple[Conversion, ...]:
        """tf2onnx over a frozen tf.function; its from_keras can't read Keras 3."""
        whole = Conversion(
            "tf2onnx over a tf.function",
            "tf2onnx.convert.from_keras fails on Keras 3 models",
            lambda interface, example, opset: self._convert(self.model, interface, opset),
        )
        model = with_stand_ins(self._keras, self.model)
        if model is None:
            return (whole,)
        replaced = Conversion(
            "tf2onnx, some layers replaced",
            "TimeDistributed, UpSampling2D or Resizing is traced wrong as it is",
            lambda interface, example, opset: self._convert(model, interface, opset),
        )
        return (whole, replaced)

    def _convert(self, model: Any, interface: Interface, opset: int | None) -> onnx.ModelProto:
        def call(feeds: Arrays) -> Sequence[Any]:
            return self._named(self._calls(model, feeds))[1]

        return to_onnx(call, interface, opset, set(_layer_names(model)))

    def _named(self, outputs: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        return named_outputs(self._keras, outputs, self._outputs)


def _layer_names(model: Any) -> Iterator[str]:
    """Every layer's name, those of nested models and wrappers included."""
    for layer in getattr(model, "layers", []):
        yield layer.name
        yield from _layer_names(layer)


def _output_names(model: Any) -> tuple[str, ...]:
    """The names of the layers that make the outputs, as a person gave them."""
    names = getattr(model, "output_names", None)
    if names:
        return tuple(names)
    layers = getattr(model, "layers", [])
    if getattr(model, "inputs", None) and len(model.outputs) == 1 and layers:
        return (layers[-1].name,)
    return ()

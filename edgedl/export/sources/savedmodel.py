"""SavedModel directories, through tf2onnx: what `model.export()` and TensorFlow write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedl.export.errors import SourceError
from edgedl.export.interface import DynamicAxis, Interface, clean_name, with_dynamic
from edgedl.export.quiet import quiet
from edgedl.export.sources import Conversion, call_factory, describe_arrays
from edgedl.export.sources.tensorflow import TOOLS, import_tensorflow, input_spec, to_onnx
from edgedl.runtime.errors import one_line
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec

if TYPE_CHECKING:
    import onnx

FILES = ("saved_model.pb", "saved_model.pbtxt")
SIGNATURE = "serving_default"
HOW_TO_SAVE = "write it with model.export(DIR), or tf.saved_model.save(..., signatures=...)"


def open_savedmodel(path: Path) -> SavedModelSource:
    """Load a SavedModel's signature `serving_default`, or its only one.

    Raises:
        SourceError: The directory is no SavedModel, is damaged or has no such signature.
    """
    if not any((path / name).is_file() for name in FILES):
        raise SourceError(
            f"{path} is a directory, but no SavedModel: it has no {FILES[0]}", HOW_TO_SAVE
        )
    tf = import_tensorflow()
    try:
        with quiet():
            loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError,
            tf.errors.OpError) as error:  # fmt: skip
        raise SourceError(f"{path} can't be loaded: {one_line(error)}", HOW_TO_SAVE) from error
    return SavedModelSource(loaded, _signature(path, loaded))


def _signature(path: Path, loaded: Any) -> Any:
    signatures = getattr(loaded, "signatures", {})
    names = [name for name in signatures if not name.startswith("__")]
    if SIGNATURE in names:
        return signatures[SIGNATURE]
    if len(names) == 1:
        return signatures[names[0]]
    what = f"signatures {', '.join(sorted(names))} only" if names else "no signatures"
    raise SourceError(f"{path} has {what}, not {SIGNATURE!r}", HOW_TO_SAVE)


class SavedModelSource:
    """One signature of a SavedModel: a function of named tensors."""

    framework = "tensorflow"
    distributions = TOOLS

    def __init__(self, loaded: Any, signature: Any) -> None:
        self._loaded = loaded  # owns the variables that the signature reads
        self._signature = signature
        declared = signature.structured_input_signature[1]
        order = [tensor.name.split(":")[0] for tensor in signature.inputs]
        keys = sorted(declared, key=lambda key: (order.index(key) if key in order else -1, key))
        self._declared = {clean_name(key): (key, declared[key]) for key in keys}

    def input_specs(
        self, samples: Arrays | None, dynamic: Sequence[DynamicAxis]
    ) -> tuple[TensorSpec, ...]:
        """The signature's inputs; a free axis 0 is the batch, others are named after them."""
        specs = [
            input_spec(name, declared.dtype.name, _shape(name, declared, samples))
            for name, (_, declared) in self._declared.items()
        ]
        return with_dynamic(specs, dynamic)

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """TensorFlow's own outputs."""
        tf = import_tensorflow()
        tensors = {name: tf.constant(array) for name, array in feeds.items()}
        outputs: dict[str, Any] = call_factory(
            lambda: self._call(tensors), f"the model, run on {describe_arrays(feeds)},"
        )
        return tuple(outputs), tuple(np.asarray(value) for value in outputs.values())

    def conversions(self) -> tuple[Conversion, ...]:
        """tf2onnx over the signature."""
        why = "a signature is a tf.function"
        return (Conversion("tf2onnx over a tf.function", why, self._convert),)

    def _convert(self, interface: Interface, example: Arrays, opset: int | None) -> onnx.ModelProto:
        del example
        return to_onnx(lambda feeds: tuple(self._call(feeds).values()), interface, opset)

    def _call(self, feeds: Arrays) -> dict[str, Any]:
        """Outputs by name, in the alphabet's order: a signature's own is any."""
        named = {key: feeds[name] for name, (key, _) in self._declared.items()}
        return dict(sorted(self._signature(**named).items()))


def _shape(name: str, declared: Any, samples: Arrays | None) -> tuple[int | None, ...]:
    if declared.shape.rank is not None:
        return tuple(declared.shape.as_list())
    if samples is None or name not in samples:
        raise SourceError(
            f"the SavedModel doesn't say how many axes input {name!r} has",
            f"give --samples FILE.npz with an array {name!r}",
        )
    return (None, *samples[name].shape[1:])

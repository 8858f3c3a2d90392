"""The runtime an app embeds: NumPy, onnxruntime and msgspec, nothing else.

    from edgedl import runtime

    model = runtime.load("digits.bundle")
    probabilities = model.run(image=image)["probabilities"]

Names are imported when they are first used, so that reading a manifest, or an error
class, doesn't need onnxruntime.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgedl.runtime.batcher import Batcher, BatcherStats
    from edgedl.runtime.bundle import Bundle, open_bundle
    from edgedl.runtime.classifier import Classifier, Prediction
    from edgedl.runtime.device_parity import Proof, prove
    from edgedl.runtime.errors import (
        BundleError,
        BundleNotFoundError,
        DeviceError,
        EdgedlError,
        EngineError,
        InputError,
        IntegrityError,
        MissingExtraError,
        ParityError,
        QueueFullError,
        SchemaError,
        UnknownDeviceError,
        WorkerError,
    )
    from edgedl.runtime.manifest import Manifest, TensorSpec, Variant
    from edgedl.runtime.session import Model, load
    from edgedl.runtime.stream import Stream
    from edgedl.runtime.text import Piece, TextGenerator

__all__ = [
    "Batcher",
    "BatcherStats",
    "Bundle",
    "BundleError",
    "BundleNotFoundError",
    "Classifier",
    "DeviceError",
    "EdgedlError",
    "EngineError",
    "InputError",
    "IntegrityError",
    "Manifest",
    "MissingExtraError",
    "Model",
    "ParityError",
    "Piece",
    "Prediction",
    "Proof",
    "QueueFullError",
    "SchemaError",
    "Stream",
    "TensorSpec",
    "TextGenerator",
    "UnknownDeviceError",
    "Variant",
    "WorkerError",
    "load",
    "open_bundle",
    "prove",
]

# From 1.29 on, onnxruntime writes an identifier of the device when it is imported, and
# reports sessions to Microsoft. Its own `disable_telemetry_events` comes too late for that.
# Whoever set the variable before is not overruled.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOME = {
    **dict.fromkeys(("Proof", "prove"), "device_parity"),
    **dict.fromkeys(("Batcher", "BatcherStats"), "batcher"),
    **dict.fromkeys(("Bundle", "open_bundle"), "bundle"),
    **dict.fromkeys(("Manifest", "TensorSpec", "Variant"), "manifest"),
    **dict.fromkeys(("Model", "load"), "session"),
    **dict.fromkeys(("Classifier", "Prediction"), "classifier"),
    "Stream": "stream",
    **dict.fromkeys(("Piece", "TextGenerator"), "text"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOME.get(name, 'errors')}")
    return getattr(module, name)

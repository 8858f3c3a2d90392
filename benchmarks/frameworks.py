"""The source frameworks as subjects of a benchmark: same inputs, same worker, same clock.

A subject is `factory(inputs, threads, *args)`; it returns what is timed. See
`edgedl.runtime.protocol.Case`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgedl.export.sources import load_factory
from edgedl.export.sources.keras import import_keras
from edgedl.export.sources.torch import build_torch

Arrays = dict[str, np.ndarray]
Run = Callable[[], Arrays]


def keras_predict(inputs: Arrays, threads: int | None, model: str, output: str) -> Run:
    """`model.predict`, which is what the documentation shows first."""
    keras_model, (image,) = _load_keras(threads, model), inputs.values()
    return lambda: {output: keras_model.predict(image, verbose=0)}


def keras_call(inputs: Arrays, threads: int | None, model: str, output: str) -> Run:
    """`model(x)`, which is faster than `predict` for small batches."""
    keras_model, (image,) = _load_keras(threads, model), inputs.values()
    return lambda: {output: np.asarray(keras_model(image, training=False))}


def _load_keras(threads: int | None, model: str) -> Any:
    keras = import_keras()
    if threads is not None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
    return keras.models.load_model(model, compile=False)


def torch_eager(inputs: Arrays, threads: int | None, factory: str, weights: str) -> Run:
    """The module itself, without gradients, on tensors that are there already."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    source = build_torch(load_factory(factory), factory, Path(weights))
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}

    def run() -> Arrays:
        with torch.inference_mode():
            logits, h, c = source.module(**tensors)
        return {"logits": logits.numpy(), "h_out": h.numpy(), "c_out": c.numpy()}

    return run

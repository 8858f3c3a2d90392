"""Keras, the digits' own framework: `predict`, and the model called."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.engines import Step
from edgedl.export.sources.keras import import_keras
from edgedl.runtime.golden import Arrays


def open_model(inputs: Arrays, threads: int | None, model: str, how: str) -> Step:
    """`how` is "predict" or "call"."""
    keras = import_keras()
    import tensorflow as tf

    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    network = keras.models.load_model(model, compile=False)
    if how == "predict":
        return lambda given: {"probabilities": network.predict(given["image"], verbose=0)}
    return lambda given: {"probabilities": np.asarray(network(given["image"], training=False))}

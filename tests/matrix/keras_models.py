"""Keras models of the matrix: each factory as a person would write it."""

from __future__ import annotations

import keras

from tests.matrix.entry import Entry, Input

HERE = "tests/matrix/keras_models.py"


def mlp() -> keras.Model:
    """Two dense layers."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((32,), name="features"),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(10, name="logits"),
        ]
    )


ENTRIES = (Entry("keras mlp", f"{HERE}:mlp", {"features": Input(("batch", 32))}),)

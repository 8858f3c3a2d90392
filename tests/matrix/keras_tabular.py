"""Keras models of every other shape: how they are built, called and saved."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers


def mlp() -> keras.Model:
    """Two dense layers."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((32,), name="features"),
            layers.Dense(64, "relu"),
            layers.Dense(10, name="logits"),
        ]
    )


def unbuilt() -> keras.Model:
    """A Sequential that doesn't know its inputs before it is called."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([layers.Dense(32, "tanh"), layers.Dense(5, name="scores")])


def several() -> keras.Model:
    """Two inputs, one of integers, and two outputs."""
    keras.utils.set_random_seed(0)
    numbers = keras.Input((8,), name="numbers")
    kind = keras.Input((), name="kind", dtype="int64")
    x = layers.Concatenate()([numbers, layers.Embedding(7, 4)(kind)])
    x = layers.Dense(32, activation="relu")(x)
    price = layers.Dense(1, name="price")(x)
    return keras.Model([numbers, kind], [price, layers.Dense(3, name="class_logits")(x)])


def by_name() -> keras.Model:
    """Inputs and outputs in dicts, and a model inside the model."""
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(12, "relu"), layers.Dense(6)], name="inner"
    )
    left, right = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    x = layers.Multiply()([inner(left), inner(right)])
    outputs = {"similar": layers.Dense(1, activation="sigmoid")(x), "code": x}
    return keras.Model({"left": left, "right": right}, outputs)


class Mixture(keras.Model):
    """Experts weighted by a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = [layers.Dense(6, activation="tanh") for _ in range(3)]
        self.gate = layers.Dense(3, activation="softmax")

    def call(self, features: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """The weighted sum."""
        del training
        weights = self.gate(features)
        stacked = keras.ops.stack([expert(features) for expert in self.experts], axis=-1)
        return keras.ops.sum(stacked * weights[:, None, :], axis=-1)


def subclassed() -> keras.Model:
    """A model with only a `call`."""
    keras.utils.set_random_seed(0)
    return Mixture()


class Ranker(keras.Model):
    """Scores items for a user."""

    def __init__(self) -> None:
        super().__init__()
        self.users = layers.Embedding(20, 8)
        self.project = layers.Dense(8)

    def call(self, user: keras.KerasTensor, items: keras.KerasTensor) -> dict[str, object]:
        """Scores per item, and the best one's position."""
        scores = keras.ops.einsum("bd,bnd->bn", self.users(user), self.project(items))
        return {"scores": scores, "best": keras.ops.argmax(scores, axis=-1)}


def ranker() -> keras.Model:
    """Two arguments; the answer is a position."""
    keras.utils.set_random_seed(0)
    return Ranker()


@keras.saving.register_keras_serializable("matrix")
class Gated(layers.Layer):
    """A gated linear unit, as nobody's library has it."""

    def __init__(self, units: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape: tuple[int, ...]) -> None:
        """Two kernels."""
        self.value = self.add_weight(shape=(shape[-1], self.units), name="value")
        self.gate = self.add_weight(shape=(shape[-1], self.units), name="gate")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Value times gate."""
        return keras.ops.matmul(x, self.value) * keras.ops.sigmoid(keras.ops.matmul(x, self.gate))

    def get_config(self) -> dict[str, object]:
        """What it takes to build another."""
        return {**super().get_config(), "units": self.units}


def custom() -> keras.Model:
    """A registered custom layer."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((10,), name="features"), Gated(24), layers.Dense(3, name="logits")]
    )


def normalised() -> keras.Model:
    """Normalization adapted to data, Discretization and one-hot categories."""
    keras.utils.set_random_seed(0)
    numbers, age = keras.Input((6,), name="numbers"), keras.Input((1,), name="age")
    normalise = layers.Normalization()
    normalise.adapt(np.random.default_rng(0).normal(3.0, 2.0, (256, 6)).astype(np.float32))
    groups = layers.Discretization(bin_boundaries=[-1.0, 0.0, 1.0], output_mode="one_hot")(age)
    x = layers.Concatenate()([normalise(numbers), groups])
    return keras.Model([numbers, age], layers.Dense(3, name="logits")(x))


def activations() -> keras.Model:
    """Every activation that people use."""
    keras.utils.set_random_seed(0)
    names = (
        "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign", "relu6", "hard_sigmoid",
        "hard_silu", "exponential", "leaky_relu", "log_softmax", "celu",
    )  # fmt: skip
    features = keras.Input((8,), name="features")
    parts = [layers.Dense(4, activation=name)(features) for name in names]
    parts.append(layers.PReLU()(layers.Dense(4)(features)))
    return keras.Model(features, layers.Dense(4, name="logits")(layers.Concatenate()(parts)))


def argmax() -> keras.Model:
    """A model whose output is the class itself."""
    keras.utils.set_random_seed(0)
    features = keras.Input((16,), name="features")
    logits = layers.Dense(5)(layers.Dense(32, activation="relu")(features))
    return keras.Model(features, keras.ops.argmax(logits, axis=-1))


def save_keras(folder: Path) -> None:
    """several() in a .keras file."""
    several().save(folder / "several.keras")


def save_hdf5(folder: Path) -> None:
    """mlp() in a legacy HDF5 file."""
    mlp().save(folder / "mlp.h5")


def export_savedmodel(folder: Path) -> None:
    """several() as model.export() writes it."""
    several().export(folder / "several", verbose=False)


def save_tensorflow(folder: Path) -> None:
    """A tf.Module that Keras has no part in, with a signature of its own."""
    import tensorflow as tf

    class Attention(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            values = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
            self.weight = tf.Variable(values)

        @tf.function(input_signature=[tf.TensorSpec([None, None, 8], name="series")])
        def serve(self, series: tf.Tensor) -> dict[str, tf.Tensor]:
            scores = tf.matmul(series @ self.weight, series, transpose_b=True)
            return {"mixed": tf.nn.softmax(scores) @ series}

    module = Attention()
    signatures = {"serving_default": module.serve}
    tf.saved_model.save(module, str(folder / "attention"), signatures=signatures)

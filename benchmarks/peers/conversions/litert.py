"""LiteRT: TensorFlow's converter. Kinds: `float`, `dynamic` (range), `int8` (in full)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.peers.conversions import Wanted, wanted
from edgedl.export.sources.keras import import_keras

SAMPLES = 100  # that set the ranges of `int8`; TensorFlow's guide says 100 to 500


def main() -> None:
    """Trace, convert, write."""
    asked = wanted()
    module = _digits(asked) if asked.model == "digits" else _text(asked)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.answer})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if asked.kind != "float":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if asked.kind == "int8":
            converter.representative_dataset = lambda: _samples(asked)
        asked.file.write_bytes(converter.convert())


def _samples(asked: Wanted) -> Iterator[dict[str, np.ndarray]]:
    with np.load(asked.demo / asked.model / "samples.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    for i in range(SAMPLES):
        if asked.model == "digits":
            count = asked.shapes["image"][0]
            yield {"image": np.resize(arrays["image"][i:], asked.shapes["image"])[:count]}
        else:
            time = asked.shapes["tokens"][1]
            state = {name: arrays[name][:, i : i + 1] for name in ("h", "c")}
            yield {"tokens": arrays["tokens"][i : i + 1, :time], **state}


def _signature(asked: Wanted) -> list[Any]:
    return [
        tf.TensorSpec(shape, tf.int64 if name == "tokens" else tf.float32, name)
        for name, shape in asked.shapes.items()
    ]


def _digits(asked: Wanted) -> Any:
    """The Keras model's layers, their weights constants: variables stop a calibration."""
    path = asked.demo / "digits" / "model.keras"
    network = import_keras().models.load_model(path, compile=False)
    kernel, bias, dense, dense_bias, last, last_bias = network.get_weights()

    def answer(image: Any) -> dict[str, Any]:
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(image, kernel, 1, "VALID"), bias))
        x = tf.reshape(tf.nn.max_pool2d(x, 2, 2, "VALID"), (image.shape[0], -1))
        x = tf.nn.relu(tf.matmul(x, dense) + dense_bias)
        return {"probabilities": tf.nn.softmax(tf.matmul(x, last) + last_bias)}

    module = tf.Module()
    module.answer = tf.function(answer, input_signature=_signature(asked))
    return module


def _text(asked: Wanted) -> Any:
    """The LSTM written out: one matrix product per layer and step, the gates' order i f g o."""
    import torch

    checkpoint = torch.load(asked.demo / "text" / "model.pt", weights_only=True)
    weights = {name: w.numpy() for name, w in checkpoint["state_dict"].items()}
    layers = [_layer(weights, i) for i in range(checkpoint["config"]["num_layers"])]
    embedding, last = weights["embedding.weight"], weights["linear.weight"].T
    time = asked.shapes["tokens"][1]

    def answer(tokens: Any, h: Any, c: Any) -> dict[str, Any]:
        sequence = tf.gather(embedding, tokens[0])  # (time, features)
        h_out, c_out = [], []
        for i, layer in enumerate(layers):
            hidden, cell, states = h[i], c[i], []
            for step in range(time):
                hidden, cell = layer(sequence[step : step + 1], hidden, cell)
                states.append(hidden)
            sequence = tf.concat(states, 0)  # (time, hidden)
            h_out.append(hidden)
            c_out.append(cell)
        logits = (sequence @ last + weights["linear.bias"])[None]
        return {"logits": logits, "h_out": tf.stack(h_out), "c_out": tf.stack(c_out)}

    module = tf.Module()
    module.answer = tf.function(answer, input_signature=_signature(asked))
    return module


def _layer(weights: dict[str, np.ndarray], number: int) -> Callable[[Any, Any, Any], Any]:
    of = {kind: weights[f"lstm.{kind}_l{number}"] for kind in ("weight_ih", "weight_hh")}
    matrix = np.ascontiguousarray(
        np.concatenate(list(of.values()), 1).T
    )  # (features + hidden, 4 * hidden)
    bias = weights[f"lstm.bias_ih_l{number}"] + weights[f"lstm.bias_hh_l{number}"]

    def layer(x: Any, hidden: Any, cell: Any) -> tuple[Any, Any]:
        gates = tf.concat([x, hidden], 1) @ matrix + bias
        i, f, g, o = tf.split(gates, 4, 1)
        cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
        return tf.sigmoid(o) * tf.tanh(cell), cell

    return layer


if __name__ == "__main__":
    main()

"""The models that the benchmark of graph passes looks at, beside the project's own two.

Each is a factory as `edgedl export` takes it, with weights from a fixed seed and a little
noise on those that start at zero or one: converters drop a bias of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from edgedl.export.frames import PixelInput
from edgedl.export.interface import DynamicAxis
from edgedl.export.request import ExportRequest

DEMO = Path("build/demo")
HERE = "benchmarks/pass_models.py"
ONE: tuple[dict[str, int], ...] = ({"batch": 1},)
STEPS = ({"batch": 1, "time": 1}, {"batch": 1, "time": 32})


@dataclass(frozen=True)
class Subject:
    """A model to look at.

    `inputs` are its samples: a shape without the batch, and how many tokens there are (0 for
    normal floats); `files` are the demo's own. `sizes` are those to measure at.
    """

    name: str
    source: str
    inputs: Mapping[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    dynamic: tuple[DynamicAxis, ...] = ()
    sizes: tuple[dict[str, int], ...] = ONE
    samples: Path | None = None
    weights: Path | None = None
    pixels: tuple[PixelInput, ...] = ()

    def request(self, work: Path) -> ExportRequest:
        """What an export of it would be told."""
        folder = work / self.name.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        samples = self.samples
        if self.inputs:
            samples = folder / "samples.npz"
            np.savez(samples, **self._made_up())  # type: ignore[arg-type]
        return ExportRequest(
            self.source, folder / "model.bundle", samples=samples, weights=self.weights,
            dynamic=self.dynamic, pixels=self.pixels, force=True,
        )  # fmt: skip

    def _made_up(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        return {
            name: rng.integers(0, high, (64, *shape))
            if high
            else rng.standard_normal((64, *shape)).astype(np.float32)
            for name, (shape, high) in self.inputs.items()
        }


def mobilenet_v2() -> Any:
    """MobileNetV2 at 96 x 96, 100 classes."""
    keras = _keras()
    return _settled(keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=100))


def two_convolutions() -> Any:
    """The CNN of Keras' own MNIST example: two convolutions, flatten, dense."""
    keras = _keras()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, "softmax", name="probabilities"),
        ]
    )
    return _settled(model)


def sentiment_gru() -> Any:
    """Embedding, bidirectional GRU, dense: Keras' example of text classification."""
    keras = _keras()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((40,), dtype="int32", name="tokens"),
            layers.Embedding(2000, 64),
            layers.Bidirectional(layers.GRU(64)),
            layers.Dense(2, name="logits"),
        ]
    )
    return _settled(model)


def keras_attention() -> Any:
    """One block of a Transformer, from Keras' example of text classification."""
    keras = _keras()
    layers = keras.layers
    tokens = keras.Input((40,), dtype="int32", name="tokens")
    x = layers.Embedding(2000, 64)(tokens)
    attended = layers.MultiHeadAttention(2, 32)(x, x)
    x = layers.LayerNormalization(epsilon=1e-6)(x + attended)
    inner = layers.Dense(64)(layers.Dense(64, "relu")(x))
    x = layers.LayerNormalization(epsilon=1e-6)(x + inner)
    x = layers.GlobalAveragePooling1D()(x)
    return _settled(keras.Model(tokens, layers.Dense(2, name="logits")(x)))


def _keras() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return keras


def _settled(model: Any) -> Any:
    """The model with noise on its biases and scales, as training would leave it."""
    rng = np.random.default_rng(0)
    model.set_weights(
        [w + 0.05 * rng.standard_normal(w.shape) ** 2 if w.ndim == 1 else w
         for w in model.get_weights()]
    )  # fmt: skip
    return model


def transformer() -> Any:
    """Two layers of torch's own Transformer encoder over an embedding."""
    torch = _torch()
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    return nn.Sequential(
        nn.Embedding(2000, 64), nn.TransformerEncoder(layer, 2), nn.Linear(64, 10)
    ).eval()


def factored_embedding() -> Any:
    """A small embedding projected to the model's width, as ALBERT does it."""
    torch = _torch()
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(256, 4, 512, batch_first=True)
    return nn.Sequential(
        nn.Embedding(2000, 64), nn.Linear(64, 256), nn.TransformerEncoder(layer, 1)
    ).eval()


def stacked_lstm() -> Any:
    """Two bidirectional LSTM layers, batch first, over an embedding."""
    torch = _torch()

    class Tagger(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(500, 64)
            self.lstm = torch.nn.LSTM(64, 64, 2, batch_first=True, bidirectional=True)
            self.linear = torch.nn.Linear(128, 12)

        def forward(self, tokens: Any) -> Any:
            return self.linear(self.lstm(self.embedding(tokens))[0])

    return Tagger().eval()


def convolutions_1d() -> Any:
    """Convolutions over time with batch normalisation: keyword spotting."""
    torch = _torch()
    nn = torch.nn
    return nn.Sequential(
        nn.Conv1d(40, 64, 5, padding=2), nn.BatchNorm1d(64), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(64, 64, 5, padding=2), nn.BatchNorm1d(64), nn.ReLU(), nn.AdaptiveAvgPool1d(1),
        nn.Flatten(), nn.Linear(64, 12),
    ).eval()  # fmt: skip


def residual() -> Any:
    """A small residual network for 32 x 32 colour images."""
    torch = _torch()
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.inner = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return torch.relu(x + self.inner(x))

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), Block(16), Block(16), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, 10),
    ).eval()  # fmt: skip


def _torch() -> Any:
    import torch

    torch.manual_seed(0)
    return torch


def _axes(name: str, *axes: str) -> tuple[DynamicAxis, ...]:
    return tuple(DynamicAxis(name, i, axis) for i, axis in enumerate(axes))


_TOKENS = {"input": ((12,), 2000)}
_TEXT_AXES = _axes("input", "batch", "time")

SUBJECTS = (
    Subject("digits", str(DEMO / "digits/model.keras"), samples=DEMO / "digits/samples.npz",
            sizes=({"batch": 1}, {"batch": 8})),
    Subject("digits pixels", str(DEMO / "digits/model.keras"), samples=DEMO / "digits/samples.npz",
            pixels=(PixelInput("", Fraction(1, 255)),)),
    Subject("text", "models/char_lstm/model.py:from_checkpoint", sizes=STEPS,
            samples=DEMO / "text/samples.npz", weights=DEMO / "text/model.pt",
            dynamic=(*_axes("tokens", "batch", "time"), DynamicAxis("h", 1, "batch"),
                     DynamicAxis("c", 1, "batch"))),
    Subject("mobilenet v2", f"{HERE}:mobilenet_v2"),
    Subject("two convolutions", f"{HERE}:two_convolutions", sizes=({"batch": 1}, {"batch": 8})),
    Subject("sentiment gru", f"{HERE}:sentiment_gru"),
    Subject("keras attention", f"{HERE}:keras_attention"),
    Subject("transformer", f"{HERE}:transformer", _TOKENS, _TEXT_AXES, STEPS),
    Subject("factored embedding", f"{HERE}:factored_embedding", _TOKENS, _TEXT_AXES, STEPS),
    Subject("stacked lstm", f"{HERE}:stacked_lstm", {"tokens": ((12,), 500)},
            _axes("tokens", "batch", "time"), STEPS),
    Subject("convolutions 1d", f"{HERE}:convolutions_1d", {"input": ((40, 50), 0)},
            _axes("input", "batch")),
    Subject("residual", f"{HERE}:residual", {"input": ((3, 32, 32), 0)}, _axes("input", "batch")),
)  # fmt: skip

"""The digits' weights for the PyTorch port, from the Keras file."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.conversions import wanted
from edgedl.export.sources.keras import import_keras


def main() -> None:
    """Layout (height, width, channels) becomes (channels, height, width)."""
    asked = wanted()
    network = import_keras().models.load_model(asked.demo / "digits" / "model.keras", compile=False)
    kernel, bias, dense, dense_bias, last, last_bias = network.get_weights()
    rows = dense.reshape(13, 13, 32, 128).transpose(3, 2, 0, 1).reshape(128, -1)
    np.savez(
        asked.file,
        **{
            "conv.weight": kernel.transpose(3, 2, 0, 1).copy(),
            "conv.bias": bias,
            "dense.weight": rows.copy(),
            "dense.bias": dense_bias,
            "probabilities.weight": last.T.copy(),
            "probabilities.bias": last_bias,
        },
    )


if __name__ == "__main__":
    main()

"""Both trained models as PyTorch modules: the text model itself, the digits' CNN ported."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.char_lstm.model import from_checkpoint


def load_text(weights: str) -> Any:
    """The trained text model of a `model.pt`, in evaluation mode."""
    return from_checkpoint(torch.load(weights, weights_only=True))


class Digits(nn.Module):  # type: ignore[misc]  # torch is Any to the type checker
    """The digits' CNN as a person would write it in PyTorch: image (n, 28, 28, 1) in.

    The first dense layer's rows are in this layout's order, so that nothing is transposed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 32, 3)
        self.pool = nn.MaxPool2d(2)
        self.dense = nn.Linear(5408, 128)
        self.probabilities = nn.Linear(128, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities, (n, 10)."""
        x = image.reshape(-1, 1, 28, 28)
        x = self.pool(self.conv(x).relu()).flatten(1)  # (n, 32 * 13 * 13)
        return self.probabilities(self.dense(x).relu()).softmax(-1)


def load_digits(archive: str) -> Digits:
    """The CNN with the weights that `benchmarks.peers.conversions.digits_weights` left."""
    with np.load(archive) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    module = Digits()
    module.load_state_dict(state)
    return module.eval()

"""A character-level LSTM language model whose state travels in and out of `forward`.

This file needs only torch, so it can be loaded by its path:

    edgedl export models/char_lstm/model.py:from_checkpoint --weights model.pt ...
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Step(NamedTuple):
    """What comes out of a stretch of text: predictions, and the state to go on from."""

    logits: Tensor  # (batch, time, vocabulary)
    h: Tensor  # (layers, batch, hidden)
    c: Tensor  # (layers, batch, hidden)


class LSTMModel(nn.Module):  # type: ignore[misc]  # torch is Any to the type checker
    """Embedding (or one-hot), LSTM and linear layer.

    Args:
        input_size: Tokens that can come in: the vocabulary's size.
        hidden_size: Units of each LSTM layer.
        output_size: Tokens that can come out: the vocabulary's size again.
        num_layers: LSTM layers.
        embedding_size: Width of a token's embedding; 0 feeds one-hot vectors instead.
        dropout: Between LSTM layers and before the linear one, while training.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_layers: int = 2,
        embedding_size: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.embedding = nn.Embedding(input_size, embedding_size) if embedding_size else None
        self.lstm = nn.LSTM(
            embedding_size or input_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,  # torch warns where there's no between
        )
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden_size, output_size)

    def forward(self, tokens: Tensor, h: Tensor, c: Tensor) -> Step:
        """Predict what follows each token.

        Args:
            tokens: int64 (batch, time).
            h: float32 (layers, batch, hidden).
            c: float32 (layers, batch, hidden).

        Returns:
            float32 logits (batch, time, vocabulary) and the new h and c.
        """
        features, (h, c) = self.lstm(self._embed(tokens), (h, c))  # (batch, time, hidden)
        return Step(self.linear(self.dropout(features)), h, c)

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """The h and c, all zero, that a text begins with."""
        zeros = torch.zeros(self.num_layers, batch, self.hidden_size)
        return zeros, zeros.clone()

    def _embed(self, tokens: Tensor) -> Tensor:
        if self.embedding is None:
            return functional.one_hot(tokens, self.input_size).to(torch.float32)
        return self.embedding(tokens)


def from_checkpoint(checkpoint: dict[str, Any]) -> LSTMModel:
    """The trained model of a `model.pt`, in evaluation mode.

    Args:
        checkpoint: `config` holds LSTMModel's arguments, `state_dict` its weights.
    """
    model = LSTMModel(**checkpoint["config"])
    model.load_state_dict(checkpoint["state_dict"])
    model.eval()
    return model

"""PyTorch modules of the matrix: each factory as a person would write it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

# An export imports this file anew before it calls a factory: the same weights every time.
torch.manual_seed(0)


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


class Conv2d(nn.Sequential):
    """Convolutions, batch normalisation and pooling, then dense layers on a fixed size."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(1936, 10),
        )  # fmt: skip


class AnyImage(nn.Sequential):
    """A fully convolutional net: height and width are free."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8, dilation=2),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
        )  # fmt: skip


class Conv1d(nn.Module):
    """A kernel of 9: the source itself can't run a shorter sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(4, 8, 9, stride=2)
        self.head = nn.Linear(8, 3)

    def forward(self, signal: Tensor) -> Tensor:
        features: Tensor = self.head(self.convolution(signal).relu().mean(-1))
        return features


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


class Residual(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), Block(16), Block(16),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
        )  # fmt: skip


class UNet(nn.Module):
    """Down and up again: the size must be a multiple of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(1, 8, 3, padding=1)
        self.down2 = nn.Conv2d(8, 16, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(16, 16, 2, stride=2)
        self.up1 = nn.ConvTranspose2d(24, 8, 2, stride=2)
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fine = nn.functional.max_pool2d(self.down1(image).relu(), 2)
        coarse = nn.functional.max_pool2d(self.down2(fine).relu(), 2)
        mask = self.last(self.up1(torch.cat([fine, self.up2(coarse)], 1)).relu())
        return {"mask": mask.sigmoid()}


class Recurrent(nn.Module):
    """A recurrent layer, batch first or not, its state zero at the beginning."""

    def __init__(self, layer: nn.RNNBase, outputs: int = 16) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(outputs, 5)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.layer(x)[0])
        return answer


class Step(NamedTuple):
    logits: Tensor
    h: Tensor
    c: Tensor


class TextLstm(nn.Module):
    """Embedding and LSTM, with its state as inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 16)
        self.lstm = nn.LSTM(16, 24, 2, batch_first=True)
        self.head = nn.Linear(24, 40)

    def forward(self, tokens: Tensor, h: Tensor, c: Tensor) -> Step:
        features, (h, c) = self.lstm(self.embedding(tokens), (h, c))
        return Step(self.head(features), h, c)


class GruState(nn.Module):
    """Time first, its state as an input; outputs are a plain tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 12)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        sequence, last = self.gru(x, hidden)
        return sequence, last


class PackedLstm(nn.Module):
    """Sequences of several lengths, packed: padding must not reach the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths.clamp(1, x.shape[1]).cpu(), batch_first=True, enforce_sorted=False
        )
        last: Tensor = self.head(self.lstm(packed)[1][0][-1])
        return last


class LstmNorm(nn.Module):
    """An LSTM beside an operator that the older exporter lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 12, batch_first=True, bidirectional=True)
        self.norm = nn.RMSNorm(24)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = self.lstm(x)[0]
        answer: Tensor = self.head(self.norm(features))
        return answer


class Encoder(nn.Module):
    """nn.TransformerEncoder over tokens, with a mask where they are padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 6)

    def forward(self, tokens: Tensor) -> Tensor:
        # The first position is never hidden: a softmax over nothing is NaN.
        padding = (tokens == 0) & (torch.arange(tokens.shape[1]) > 0)
        features = self.encoder(self.embedding(tokens), src_key_padding_mask=padding)
        answer: Tensor = self.head(features.mean(1))
        return answer


class Attention(nn.Module):
    """nn.MultiheadAttention with its weights, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2)

    def forward(self, query: Tensor, memory: Tensor) -> dict[str, Tensor]:
        values, weights = self.attention(query, memory, memory)
        return {"values": values, "weights": weights}


class Tagger(nn.Module):
    """Embedding and a bidirectional LSTM; the classes themselves come out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 12)
        self.lstm = nn.LSTM(12, 8, bidirectional=True, batch_first=True)
        self.head = nn.Linear(16, 7)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.head(self.lstm(self.embedding(tokens))[0])
        return logits, logits.argmax(-1)


class Hits(nn.Module):
    """As many rows as there are positive scores: a size that no input names."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores = self.score(x)
        return {"scores": scores, "where": torch.nonzero(scores > 0.5)}


class Kept(nn.Module):
    """Boolean masking."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x[self.score(x)[:, 0] > 0]


class TopK(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 20))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        values, classes = self.body(x).softmax(-1).topk(3)
        return {"values": values, "classes": classes}


class Scaled(nn.Module):
    """Arguments with defaults, one of them a keyword's."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(8, 4)

    def forward(self, x: Tensor, bias: Tensor | None = None, *, scale: float = 2.0) -> Tensor:
        answer: Tensor = self.dense(x) * scale
        return answer if bias is None else answer + bias


class Pair(nn.Module):
    """Two inputs whose lengths must be equal, whatever --dynamic calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(10, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        answer: Tensor = self.head(torch.cat([left, right], -1))
        return answer


def scripted() -> nn.Module:
    module: nn.Module = torch.jit.script(Conv1d().eval())
    return module


def lstm() -> nn.Module:
    return Recurrent(nn.LSTM(6, 16, batch_first=True))


def lstm_time_first() -> nn.Module:
    return Recurrent(nn.LSTM(6, 16, 2))


def lstm_bidirectional() -> nn.Module:
    return Recurrent(nn.LSTM(6, 16, 2, batch_first=True, bidirectional=True), 32)


def gru() -> nn.Module:
    return Recurrent(nn.GRU(6, 16, 2, batch_first=True, bidirectional=True), 32)


def rnn() -> nn.Module:
    return Recurrent(nn.RNN(6, 16, 2, nonlinearity="relu", batch_first=True))

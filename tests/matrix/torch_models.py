"""The PyTorch models of the matrix: what goes in, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.matrix.entry import Entry, Input
from tests.matrix.torch_nets import Conv1d, Encoder, Recurrent

HERE = "tests/matrix/torch_nets.py"


def save_signal(folder: Path) -> None:
    """A program whose batch and length are free, the length a multiple of 2."""
    torch.manual_seed(0)
    batch, half = torch.export.Dim("batch"), torch.export.Dim("half", min=6, max=256)
    shapes = {"signal": {0: batch, 2: 2 * half}}
    _save(Conv1d(), (torch.zeros(2, 4, 24),), shapes, folder / "signal.pt2")


def save_lstm(folder: Path) -> None:
    """A program with a recurrent layer: torch.export fixes its length."""
    torch.manual_seed(0)
    lstm = Recurrent(nn.LSTM(6, 16, 2, batch_first=True, bidirectional=True), 32)
    shapes = {"x": {0: torch.export.Dim("batch")}}
    _save(lstm, (torch.zeros(2, 12, 6),), shapes, folder / "lstm.pt2")


def save_encoder(folder: Path) -> None:
    """A Transformer encoder over tokens, both axes free."""
    torch.manual_seed(0)
    shapes = {"tokens": {0: torch.export.Dim("batch"), 1: torch.export.Dim("time", max=128)}}
    _save(Encoder(), (torch.ones(2, 12, dtype=torch.int64),), shapes, folder / "encoder.pt2")


def _save(module: nn.Module, inputs: tuple[Tensor, ...], shapes: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(torch.export.export(module.eval(), inputs, dynamic_shapes=shapes), file)


TIME = ("time", 12)
SEQUENCE = {"x": Input(("batch", TIME, 6))}
TOKENS = {"tokens": Input(("batch", TIME), "int64", high=30)}
IMAGE = Input(("batch", 3, ("height", 32), ("width", 40)))


def program(name: str, prepare: Callable[[Path], None], inputs: dict[str, Input]) -> Entry:
    file = prepare.__name__.removeprefix("save_")
    return Entry(f"torch pt2 {name}", f"{{models}}/{file}.pt2", inputs, prepare=prepare)


def entry(
    name: str, factory: str, inputs: dict[str, Input], known: dict[str, str] | None = None
) -> Entry:
    return Entry(f"torch {name}", f"{HERE}:{factory}", inputs, known=known or {})


STATIC = ("int8-static", "int8-static-percentile", "int8-static-entropy")
# Untrained weights: the scores of several classes are nearly the same.
INDICES = "the classes' numbers are an output: nearly equal scores change places"
ROWS = "a score near zero changes sides, so another number of rows is kept"


ENTRIES = (
    entry("mlp", "Mlp", {"input": Input(("batch", 32))}),
    entry("conv2d", "Conv2d", {"input": Input(("batch", 1, 28, 28), unit=True)}),
    entry("conv2d any image", "AnyImage", {"input": IMAGE}),
    entry("conv1d", "Conv1d", {"signal": Input(("batch", 4, ("length", 24)))}),
    entry("conv1d scripted", "scripted", {"signal": Input(("batch", 4, ("length", 24)))}),
    entry("residual", "Residual", {"input": Input(("batch", 3, 32, 32))}),
    entry("u-net", "UNet", {"image": Input(("batch", 1, ("height", 16), ("width", 24)))}),
    entry("lstm", "lstm", SEQUENCE),
    entry("lstm time first", "lstm_time_first", {"x": Input((TIME, "batch", 6))}),
    entry("lstm bidirectional", "lstm_bidirectional", SEQUENCE),
    entry("gru bidirectional", "gru", SEQUENCE),
    entry("rnn relu", "rnn", SEQUENCE),
    entry(
        "text lstm with state",
        "TextLstm",
        {
            "tokens": Input(("batch", TIME), "int64", high=40),
            "h": Input((2, "batch", 24)),
            "c": Input((2, "batch", 24)),
        },
    ),
    Entry(
        "torch gru with state",
        f"{HERE}:GruState",
        {"x": Input((TIME, "batch", 6)), "hidden": Input((1, "batch", 12))},
        state=(("output_1", "hidden"),),
    ),
    entry("lstm packed", "PackedLstm", {**SEQUENCE, "lengths": Input(("batch",), "int64", high=9)}),
    entry("lstm and rms norm", "LstmNorm", SEQUENCE),
    entry("tagger", "Tagger", TOKENS, {"int4-weights": INDICES}),
    entry("transformer encoder", "Encoder", TOKENS),
    entry(
        "attention",
        "Attention",
        {
            "query": Input((TIME, "batch", 16)),
            "memory": Input((("source", 9), "batch", 16)),
        },
    ),
    entry("nonzero", "Hits", {"x": Input(("batch", 8))}),
    entry("boolean mask", "Kept", {"x": Input(("batch", 8))}, dict.fromkeys(STATIC, ROWS)),
    entry(
        "top-k",
        "TopK",
        {"x": Input(("batch", 16))},
        dict.fromkeys((*STATIC, "int8-dynamic", "int8-weights", "int4-weights"), INDICES),
    ),
    entry("keyword defaults", "Scaled", {"x": Input(("batch", 8)), "bias": Input((4,))}),
    entry(
        "tied axes",
        "Pair",
        {"left": Input(("batch", ("m", 5), 4)), "right": Input(("batch", ("n", 5), 6))},
    ),
    program("conv1d", save_signal, {"signal": Input(("batch", 4, ("signal_2", 24)))}),
    program("lstm", save_lstm, {"x": Input(("batch", 12, 6))}),
    program(
        "transformer encoder",
        save_encoder,
        {"tokens": Input(("batch", ("tokens_1", 12)), "int64", high=30)},
    ),
)

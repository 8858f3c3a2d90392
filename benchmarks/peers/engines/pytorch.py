"""PyTorch, the text model's own framework: eager, compiled, and its own int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.engines import OUTPUTS, Step
from benchmarks.peers.torch_models import load_digits, load_text
from edgedl.runtime.golden import Array, Arrays


def open_model(inputs: Arrays, threads: int | None, weights: str, how: str) -> Step:
    """`how` is "eager", "compile" or "int8" (dynamic, of the linear and recurrent layers)."""
    module, exits = _open(threads, weights, how), OUTPUTS[next(iter(inputs))]

    def step(given: Arrays) -> Arrays:
        with torch.inference_mode():
            values = module(*[torch.from_numpy(array) for array in given.values()])
        values = values if isinstance(values, tuple) else (values,)
        return {name: value.numpy() for name, value in zip(exits, values, strict=True)}

    return step


def _open(threads: int | None, weights: str, how: str) -> Any:
    if threads is not None:
        torch.set_num_threads(threads)
    module = load_text(weights) if Path(weights).suffix == ".pt" else load_digits(weights)
    if how == "compile":
        return torch.compile(module)
    if how == "int8":
        layers = {torch.nn.LSTM, torch.nn.Linear}
        return torch.ao.quantization.quantize_dynamic(module, layers, dtype=torch.qint8)
    return module


def open_loop(threads: int | None, prompt: Array, tokens: int, weights: str, how: str) -> Any:
    """Greedy text as one writes it in torch: everything stays a tensor until the end.

    Args:
        threads: Of torch's pool.
        prompt: int64 (1, time), read in one call.
        tokens: How many to generate.
        weights: A `model.pt`.
        how: As for `open_model`.

    Returns:
        A function without arguments that gives the tokens, (tokens,).
    """
    module, start = _open(threads, weights, how), torch.from_numpy(prompt)
    h, c = load_text(weights).initial_state(1)

    def loop() -> Array:
        given, state, chosen = start, (h, c), []
        with torch.inference_mode():
            for _ in range(tokens):
                logits, *state = module(given, *state)
                given = logits[:, -1:].argmax(-1)  # (1, 1)
                chosen.append(given)
            text: Array = torch.cat(chosen, 1)[0].numpy()
        return text

    return loop

"""How good an engine's answers are: accuracy on labelled digits, nats per character of text.

    python -m benchmarks.peers.judge MODEL EVAL.npz SIZE ENGINE [ARG ...]

Runs in the engine's own environment and prints one JSON object, `{"metric", "value"}`. SIZE is
the batch of the digits, or the steps that the text is read in at a time.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.peers.engines import Step
from benchmarks.peers.subjects import with_environment
from edgedl.runtime.golden import Array, Arrays

LAYERS, HIDDEN = 2, 256


def main() -> None:
    """Judge one engine, with one thread."""
    model, file, size, engine, *args = sys.argv[1:]
    with np.load(Path(file)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    labels = arrays.pop("labels")
    with_environment(1)
    module = importlib.import_module(f"benchmarks.peers.engines.{engine}")
    first = _digits_inputs(arrays, int(size)) if model == "digits" else _text_inputs(int(size))
    step: Step = module.open_model(first, 1, *args)
    if model == "digits":
        verdict = {
            "metric": "accuracy",
            "value": accuracy(step, arrays["image"], labels, int(size)),
        }
    else:
        verdict = {"metric": "nats", "value": nats(step, arrays["tokens"], labels, int(size))}
    print(json.dumps(verdict))


def _digits_inputs(arrays: Arrays, batch: int) -> Arrays:
    return {"image": np.ascontiguousarray(arrays["image"][:batch])}


def _text_inputs(time: int) -> Arrays:
    state = np.zeros((LAYERS, 1, HIDDEN), np.float32)
    return {"tokens": np.zeros((1, time), np.int64), "h": state, "c": state.copy()}


def accuracy(step: Step, images: Array, labels: Array, batch: int) -> float:
    """The share of images whose largest probability is the label's; whole batches only."""
    right = count = 0
    for start in range(0, len(images) - batch + 1, batch):
        answer = step({"image": np.ascontiguousarray(images[start : start + batch])})
        right += int((answer["probabilities"].argmax(-1) == labels[start : start + batch]).sum())
        count += batch
    return right / count


def nats(step: Step, tokens: Array, labels: Array, time: int) -> float:
    """The mean cross-entropy of every next character, each text read from a zero state."""
    losses = []
    for text, following in zip(tokens, labels, strict=True):
        state = _text_inputs(time)
        for start in range(0, len(text), time):
            part = np.ascontiguousarray(text[None, start : start + time])
            answer = step({"tokens": part, "h": state["h"], "c": state["c"]})
            state = {"h": answer["h_out"].copy(), "c": answer["c_out"].copy()}
            logits = np.array(answer["logits"][0], np.float64)  # (time, vocabulary)
            logits -= logits.max(-1, keepdims=True)
            picked = logits[np.arange(time), following[start : start + time]]
            losses.append(np.log(np.exp(logits).sum(-1)) - picked)
    return float(np.concatenate(losses).mean())


if __name__ == "__main__":
    main()

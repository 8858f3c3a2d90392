"""edgedl itself: a bundle's variant, its inputs and outputs bound once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.peers.engines import Step
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.session import check_inputs, load


def open_model(
    inputs: Arrays, threads: int | None, bundle: str, variant: str, how: str = "copied"
) -> Step:
    """A bound call; its outputs are the same arrays each time.

    Its inputs are copied in at every step; with `how` "kept" they are in its buffers already,
    which is what the bare binding of `benchmarks.peers.engines.ort` is compared with.
    """
    model = load(bundle, variant, threads=threads, tuned=False)
    call = model.bind(**check_inputs(model.inputs, inputs))
    for name, array in call.inputs.items():
        array[...] = inputs[name]
    entries = () if how == "kept" else tuple(call.inputs.items())

    def step(given: Arrays) -> Arrays:
        for name, array in entries:
            array[...] = given[name]
        return call()

    return (lambda given: call()) if how == "kept" else step


def open_loop(
    threads: int | None, prompt: Array, tokens: int, bundle: str, variant: str
) -> Callable[[], Array]:
    """The task's own generator, as an app uses it: pieces of text, one after another."""
    generator = load(bundle, variant, threads=threads, tuned=False).generator()
    start = "".join(generator.task.vocabulary.tokens[token] for token in prompt[0])

    def loop() -> Array:
        pieces = list(generator.generate(start, max_tokens=tokens, temperature=0))
        return np.array(generator.encode("".join(pieces)))

    return loop

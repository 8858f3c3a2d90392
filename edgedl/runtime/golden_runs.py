"""How a golden case is run: one call, fed-back steps, teacher-forced steps, chunks.

The same functions run the source framework at export and a variant on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from edgedl.runtime.golden import Array, Arrays, GoldenVectors
from edgedl.runtime.manifest import Chunks, StatePair
from edgedl.runtime.resize import cut

Runner = Callable[[Arrays], Arrays]


def run_case(run: Runner, vectors: GoldenVectors, state: Sequence[StatePair]) -> Arrays:
    """The outputs of one golden case of calls.

    Per-step inputs and outputs are stacked on a leading axis of steps; see
    `edgedl.runtime.golden`.

    Args:
        run: One step: named inputs to named outputs.
        vectors: The case; its outputs aren't looked at.
        state: The outputs that are fed back.
    """
    if vectors.case.kind == "forced":
        return _stack([run(feeds) for feeds in forced_steps(vectors.inputs, vectors.case.steps)])
    if vectors.case.steps == 1:
        return run(vectors.inputs)
    return stack_steps([outputs for _, outputs in feed_back(run, vectors, state)], state)


def forced_steps(arrays: Arrays, steps: int) -> list[Arrays]:
    """The single steps of arrays that are stacked on a leading axis of steps."""
    return [
        {name: np.asarray(array[step]) for name, array in arrays.items()} for step in range(steps)
    ]


def feed_back(
    run: Runner, vectors: GoldenVectors, state: Sequence[StatePair]
) -> Iterator[tuple[Arrays, Arrays]]:
    """Every step's inputs and outputs, its state being what the step before it answered.

    Ends early where a state output is missing.
    """
    fed_back = {pair.input: pair.output for pair in state}
    feeds = {name: vectors.inputs[name] for name in fed_back}
    for step in range(vectors.case.steps):
        now = {k: np.asarray(v[step]) for k, v in vectors.inputs.items() if k not in fed_back}
        inputs = {**feeds, **now}
        outputs = run(inputs)
        yield inputs, outputs
        if not outputs.keys() >= set(fed_back.values()):
            return
        feeds = {name: outputs[source] for name, source in fed_back.items()}


def stack_steps(steps: Sequence[Arrays], state: Sequence[StatePair]) -> Arrays:
    """Outputs of all steps on a leading axis; of state, only what the last step leaves."""
    fed_back = {pair.output for pair in state}
    final = {name: array for name, array in steps[-1].items() if name in fed_back}
    others = [{k: v for k, v in step.items() if k not in fed_back} for step in steps]
    return {**final, **_stack(others)}


def _stack(steps: Sequence[Arrays]) -> Arrays:
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}


def chunk_lengths(length: int) -> tuple[int, ...]:
    """A sequence in unequal parts: one position, seven, the rest; none where it has no parts."""
    if length < 2:
        return ()
    return (1, 7, length - 8) if length > 8 else (1, length - 1)


def run_chunks(run: Runner, inputs: Arrays, chunks: Chunks, state: Sequence[StatePair]) -> Arrays:
    """One call's sequence in parts, the state of each being what the one before it answered.

    Returns:
        Outputs that have the sequence's axis, joined along it, and the state that is left.
        Ends early where a state output is missing.
    """
    feeds = {pair.input: inputs[pair.input] for pair in state}
    joined: dict[str, list[Array]] = {}
    start, outputs = 0, Arrays()
    for length in chunks.lengths:
        part = {k: cut(inputs[k], axis, start, start + length) for k, axis in chunks.inputs.items()}
        outputs = run({**inputs, **feeds, **part})
        start += length
        for name in chunks.outputs.keys() & outputs.keys():
            joined.setdefault(name, []).append(outputs[name])
        if not outputs.keys() >= {pair.output for pair in state}:
            break
        feeds = {pair.input: outputs[pair.output] for pair in state}
    left = _only(outputs, [pair.output for pair in state])
    whole = {k: np.concatenate(parts, chunks.outputs[k]) for k, parts in joined.items()}
    return {**left, **whole}


def _only(arrays: Arrays, names: Collection[str]) -> Arrays:
    return {name: array for name, array in arrays.items() if name in names}

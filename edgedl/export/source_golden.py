"""Golden vectors: what the source answers to calls, and, with state, to sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from edgedl.export.axes import Refusal, movable_sizes, require_moves
from edgedl.export.errors import SourceError
from edgedl.export.interface import Interface
from edgedl.export.samples import Samples, golden_cases
from edgedl.export.stages import FLOAT_TOLERANCE
from edgedl.runtime.errors import EngineError
from edgedl.runtime.free_text import TextStart, text_vectors
from edgedl.runtime.golden import Arrays, GoldenVectors, largest_call
from edgedl.runtime.golden_runs import Runner, chunk_lengths, feed_back, run_chunks, stack_steps
from edgedl.runtime.manifest import (
    Chunks,
    GoldenCase,
    StatePair,
    Task,
    TensorSpec,
    TextGeneration,
)
from edgedl.runtime.parity import check_parity, failures
from edgedl.runtime.quality import BATCH
from edgedl.runtime.resize import resize_axes

# Steps that start from the source's own state. Each carries that state, so they are few,
# and spread over the fed-back ones, so that early and late states are among them.
FORCED_STEPS = 8
PROMPT_TOKENS = 16
TEXT_STEPS = 48


def ask_source(
    ask: Runner, interface: Interface, given: Samples
) -> tuple[list[GoldenVectors], tuple[Refusal, ...]]:
    """The source's answers at every size, over fed-back steps, and step by step.

    `interface` may still lack its outputs' shapes.

    Returns:
        The answers, and the sizes that the source itself can't run: others are in their place.

    Raises:
        SourceError: The source can't run the samples, or an axis at no other size.
    """
    try:
        usual = golden_cases(interface, given)
        return [v for case in usual for v in _ask_case(ask, interface, *case)], ()
    except (SourceError, EngineError):
        moves, refused = movable_sizes(ask, interface, given)
    golden: list[GoldenVectors] = []
    for case, inputs in golden_cases(interface, given, moves):
        try:
            golden += _ask_case(ask, interface, case, inputs)
        except (SourceError, EngineError) as error:
            # Sizes that it runs one by one, but not together.
            refused.append(Refusal(case.sizes, error.message))
    require_moves(golden, interface)
    return golden, tuple(refused)


def _ask_case(
    ask: Runner, interface: Interface, case: GoldenCase, inputs: Arrays
) -> list[GoldenVectors]:
    if case.steps == 1:
        return [GoldenVectors(case, inputs, ask(inputs))]
    return _ask_steps(ask, GoldenVectors(case, inputs, {}), interface.state)


def _ask_steps(
    ask: Runner, vectors: GoldenVectors, state: Sequence[StatePair]
) -> list[GoldenVectors]:
    """Fed-back steps, and some of them again from the state they started from."""
    count = vectors.case.steps
    picked = set(np.linspace(0, count - 1, min(FORCED_STEPS, count)).astype(int).tolist())
    fed_back = {pair.output for pair in state}
    kept: list[tuple[Arrays, Arrays]] = []
    steps: list[Arrays] = []
    for number, (feeds, answered) in enumerate(feed_back(ask, vectors, state)):
        if number in picked:
            kept.append((feeds, answered))
        last = number == count - 1
        steps.append({k: v for k, v in answered.items() if last or k not in fed_back})
    whole = GoldenVectors(vectors.case, vectors.inputs, stack_steps(steps, state))
    return [whole, *_force(vectors.case, kept)]


def _force(case: GoldenCase, steps: Sequence[tuple[Arrays, Arrays]]) -> list[GoldenVectors]:
    """Single steps from the source's own state; none where it grows from step to step."""
    shapes = [{name: array.shape for name, array in feeds.items()} for feeds, _ in steps]
    if any(other != shapes[0] for other in shapes):
        return []
    inputs, outputs = (
        {name: np.stack([step[name] for step in side]) for name in side[0]}
        for side in zip(*steps, strict=True)
    )
    forced = GoldenCase(f"forced{len(steps)}", case.sizes, len(steps), "forced")
    return [GoldenVectors(forced, inputs, outputs)]


@dataclass(frozen=True)
class SequenceProof:
    """The golden vectors with sequence proofs, and what the source is in parts."""

    golden: list[GoldenVectors]
    in_parts: str


def add_sequences(
    ask: Runner,
    interface: Interface,
    given: Samples,
    golden: Sequence[GoldenVectors],
    task: Task | None,
) -> SequenceProof:
    """Also run the longest call in parts, and let the source write text.

    Only what the source does is asked of variants: one that isn't the same in parts (it
    looks ahead, say) is no less a model, but the fact is told.
    """
    proved, in_parts = _prove_chunks(ask, interface, golden)
    start = text_start(interface, given, task)
    if start is None:
        return SequenceProof(proved, in_parts)
    length, steps = start.prompt.shape[start.axis], _text_steps(start, interface, given)
    sizes = {axis: 1 if axis == BATCH or not start.whole else length for axis in interface.axes}
    case = GoldenCase(f"text{steps}", sizes, steps, "text")
    try:
        text = text_vectors(ask, start, interface.state, case)
    except SourceError:  # another length than the source takes
        return SequenceProof(proved, in_parts)
    return SequenceProof([*proved, text], in_parts)


def _prove_chunks(
    ask: Runner, interface: Interface, golden: Sequence[GoldenVectors]
) -> tuple[list[GoldenVectors], str]:
    axis = _sequence_axis(interface)
    longest = largest_call(golden)
    lengths = chunk_lengths(longest.case.sizes[axis]) if axis else ()
    if axis is None or not lengths:
        return list(golden), "no state, or no free axis beside the batch"
    chunks = Chunks(lengths, _places(interface.inputs, axis), _places(interface.outputs, axis))
    joined = _joined(longest, interface, chunks)
    compared = GoldenVectors(longest.case, longest.inputs, joined, longest.scores)

    def in_parts(feeds: Arrays) -> Arrays:
        return run_chunks(ask, feeds, chunks, interface.state)

    try:
        failed = failures(check_parity(in_parts, [compared], FLOAT_TOLERANCE, interface.state))
    except SourceError as error:
        return list(golden), f"the source takes none of {list(lengths)}: {error.message}"
    if failed:
        return list(golden), f"differs from one call: {'; '.join(failed)}"
    marked = replace(longest.case, chunks=chunks)
    return [
        GoldenVectors(marked, v.inputs, v.outputs, v.scores) if v.case == longest.case else v
        for v in golden
    ], "the same as in one call"


def _joined(vectors: GoldenVectors, interface: Interface, chunks: Chunks) -> Arrays:
    state = {pair.output for pair in interface.state}
    return {k: v for k, v in vectors.outputs.items() if k in state or k in chunks.outputs}


def _places(specs: Sequence[TensorSpec], axis: str) -> dict[str, int]:
    return {spec.name: spec.shape.index(axis) for spec in specs if axis in spec.shape}


def _sequence_axis(interface: Interface) -> str | None:
    """The one dynamic axis that state hasn't: along it a sequence can be cut."""
    state = {pair.input for pair in interface.state}
    held = {d for spec in interface.inputs if spec.name in state for d in spec.shape}
    free = [axis for axis in interface.axes if axis != BATCH and axis not in held]
    return free[0] if interface.state and len(free) == 1 else None


def text_start(interface: Interface, given: Samples, task: Task | None) -> TextStart | None:
    """A real prompt, where the model's class outputs are its next inputs.

    That is so for text generation; without a task, for a stateful model with one input of
    integers that all are among its classes.
    """
    ends = _text_ends(interface, given, task)
    if ends is None:
        return None
    spec, output = ends
    free = [d for d in spec.shape if isinstance(d, str) and d != BATCH]
    if len(free) > 1 or any(isinstance(d, int) and d != 1 for d in spec.shape):
        return None
    tokens = given.arrays[spec.name]
    line = np.moveaxis(tokens, spec.shape.index(BATCH), 0) if BATCH in spec.shape else tokens
    limit = PROMPT_TOKENS if interface.state else tokens.shape[spec.shape.index(free[0])] // 4
    axis = spec.shape.index(free[0]) if free else len(spec.shape) - 1
    shape = [-1 if a == axis else 1 for a in range(len(spec.shape))]
    prompt = np.ascontiguousarray(line.reshape(-1)[: max(1, limit)].reshape(shape))
    return TextStart(spec.name, output, prompt, axis, _no_state(interface, given), bool(free))


def _text_ends(
    interface: Interface, given: Samples, task: Task | None
) -> tuple[TensorSpec, str] | None:
    state = {pair.input for pair in interface.state}
    others = [spec for spec in interface.inputs if spec.name not in state]
    if len(others) != 1 or not np.issubdtype(np.dtype(others[0].dtype), np.integer):
        return None
    (tokens,) = others
    if isinstance(task, TextGeneration):
        stateless = not state and not any(d != BATCH for d in tokens.shape if isinstance(d, str))
        return None if stateless else (tokens, task.output)
    if task is not None or not state or len(interface.classes) != 1 or not tokens.shape:
        return None
    (output,) = interface.classes
    if any(decision.output == output for decision in interface.decisions):
        return None
    classes = next(spec.shape[-1] for spec in interface.outputs if spec.name == output)
    largest = int(given.arrays[tokens.name].max())
    return (tokens, output) if isinstance(classes, int) and largest < classes else None


def _no_state(interface: Interface, given: Samples) -> Arrays:
    """Zeros for a batch of one."""
    fed_back = {pair.input for pair in interface.state}
    specs = [spec for spec in interface.inputs if spec.name in fed_back]
    one = resize_axes(given.arrays, specs, dict.fromkeys(interface.axes, 1))
    return {name: np.zeros_like(array) for name, array in one.items()}


def _text_steps(start: TextStart, interface: Interface, given: Samples) -> int:
    """As many tokens as are cheap; without state, no longer a text than the samples."""
    if interface.state:
        return TEXT_STEPS
    length, read = given.arrays[start.token_input].shape[start.axis], start.prompt.size
    return max(1, min(TEXT_STEPS, int(length) - read))

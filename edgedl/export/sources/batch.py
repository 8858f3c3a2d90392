"""Which axis is the batch, found by running the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgedl.export.errors import SourceError
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec

ROWS = 3
# Another batch size may add up in another order; see FLOAT_TOLERANCE in stages.py.
ATOL, RTOL = 1e-5, 1e-4
Run = Callable[[Arrays], Sequence[Array]]


def is_batch(run: Run, specs: Sequence[TensorSpec], axis: str, arrays: Arrays) -> bool:
    """Whether rows run together give what each gives alone, so that the axis is a batch.

    Args:
        run: The source; raises SourceError where it can't run.
        specs: The inputs, with the axis named in each that has it.
        axis: The axis in question.
        arrays: An example of every input; a single row is varied.

    Returns:
        False too where every row answers the same, which would prove nothing.
    """
    rows = [_row(arrays, specs, axis, i) for i in range(ROWS)]
    together = {
        s.name: np.concatenate([row[s.name] for row in rows], s.shape.index(axis))
        if axis in s.shape
        else arrays[s.name]
        for s in specs
    }
    try:
        answers = [run(row) for row in rows]
        whole = run(together)
    except SourceError:
        return False
    outputs = [(whole[i], [answer[i] for answer in answers]) for i in range(len(whole))]
    return all(_is_concatenation(*o) for o in outputs) and any(
        _differ(alone) for _, alone in outputs
    )


def _row(arrays: Arrays, specs: Sequence[TensorSpec], axis: str, index: int) -> Arrays:
    """One row of every input; past the last, an earlier one with its values moved round."""
    row = {}
    for spec in specs:
        array = arrays[spec.name]
        if axis in spec.shape:
            position = spec.shape.index(axis)
            count = array.shape[position]
            array = np.take(array, [index % count], axis=position)
            array = np.roll(array, index // count, axis=-1)
        row[spec.name] = np.ascontiguousarray(array)
    return row


def _is_concatenation(whole: Array, parts: Sequence[Array]) -> bool:
    for axis, size in enumerate(whole.shape):
        if size == ROWS and all(p.ndim == whole.ndim and p.shape[axis] == 1 for p in parts):
            if {p.shape for p in parts} != {parts[0].shape}:
                continue
            joined = np.concatenate(parts, axis)
            if joined.shape == whole.shape and _close(joined, whole):
                return True
    return False


def _close(a: Array, b: Array) -> bool:
    if not np.issubdtype(a.dtype, np.inexact):
        return np.array_equal(a, b)
    return np.allclose(a, b, RTOL, ATOL, equal_nan=True)


def _differ(parts: Sequence[Array]) -> bool:
    return any(not _close(part, parts[0]) for part in parts[1:])

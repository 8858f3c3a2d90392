"""Outputs that are the same whatever goes in: agreement on them proves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgedl.export.interface import Interface
from edgedl.runtime.golden import Array, GoldenVectors
from edgedl.runtime.quality import BATCH


def unmoved_outputs(interface: Interface, golden: Iterable[GoldenVectors]) -> tuple[str, ...]:
    """The outputs, state left out, that answer every golden sample alike.

    Samples that are all one, weights of zeros, or a layer that saturates do so. Only single
    calls are looked at; an output of one call without a batch must hold one value throughout.
    """
    calls = [vectors for vectors in golden if vectors.case.is_single]
    state = {pair.output for pair in interface.state}
    return tuple(
        spec.name
        for spec in interface.outputs
        if spec.name not in state
        and _is_same([v.outputs[spec.name] for v in calls], _batch_axis(spec.shape))
    )


def _batch_axis(shape: Sequence[int | str]) -> int | None:
    return shape.index(BATCH) if BATCH in shape else None


def _is_same(answers: Sequence[Array], batch: int | None) -> bool:
    if batch is not None:
        rows = [np.moveaxis(answer, batch, 0) for answer in answers]
        compared = [row for row in rows if len(row) > 1 and row.size]
        return bool(compared) and all(bool((row == row[:1]).all()) for row in compared)
    first = answers[0]
    if len(answers) > 1:
        return all(np.array_equal(answer, first) for answer in answers[1:])
    return first.size > 1 and bool((first == first.flat[0]).all())

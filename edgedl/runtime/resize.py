"""Arrays brought to another size of their dynamic axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec


def resize_axes(
    arrays: Mapping[str, Array], specs: Sequence[TensorSpec], sizes: Mapping[str, int]
) -> Arrays:
    """Cut or repeat arrays along their named axes.

    Args:
        arrays: Arrays named after the specs.
        specs: Which axis has which name.
        sizes: The wanted size of each named axis; an axis that isn't named here keeps its own.

    Returns:
        Contiguous arrays; what is past an array's end starts again at its beginning.
    """
    return {spec.name: _resize(arrays[spec.name], spec, sizes) for spec in specs}


def _resize(array: Array, spec: TensorSpec, sizes: Mapping[str, int]) -> Array:
    for axis, dim in enumerate(spec.shape):
        if isinstance(dim, str) and dim in sizes:
            array = np.take(array, np.arange(sizes[dim]) % array.shape[axis], axis=axis)
    return np.asarray(array, order="C")  # unlike ascontiguousarray it leaves a scalar one


def cut(array: Array, axis: int, start: int, stop: int) -> Array:
    """A contiguous copy of the part from `start` to `stop` along an axis."""
    index = [slice(None)] * array.ndim
    index[axis] = slice(start, stop)
    return np.ascontiguousarray(array[tuple(index)])

"""Weights as int8 around zero."""

from __future__ import annotations

import numpy as np

from edgedl.runtime.golden import Array


def symmetric(weight: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """int8 values, and the float32 scales that multiply them by broadcasting.

    Args:
        weight: float32.
        axes: Those that share a scale; they stay, with size 1, in the scales.
    """
    scale = np.abs(weight).max(axes, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)

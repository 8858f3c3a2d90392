"""The inputs of a measured case: golden ones, brought to the sizes asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgedl.runtime.bundle import Bundle
from edgedl.runtime.errors import InputError
from edgedl.runtime.golden import Arrays, GoldenVectors, largest_call
from edgedl.runtime.manifest import dynamic_axes
from edgedl.runtime.protocol import Case
from edgedl.runtime.resize import resize_axes


@dataclass(frozen=True)
class Feeds:
    """Inputs of the wanted sizes, and the golden case they are, where they are exactly one."""

    inputs: Arrays
    expected: GoldenVectors | None


def pick_inputs(bundle: Bundle, golden: Sequence[GoldenVectors], case: Case) -> Feeds:
    """Inputs of the sizes a case asks for, real ones from the golden vectors.

    Raises:
        InputError: The bundle has no axis of that name.
    """
    axes = dynamic_axes(bundle.manifest.inputs)
    unknown = [name for name in case.sizes if name not in axes]
    if unknown:
        raise InputError(
            f"bundle {bundle.manifest.name!r} has no dynamic axis {unknown[0]!r}",
            f"it has: {', '.join(sorted(axes)) or 'none'}",
        )
    calls = [vectors.case.sizes for vectors in golden if vectors.case.is_single]
    sizes = {axis: case.sizes.get(axis, min(call[axis] for call in calls)) for axis in axes}
    for vectors in golden:
        if vectors.case.is_single and vectors.case.sizes == sizes:
            return Feeds(vectors.inputs, vectors)
    return Feeds(resize_axes(largest_call(golden).inputs, bundle.manifest.inputs, sizes), None)

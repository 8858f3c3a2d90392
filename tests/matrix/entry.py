"""One model of the matrix: where it is, what goes in, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgedl.export.interface import DynamicAxis
from edgedl.runtime.golden import Array

SAMPLES = 96


@dataclass(frozen=True)
class Input:
    """An input: its axes, the dynamic ones with their example's size, and its values.

    `shape` holds sizes; a dynamic axis is `("time", 12)`, the batch just `"batch"`. Integers
    are drawn from `range(high)`, floats from a normal distribution, or from [0, 1] where
    `unit` says so. `constant` is every element's value instead: a sampling rate, an empty
    state.
    """

    shape: tuple[int | str | tuple[str, int], ...]
    dtype: str = "float32"
    high: int = 2
    unit: bool = False
    constant: float | None = None

    def samples(self, rng: np.random.Generator, count: int = SAMPLES) -> Array:
        """Made-up samples of this shape."""
        dims = [count if d == "batch" else d[1] if isinstance(d, tuple) else d for d in self.shape]
        if self.constant is not None:
            return np.full(dims, self.constant, self.dtype)
        if not np.issubdtype(np.dtype(self.dtype), np.floating):
            return rng.integers(0, self.high, dims).astype(self.dtype)
        values = rng.random(dims) if self.unit else rng.standard_normal(dims)
        return np.asarray(values, self.dtype)

    def dynamic(self, name: str) -> tuple[DynamicAxis, ...]:
        """Its dynamic axes as `--dynamic` gives them."""
        return tuple(
            DynamicAxis(name, axis, d if isinstance(d, str) else d[0])
            for axis, d in enumerate(self.shape)
            if not isinstance(d, int)
        )


@dataclass(frozen=True)
class Entry:
    """A model of the matrix.

    `source` is what `edgedl export` takes; `{models}` in it stands for the folder where
    `make matrix` keeps model files; `prepare`, called with it, writes what has to be there.
    `known` says, per recipe (or per stage: `convert`), why it can't be made: a failure that
    is not in it fails the matrix, and so does one in it that no longer happens. `samples`
    is how many there are: fewer where one alone is large.
    """

    name: str
    source: str
    inputs: dict[str, Input]
    state: tuple[tuple[str, str], ...] = ()
    known: dict[str, str] = field(default_factory=dict)
    samples: int = SAMPLES
    prepare: Callable[[Path], None] | None = None

    def write_samples(self, file: Path) -> None:
        """Its samples, the same every time."""
        rng = np.random.default_rng(0)
        arrays = {name: i.samples(rng, self.samples) for name, i in self.inputs.items()}
        np.savez(file, **arrays)  # type: ignore[arg-type]

    @property
    def dynamic(self) -> tuple[DynamicAxis, ...]:
        """Every dynamic axis."""
        return tuple(axis for name, i in self.inputs.items() for axis in i.dynamic(name))

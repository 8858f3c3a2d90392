"""Samples: what the user supplies, split into golden, calibration and evaluation.

No sample serves two purposes: golden vectors prove, calibration samples set
quantisation ranges, evaluation samples judge.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedl.export.errors import SamplesError
from edgedl.export.interface import Interface
from edgedl.runtime.errors import BundleError
from edgedl.runtime.golden import Array, Arrays, read_npz
from edgedl.runtime.manifest import GoldenCase, TensorSpec
from edgedl.runtime.quality import BATCH
from edgedl.runtime.resize import resize_axes

GOLDEN_SAMPLES = 64
GENERATED_SAMPLES = 128
BATCH_SIZES = (1, 4)
# Where nothing but the batch is dynamic, a larger one is cheap and proves more.
LONE_BATCH_SIZES = (1, 4, 32)
OTHER_SIZES = (1, 7)
MOST_PRODUCT_CASES = 12
ROLLOUT_STEPS = 256
ROLLOUT_BATCH = 2
GENERATED = "generated"


@dataclass(frozen=True)
class Samples:
    """Named inputs, the samples on their batch axis, and where they came from."""

    arrays: Arrays
    specs: tuple[TensorSpec, ...]
    origin: str
    sha256: str
    empty: bool = False

    @property
    def count(self) -> int:
        """How many samples there are; 1 where no batch axis is dynamic."""
        if self.empty:
            return 0
        for spec in self.specs:
            if BATCH in spec.shape:
                return int(self.arrays[spec.name].shape[spec.shape.index(BATCH)])
        return 1

    def part(self, index: Sequence[int] | Array) -> Arrays:
        """The samples at these positions, contiguous."""
        parts = {}
        for spec in self.specs:
            array = self.arrays[spec.name]
            if BATCH in spec.shape:
                array = np.take(array, index, axis=spec.shape.index(BATCH))
            parts[spec.name] = np.asarray(array, order="C")
        return parts


@dataclass(frozen=True)
class Evaluation:
    """Labelled samples. `labels` is int64, one per sample or per position."""

    arrays: Arrays
    labels: Array
    origin: str
    sha256: str


def read_arrays(path: Path) -> tuple[Arrays, str]:
    """An .npz file's arrays and its SHA-256."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SamplesError(f"{path} can't be read: {error.strerror}") from None
    try:
        arrays = read_npz(content, str(path))
    except BundleError as error:
        raise SamplesError(error.message, "write it with numpy.savez(FILE, input=array)") from None
    return arrays, hashlib.sha256(content).hexdigest()


def generate(specs: Sequence[TensorSpec]) -> Arrays:
    """Samples made up from the specs: normal floats, and zeros and ones for the rest."""
    rng = np.random.default_rng(0)
    arrays = {}
    for spec in specs:
        dims = [
            d if isinstance(d, int) else GENERATED_SAMPLES if d == BATCH else OTHER_SIZES[-1]
            for d in spec.shape
        ]
        dtype = np.dtype(spec.dtype)
        floating = np.issubdtype(dtype, np.floating)
        values = rng.standard_normal(dims) if floating else rng.integers(0, 2, dims)
        arrays[spec.name] = values.astype(dtype)
    return arrays


def check_samples(arrays: Mapping[str, Array], specs: Sequence[TensorSpec], origin: str) -> None:
    """Names, dtypes, shapes and values must fit the inputs.

    Raises:
        SamplesError: What doesn't fit and what was expected.
    """
    expected = "expected " + "; ".join(str(s) for s in specs)
    sizes: dict[str, int] = {}
    for spec in specs:
        if spec.name not in arrays:
            found = ", ".join(arrays) or "nothing"
            raise SamplesError(f"{origin} has no array {spec.name!r} (it has {found})", expected)
        array = arrays[spec.name]
        fits = len(array.shape) == len(spec.shape) and all(
            size > 0 and size == (dim if isinstance(dim, int) else sizes.setdefault(dim, size))
            for size, dim in zip(array.shape, spec.shape, strict=True)
        )
        if array.dtype != spec.dtype or not fits:
            raise SamplesError(
                f"{origin}: {spec.name!r} is {array.dtype}{list(array.shape)}", expected
            )
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise SamplesError(f"{origin}: {spec.name!r} holds NaN or infinite values")


def split(samples: Samples, evaluation: Evaluation | None) -> tuple[Samples, Samples]:
    """Samples for golden vectors and samples for calibration, without a common one.

    Neither has a sample of the evaluation set.

    Raises:
        SamplesError: Every sample is in the evaluation set.
    """
    names = {s.name for s in samples.specs} & (evaluation.arrays.keys() if evaluation else set())
    judged = set(_digests(samples.specs, evaluation.arrays, names)) if evaluation else set()
    compared = _digests(samples.specs, samples.arrays, names)
    digests = _digests(samples.specs, samples.arrays, samples.arrays.keys())
    unseen = [i for i in range(samples.count) if not compared or compared[i] not in judged]
    if not unseen:
        raise SamplesError(
            f"every sample of {samples.origin} is also an evaluation sample",
            "take them from the training data",
        )
    golden = unseen[: max(1, min(GOLDEN_SAMPLES, len(unseen) // 4))]
    proven = {digests[i] for i in golden} if digests else set()
    if not digests:  # one call, which can't be split: there is nothing left to calibrate on
        return samples, _only(samples, [])
    rest = [i for i in unseen[len(golden) :] if digests[i] not in proven]
    return _only(samples, golden), _only(samples, rest)


def _only(samples: Samples, index: Sequence[int]) -> Samples:
    part = samples.part(np.array(index, np.int64))
    return Samples(part, samples.specs, samples.origin, samples.sha256, empty=not len(index))


def _digests(
    specs: Sequence[TensorSpec], arrays: Mapping[str, Array], names: Collection[str]
) -> list[bytes]:
    """One digest per sample over the named inputs; none where none has a batch axis."""
    rows = [
        np.moveaxis(arrays[spec.name], spec.shape.index(BATCH), 0)
        for spec in specs
        if spec.name in names and BATCH in spec.shape
    ]
    return [_digest(sample) for sample in zip(*rows, strict=True)]


def _digest(arrays: Sequence[Array]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def golden_cases(
    interface: Interface, samples: Samples, takes: Callable[[Arrays], bool] = lambda inputs: True
) -> list[tuple[GoldenCase, Arrays]]:
    """The inputs of every golden case, each dynamic axis at several sizes.

    Every axis runs at 1, at another size and (but for the batch) at the example's, alone
    and together with the others; sizes that the source itself doesn't take are left out. A
    stateful model also runs fed-back steps.

    Args:
        interface: The model's outside.
        samples: Where the inputs are taken from.
        takes: Whether the source runs on these inputs.

    Raises:
        SamplesError: The source takes only one size of an axis.
    """
    sizes_of = {axis: _sizes(axis, interface, samples, takes) for axis in interface.axes}
    cases = []
    for sizes in _combinations(sizes_of):
        name = ".".join(f"{axis}{size}" for axis, size in sizes.items()) or "fixed"
        inputs = resize_axes(samples.arrays, interface.inputs, sizes)
        cases.append((GoldenCase(name, sizes), inputs))
    if interface.state:
        cases.append(_rollout(interface, samples, sizes_of))
    return cases


def _sizes(
    axis: str, interface: Interface, samples: Samples, takes: Callable[[Arrays], bool]
) -> tuple[int, ...]:
    if axis == BATCH:
        return LONE_BATCH_SIZES if interface.axes == (BATCH,) else BATCH_SIZES
    taken = taken_sizes(axis, samples.arrays, interface.inputs, takes)
    if len(taken) < 2:
        raise SamplesError(
            f"the source takes only size {taken[0]} of the dynamic axis {axis!r}",
            "leave this axis as it is: drop its --dynamic",
        )
    return taken


def taken_sizes(
    axis: str, arrays: Arrays, specs: Sequence[TensorSpec], takes: Callable[[Arrays], bool]
) -> tuple[int, ...]:
    """The sizes of an axis to prove: the example's, and others that the source takes.

    A network that halves its input five times takes neither 1 nor 7; then twice or half
    the example's size is tried.
    """
    example = next(arrays[s.name].shape[s.shape.index(axis)] for s in specs if axis in s.shape)

    def fits(size: int) -> bool:
        return takes(resize_axes(arrays, specs, {BATCH: 1, axis: size}))

    others = [size for size in OTHER_SIZES if size != example and fits(size)]
    if not others:
        scaled = (size for size in (2 * example, example // 2) if size and fits(size))
        others = list(itertools.islice(scaled, 1))
    return tuple(sorted({*others, example}))


def _combinations(sizes_of: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    """All combinations while they are few; else each axis alone and all together."""
    axes = list(sizes_of)
    product = [
        dict(zip(axes, sizes, strict=True)) for sizes in itertools.product(*sizes_of.values())
    ]
    if len(product) <= MOST_PRODUCT_CASES:
        return product
    largest = {axis: max(sizes) for axis, sizes in sizes_of.items()}
    alone = [{**largest, axis: size} for axis in axes for size in sizes_of[axis]]
    together = [{a: sizes_of[a][i] for a in axes} for i in range(2)]
    return [dict(t) for t in dict.fromkeys(tuple(c.items()) for c in [*alone, *together])]


def _rollout(
    interface: Interface, samples: Samples, sizes_of: Mapping[str, Sequence[int]]
) -> tuple[GoldenCase, Arrays]:
    """Fed-back steps: real samples in their order, one position of each axis a step.

    An axis that can't be 1 keeps the size of the samples: each step is a sample of its own.
    """
    own = {
        dim: size
        for s in interface.inputs
        for dim, size in zip(s.shape, samples.arrays[s.name].shape, strict=True)
    }
    sizes = {
        axis: ROLLOUT_BATCH if axis == BATCH else 1 if 1 in sizes_of[axis] else own[axis]
        for axis in interface.axes
    }
    state = {pair.input for pair in interface.state}
    inputs: Arrays = {}
    for spec in interface.inputs:
        array = samples.arrays[spec.name]
        if spec.name in state:
            inputs[spec.name] = np.zeros_like(
                resize_axes({spec.name: array}, [spec], sizes)[spec.name]
            )
        else:
            inputs[spec.name] = _steps(array, spec, sizes)
    return GoldenCase(f"steps{ROLLOUT_STEPS}", sizes, ROLLOUT_STEPS), inputs


def _steps(array: Array, spec: TensorSpec, sizes: Mapping[str, int]) -> Array:
    """Per-step inputs, (steps, *shape of one step)."""
    free = [d for d in spec.shape if isinstance(d, str) and d != BATCH and sizes[d] == 1]
    batch = spec.shape.index(BATCH) if BATCH in spec.shape else None
    if not free or batch is None:
        one = resize_axes({spec.name: array}, [spec], sizes)[spec.name]
        if batch is None:
            return np.stack([one] * ROLLOUT_STEPS)
        wanted = np.arange(ROLLOUT_STEPS * sizes[BATCH]) % array.shape[batch]
        rows = np.moveaxis(np.take(array, wanted, axis=batch), batch, 0)
        rows = rows.reshape(ROLLOUT_STEPS, sizes[BATCH], *rows.shape[1:])
        return np.ascontiguousarray(np.moveaxis(rows, 1, batch + 1))
    # One long sequence: the samples laid end to end along the first free axis.
    axis = spec.shape.index(free[0])
    line = np.moveaxis(array, (batch, axis), (0, 1))
    line = line.reshape(-1, *line.shape[2:])
    wanted = np.arange(ROLLOUT_STEPS * sizes[BATCH]) % len(line)
    line = line[wanted].reshape(sizes[BATCH], ROLLOUT_STEPS, 1, *line.shape[1:])
    steps = np.moveaxis(line, 1, 0)  # (steps, batch, 1, ...)
    return np.ascontiguousarray(np.moveaxis(steps, (1, 2), (batch + 1, axis + 1)))

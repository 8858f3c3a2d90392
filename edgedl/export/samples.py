"""Samples: what the user supplies, split into golden, calibration and evaluation.

No sample serves two purposes: golden vectors prove, calibration samples set
quantisation ranges, evaluation samples judge.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Mapping, Sequence
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
# Where nothing but the batch is dynamic, a larger one is cheap and proves more; but golden
# vectors travel, so not where its inputs are large: 32 photographs outweigh a MobileNet.
LONE_BATCH_SIZES = (1, 4, 32)
LONE_BATCH_BYTES = 4 * 2**20
OTHER_SIZES = (1, 7)
MOST_PRODUCT_CASES = 12
ROLLOUT_STEPS = 256
ROLLOUT_BATCH = 2
GENERATED = "generated"


# For every axis (or axes that move together) the sizes that it is run at, smallest first.
Moves = Sequence[Sequence[Mapping[str, int]]]


@dataclass(frozen=True)
class Samples:
    """Named inputs, the samples on their batch axis, and where they came from.

    `others` are sizes of the axes beside the batch, not the samples' own, that the source
    runs too.
    """

    arrays: Arrays
    specs: tuple[TensorSpec, ...]
    origin: str
    sha256: str
    empty: bool = False
    others: tuple[Mapping[str, int], ...] = ()

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
        raise SamplesError(f"{path} can't be read: {error.strerror}", "give an .npz file") from None
    try:
        arrays = read_npz(content, str(path))
    except BundleError as error:
        raise SamplesError(error.message, "write it with numpy.savez(FILE, input=array)") from None
    return arrays, hashlib.sha256(content).hexdigest()


def generate(specs: Sequence[TensorSpec], sizes: Mapping[str, int] | None = None) -> Arrays:
    """Samples made up from the specs: normal floats, pixels for uint8, else zeros and ones.

    `sizes` gives dynamic axes their size where the source knows one.
    """
    rng = np.random.default_rng(0)
    known = {**(sizes or {}), BATCH: GENERATED_SAMPLES}
    arrays = {}
    for spec in specs:
        dims = [d if isinstance(d, int) else known.get(d, OTHER_SIZES[-1]) for d in spec.shape]
        dtype = np.dtype(spec.dtype)
        floating = np.issubdtype(dtype, np.floating)
        values = (
            rng.standard_normal(dims)
            if floating
            else rng.integers(0, 256 if dtype == np.uint8 else 2, dims)
        )
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
            raise SamplesError(
                f"{origin}: {spec.name!r} holds NaN or infinite values",
                "take those samples out, or put numbers in their place",
            )


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
    interface: Interface, samples: Samples, moves: Moves | None = None
) -> list[tuple[GoldenCase, Arrays]]:
    """The inputs of every golden case, each dynamic axis at several sizes.

    Every axis runs at 1, at another size and (but for the batch) at the example's, alone
    and together with the others; at the sizes of `moves` where given. A stateful model
    also runs fed-back steps.
    """
    chosen = usual_moves(interface, samples) if moves is None else moves
    cases = []
    for sizes in _combinations(chosen, interface.axes):
        name = ".".join(f"{axis}{size}" for axis, size in sizes.items()) or "fixed"
        inputs = resize_axes(samples.arrays, interface.inputs, sizes)
        cases.append((GoldenCase(name, sizes), inputs))
    if interface.state:
        least = {a: min(m[a] for group in chosen for m in group if a in m) for a in interface.axes}
        cases.append(_rollout(interface, samples, least))
    return cases


def other_sizes(samples: Samples, golden: Sequence[GoldenCase]) -> tuple[Mapping[str, int], ...]:
    """The least and the largest sizes beside the batch that golden cases prove, without the
    samples' own.
    """
    own = {
        dim: size
        for spec in samples.specs
        for dim, size in zip(spec.shape, samples.arrays[spec.name].shape, strict=True)
    }
    found: list[dict[str, int]] = []
    for case in golden:
        sizes = {axis: size for axis, size in case.sizes.items() if axis != BATCH}
        if case.is_single and any(size != own[axis] for axis, size in sizes.items()):
            found.append(sizes)
    ordered = sorted(found, key=lambda sizes: sum(sizes.values()))
    return tuple(ordered[:1] + [sizes for sizes in ordered[-1:] if sizes != ordered[0]])


def usual_moves(interface: Interface, samples: Samples) -> Moves:
    """Every axis at its usual sizes, smallest first."""
    return tuple(
        tuple({axis: size} for size in _sizes(axis, interface, samples)) for axis in interface.axes
    )


def example_sizes(interface: Interface, samples: Samples) -> dict[str, int]:
    """The samples' own sizes; of the batch no more than is usual."""
    sizes = {axis: _example_size(axis, interface, samples) for axis in interface.axes}
    return {a: min(size, max(BATCH_SIZES)) if a == BATCH else size for a, size in sizes.items()}


def _sizes(axis: str, interface: Interface, samples: Samples) -> tuple[int, ...]:
    if axis == BATCH:
        each = sum(array.nbytes for array in samples.arrays.values()) / max(1, samples.count)
        cheap = max(LONE_BATCH_SIZES) * each <= LONE_BATCH_BYTES
        return LONE_BATCH_SIZES if cheap and interface.axes == (BATCH,) else BATCH_SIZES
    return tuple(sorted({*OTHER_SIZES, _example_size(axis, interface, samples)}))


def _example_size(axis: str, interface: Interface, samples: Samples) -> int:
    return next(
        int(samples.arrays[s.name].shape[s.shape.index(axis)])
        for s in interface.inputs
        if axis in s.shape
    )


def _combinations(moves: Moves, axes: Sequence[str]) -> list[dict[str, int]]:
    """All combinations while they are few; else each axis alone and all together."""
    product = [_merge(group, axes) for group in itertools.product(*moves)]
    if len(product) <= MOST_PRODUCT_CASES:
        return product
    largest = [max(group, key=lambda move: sum(move.values())) for group in moves]
    alone = [
        _merge([*largest[:i], move, *largest[i + 1 :]], axes)
        for i, group in enumerate(moves)
        for move in group
    ]
    together = [_merge([group[i] for group in moves], axes) for i in range(2)]
    return [dict(t) for t in dict.fromkeys(tuple(c.items()) for c in [*alone, *together])]


def _merge(group: Sequence[Mapping[str, int]], axes: Sequence[str]) -> dict[str, int]:
    sizes = {axis: size for move in group for axis, size in move.items()}
    return {axis: sizes[axis] for axis in axes}


def _rollout(
    interface: Interface, samples: Samples, least: Mapping[str, int]
) -> tuple[GoldenCase, Arrays]:
    """Fed-back steps: real samples in their order, as few positions of each axis a step as
    the source runs: one.
    """
    sizes = {axis: ROLLOUT_BATCH if axis == BATCH else least[axis] for axis in interface.axes}
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
    width = sizes[free[0]]
    wanted = np.arange(ROLLOUT_STEPS * sizes[BATCH] * width) % len(line)
    line = line[wanted].reshape(sizes[BATCH], ROLLOUT_STEPS, width, *line.shape[1:])
    steps = np.moveaxis(line, 1, 0)  # (steps, batch, width, ...)
    return np.ascontiguousarray(np.moveaxis(steps, (1, 2), (batch + 1, axis + 1)))

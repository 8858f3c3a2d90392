"""Dynamic axes: the sizes that the source itself runs, and the axes that a conversion pins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgedl.export.errors import SourceError
from edgedl.export.interface import Interface
from edgedl.export.samples import OTHER_SIZES, Moves, Samples, example_sizes, usual_moves
from edgedl.export.stages import FLOAT_TOLERANCE, Reference
from edgedl.runtime.errors import EdgedlError, EngineError
from edgedl.runtime.golden import Arrays, GoldenVectors, largest_call
from edgedl.runtime.golden_runs import Runner
from edgedl.runtime.manifest import TensorSpec
from edgedl.runtime.parity import check_parity, failures
from edgedl.runtime.quality import BATCH
from edgedl.runtime.resize import resize_axes

# How many sizes beside the example's an axis is proved at, where the usual ones won't do.
OTHERS = 2
MOST_REASON = 160  # characters


@dataclass(frozen=True)
class Refusal:
    """Sizes that the source itself can't run, with its reason."""

    sizes: dict[str, int]
    reason: str


Refuse = Callable[[Mapping[str, int]], str]


def movable_sizes(
    ask: Runner, interface: Interface, samples: Samples
) -> tuple[Moves, list[Refusal]]:
    """Sizes that the source runs, for every axis alone; two that go together move together.

    Where the usual size is refused (a kernel wider than the axis, a multiple of 8 only),
    others are tried: twice the example's, a few steps more.

    Raises:
        SourceError: The source can't run the samples, or an axis at no other size.
    """
    base = example_sizes(interface, samples)
    ask(resize_axes(samples.arrays, interface.inputs, base))
    refusals: list[Refusal] = []

    def refuse(sizes: Mapping[str, int]) -> str:
        """Why the source can't run these sizes, the other axes at the example's."""
        try:
            ask(resize_axes(samples.arrays, interface.inputs, {**base, **sizes}))
        except (SourceError, EngineError) as error:
            refusals.append(Refusal(dict(sizes), error.message[:MOST_REASON]))
            return error.message
        return ""

    moves: list[tuple[Mapping[str, int], ...]] = []
    stuck: list[str] = []
    for axis, usual in zip(interface.axes, usual_moves(interface, samples), strict=True):
        found = _alone(axis, base[axis], [move[axis] for move in usual], refuse)
        if found:
            moves.append(tuple({axis: size} for size in found))
        else:
            stuck.append(axis)
    moves += _together(stuck, base, interface, refuse, refusals)
    return tuple(moves), refusals


def taken_sizes(
    axis: str, arrays: Arrays, specs: Sequence[TensorSpec], takes: Callable[[Arrays], bool]
) -> tuple[int, ...]:
    """The sizes of an axis that a source takes: the example's, and others where it can move."""
    example = next(arrays[s.name].shape[s.shape.index(axis)] for s in specs if axis in s.shape)

    def refuse(sizes: Mapping[str, int]) -> str:
        return "" if takes(resize_axes(arrays, specs, {BATCH: 1, **sizes})) else "refused"

    return tuple(_alone(axis, int(example), OTHER_SIZES, refuse)) or (int(example),)


def _alone(axis: str, example: int, usual: Sequence[int], refuse: Refuse) -> list[int]:
    """The sizes to prove, the example's among them; empty where no other runs."""
    running = [size for size in usual if size != example and not refuse({axis: size})]
    missing = len([size for size in usual if size != example]) - len(running)
    for size in _substitutes(example, usual) if missing else ():
        if len(running) >= min(OTHERS, len(running) + missing):
            break
        if not refuse({axis: size}):
            running.append(size)
            missing -= 1
    return sorted({example, *running}) if running else []


def _substitutes(example: int, usual: Sequence[int]) -> Iterator[int]:
    half = [example // 2] if example > 1 else []
    for size in (2 * example, example + 8, example + 1, example + 2, 3 * example, *half):
        if size != example and size not in usual:
            yield size


def _together(
    stuck: Sequence[str],
    base: Mapping[str, int],
    interface: Interface,
    refuse: Refuse,
    refusals: Sequence[Refusal],
) -> list[tuple[Mapping[str, int], ...]]:
    """Axes that can't move alone, moved in one step: by the same factor or as many steps."""
    if not stuck:
        return []
    steps = [{axis: base[axis] * n for axis in stuck} for n in (2, 3)]
    steps += [{axis: base[axis] + n for axis in stuck} for n in (1, 8)]
    found = [sizes for sizes in steps if len(stuck) > 1 and not refuse(sizes)]
    if found:
        return [({axis: base[axis] for axis in stuck}, *found[:OTHERS])]
    axis = stuck[0]
    reason = next(r.reason for r in refusals if axis in r.sizes)
    raise SourceError(
        f"axis {axis!r} can't move: the source itself runs it at {base[axis]} only ({reason})",
        advice([axis], interface.inputs),
    )


def require_moves(golden: Sequence[GoldenVectors], interface: Interface) -> None:
    """Refuse an axis that is at one size in all that the source has answered.

    Raises:
        SourceError: It moves alone, but never with the others.
    """
    for axis in interface.axes:
        if len({v.case.sizes[axis] for v in golden if v.case.is_single}) < 2:
            raise SourceError(
                f"axis {axis!r} can't move together with the others in the source itself",
                advice([axis], interface.inputs),
            )


def advice(axes: Sequence[str], inputs: Sequence[TensorSpec]) -> str:
    """The `--dynamic` options to leave out, so that axes are fixed; a source that frees them
    by itself has to fix them itself.
    """
    options = " ".join(
        f"--dynamic {spec.name}:{position}={axis}"
        for axis in axes
        for spec in inputs
        for position, dim in enumerate(spec.shape)
        if dim == axis
    )
    return f"leave out {options}, or fix that size in the model"


def pinned_axes(run: Runner, reference: Reference) -> tuple[str, ...]:
    """The axes that a converted model holds at the example's size.

    It answers rightly at the example's sizes, and wrongly or not at all where one axis has
    another. Empty where it is wrong at the example's too.
    """
    example = largest_call(reference.golden).case.sizes
    single = [v for v in reference.golden if v.case.is_single]
    if not all(_agrees(run, v, reference) for v in single if v.case.sizes == example):
        return ()
    return tuple(
        axis
        for axis in reference.interface.axes
        if not all(_agrees(run, v, reference) for v in single if _moves(v, example) == {axis})
    )


def _moves(vectors: GoldenVectors, example: Mapping[str, int]) -> set[str]:
    return {axis for axis, size in vectors.case.sizes.items() if size != example[axis]}


def _agrees(run: Runner, vectors: GoldenVectors, reference: Reference) -> bool:
    try:
        outputs = check_parity(run, [vectors], FLOAT_TOLERANCE, reference.interface.state)
    except EdgedlError:
        return False
    return not failures(outputs)

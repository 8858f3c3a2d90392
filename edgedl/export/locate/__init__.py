"""Where a variant leaves its reference: the error of every node, its own and the inherited.

A node's *local* error is what the variant's version of it makes of the reference's own
values; the *accumulated* error is what the whole variant, run from the inputs, has at that
place. A node with a small local and a large accumulated error passes on what another broke.

Memory stays bounded: tensors are fetched in groups, of a few samples, and the parts of the
variant are run one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import ModelProto

from edgedl.export.locate.excerpt import Anatomy, dequantise, fed_name, others, showing, shown_name
from edgedl.export.locate.matching import Match, match_tensors
from edgedl.export.nodes import copied, inferred_types
from edgedl.runtime.bundle import Bundle
from edgedl.runtime.engine import ENGINE_ERRORS
from edgedl.runtime.errors import EngineError, one_line
from edgedl.runtime.golden import Array, Arrays, largest_call, read_golden
from edgedl.runtime.manifest import TensorSpec, Tolerance
from edgedl.runtime.quality import BATCH
from edgedl.runtime.resize import resize_axes
from edgedl.runtime.session import open_session
from edgedl.runtime.settings import Settings
from edgedl.runtime.tally import decibels, structural_problem

MOST_SAMPLES = 8
GROUP_BYTES = 64 << 20
MOST_IN_GROUP = 256


@dataclass(frozen=True)
class NodeError:
    """One matched tensor. SQNR in dB; None where the values are equal.

    `problem` says what can't be put in dB: another shape, NaN on one side. `unrun` is why
    the node can't be run by itself, which leaves its local error unknown.
    """

    node: str
    operator: str
    tensor: str
    local_db: float | None
    accumulated_db: float | None
    problem: str = ""
    unrun: str = ""

    def breaks(self, threshold_db: float) -> bool:
        """Whether the node is at fault by itself."""
        return bool(self.problem) or _under(self.local_db, threshold_db)

    def __str__(self) -> str:
        what = f"{self.node} ({self.operator})"
        if self.problem:
            return f"{what}: {self.problem}"
        local = "unknown" if self.unrun else _show(self.local_db)
        return f"{what}, local SQNR {local}, accumulated {_show(self.accumulated_db)}"


@dataclass(frozen=True)
class Located:
    """Every matched tensor in the reference's order, and the first that breaks.

    `alone` tells a node that breaks by itself from one where errors that add up go over
    the threshold. `unmatched` counts the reference's nodes that the variant has no
    counterpart of: they are judged together with the next matched one.
    """

    nodes: tuple[NodeError, ...]
    threshold_db: float
    first: NodeError | None
    alone: bool
    unmatched: int

    def __str__(self) -> str:
        if self.first is None:
            return f"no node breaks: every SQNR is over {self.threshold_db:g} dB"
        if self.alone:
            return f"first node that breaks: {self.first}"
        return f"no node breaks alone; errors add up to too much at {self.first}"


def break_threshold(tolerance: Tolerance) -> float:
    """The SQNR in dB under which a node counts as broken.

    For a quantised variant the least SQNR that its outputs are held to: a node under it
    alone makes more noise than all together may. For a float one -20 log10(rtol), 80 dB at
    rtol 1e-4: noise as large as the relative difference that an element is allowed, where
    float32 rounding leaves 120 dB and more.
    """
    if tolerance.min_sqnr_db is not None:
        return tolerance.min_sqnr_db
    return -20 * math.log10(tolerance.rtol or 1e-4)


def locate(
    reference: ModelProto,
    variant: ModelProto,
    inputs: Arrays,
    specs: Sequence[TensorSpec],
    threshold_db: float,
    brief: bool = False,
) -> Located:
    """Compare a variant with the model it was made from, node by node, in one call.

    State isn't fed back: its inputs are those given, so that an error is seen at the node
    that makes it, and not where an earlier step's error comes in again.

    Args:
        reference: The model that is right.
        variant: The model that may not be.
        inputs: One call's inputs; of the batch the first `MOST_SAMPLES`.
        specs: The inputs' specs.
        threshold_db: See `break_threshold`.
        brief: End at the first node that breaks by itself; parts of the variant are run
            only where the accumulated error is over the threshold.

    Raises:
        EngineError: One of the models can't be run, or they have no tensor in common.
    """
    inputs = _few(inputs, specs)
    matches = match_tensors(reference, variant)
    if not matches:
        raise EngineError("the two models have no tensor in common", "compare other variants")
    comparison = _Comparison(reference, variant, inputs, matches)
    nodes: list[NodeError] = []
    first: NodeError | None = None
    for group in _groups(matches, _sizes(reference, inputs)):
        errors = comparison.errors(group, threshold_db if brief else math.inf)
        nodes += errors
        first = first or next((n for n in errors if n.breaks(threshold_db)), None)
        if brief and first is not None:
            break
    alone = first is not None
    first = first or next((n for n in nodes if _under(n.accumulated_db, threshold_db)), None)
    matched = {m.tensor for m in matches}
    unmatched = sum(
        n.op_type != "Constant" and matched.isdisjoint(n.output) for n in reference.graph.node
    )
    return Located(tuple(nodes), threshold_db, first, alone, unmatched)


def locate_variant(bundle: Bundle, name: str, against: str) -> Located:
    """`locate` on a bundle's files and its largest golden call.

    Raises:
        BundleError: A file is missing or damaged, or there is no such variant.
    """
    reference, variant = bundle.manifest.variant(against), bundle.manifest.variant(name)
    return locate(
        onnx.load_model_from_string(bundle.read(reference)),
        onnx.load_model_from_string(bundle.read(variant)),
        largest_call(read_golden(bundle)).inputs,
        bundle.manifest.inputs,
        break_threshold(variant.tolerance),
    )


def blame(
    reference: ModelProto,
    variant: ModelProto,
    inputs: Arrays,
    specs: Sequence[TensorSpec],
    tolerance: Tolerance,
) -> str:
    """The first node that breaks, as an error's last words; empty where it can't be told."""
    try:
        located = locate(reference, variant, inputs, specs, break_threshold(tolerance), brief=True)
    except EngineError:
        return ""
    return f"; {located}" if located.first is not None else ""


def _few(inputs: Arrays, specs: Sequence[TensorSpec]) -> Arrays:
    sizes = [inputs[s.name].shape[s.shape.index(BATCH)] for s in specs if BATCH in s.shape]
    return resize_axes(inputs, specs, {BATCH: min(MOST_SAMPLES, *sizes)} if sizes else {})


def _under(decibels: float | None, threshold: float) -> bool:
    return decibels is not None and decibels < threshold


def _show(decibels: float | None) -> str:
    return "without noise" if decibels is None else f"{decibels:.1f} dB"


def _sizes(model: ModelProto, inputs: Arrays) -> dict[str, int]:
    """The bytes of every tensor whose shape can be inferred for these inputs."""
    concrete = copied(model)
    for value in concrete.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, inputs[value.name].shape, strict=True):
            dim.Clear()
            dim.dim_value = size
    for value in concrete.graph.output:
        value.type.tensor_type.ClearField("shape")
    found = {}
    for name, kind in inferred_types(concrete).items():
        dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
        if kind.HasField("shape") and None not in dims:
            itemsize = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
            found[name] = math.prod(d for d in dims if d is not None) * itemsize
    return found


def _groups(matches: Sequence[Match], sizes: Mapping[str, int]) -> Iterator[list[Match]]:
    """Consecutive matches whose tensors fit in memory together."""
    group: list[Match] = []
    filled = 0
    for match in matches:
        size = sizes.get(match.tensor, GROUP_BYTES // 8)
        if group and (filled + size > GROUP_BYTES or len(group) >= MOST_IN_GROUP):
            yield group
            group, filled = [], 0
        group.append(match)
        filled += size
    yield group


@dataclass(frozen=True)
class _Comparison:
    """The two models, one call's inputs, and what their tensors have in common."""

    reference: ModelProto
    variant: ModelProto
    inputs: Arrays
    matches: Sequence[Match]

    @cached_property
    def _stops(self) -> dict[str, Match]:
        return {m.enters: m for m in self.matches}

    @cached_property
    def _anatomy(self) -> Anatomy:
        return Anatomy(self.variant)

    def errors(self, group: Sequence[Match], limit_db: float) -> list[NodeError]:
        """The errors of some nodes; local ones where the accumulated is under the limit."""
        names = list(dict.fromkeys(shown_name(m) for m in group))
        extra = [node for match in group for node in dequantise(match)]
        whole = _run(showing(self.variant, names, extra), self.inputs, names, "the variant")
        right = self._right(group)
        accumulated = {m: _noise(right[m.tensor], whole[shown_name(m)]) for m in group}
        suspects = [
            m
            for m, noise in accumulated.items()
            if limit_db == math.inf or noise.problem or _under(noise.decibels, limit_db)
        ]
        local = self._local(suspects, right)
        return [
            NodeError(
                m.node,
                m.operator,
                m.tensor,
                local[m].decibels if m in local else None,
                accumulated[m].decibels,
                local[m].problem if m in local else "",
                local[m].unrun if m in local else "",
            )
            for m in group
        ]

    def _right(self, group: Sequence[Match]) -> Arrays:
        """The reference's values of these tensors and of what goes into their parts."""
        wanted = {m.tensor for m in group}
        for match in group:
            enters = self._anatomy.part(match.measured, others(self._stops, match))[1]
            wanted |= {self._stops[name].tensor for name in enters if name in self._stops}
        names = sorted(wanted - self.inputs.keys())
        shown = _run(showing(self.reference, names), self.inputs, names, "the reference")
        return {**self.inputs, **shown}

    def _local(self, group: Sequence[Match], right: Arrays) -> dict[Match, _Noise]:
        """What the variant's parts make of the reference's values."""
        try:
            return self._local_together(group, right)
        except EngineError as error:
            if len(group) == 1:
                return {group[0]: _Noise(None, unrun=error.message)}
        return {m: noise for one in group for m, noise in self._local([one], right).items()}

    def _local_together(self, group: Sequence[Match], right: Arrays) -> dict[Match, _Noise]:
        targets = {f"part{i}/": match for i, match in enumerate(group)}
        if not targets:
            return {}
        content = self._anatomy.excerpt(targets, self._stops, right)
        fed = {fed_name(name, self._stops): right[m.tensor] for name, m in self._stops.items()
               if m.tensor in right}  # fmt: skip
        feeds = {name: self._anatomy.as_read(name, value) for name, value in fed.items()}
        names = {match: prefix + shown_name(match) for prefix, match in targets.items()}
        made = _run(
            content, {**self.inputs, **feeds}, list(names.values()), "a part of the variant"
        )
        return {m: _noise(right[m.tensor], made[name]) for m, name in names.items()}


@dataclass(frozen=True)
class _Noise:
    """SQNR in dB, None where there is no noise; see `NodeError` for the rest."""

    decibels: float | None
    problem: str = ""
    unrun: str = ""


def _run(content: bytes, feeds: Arrays, names: Sequence[str], what: str) -> Arrays:
    if not names:
        return {}
    session = open_session(content, "cpu", Settings(), what)
    wanted = {i.name for i in session.get_inputs()}
    try:
        values = session.run(list(names), {k: v for k, v in feeds.items() if k in wanted})
    except ENGINE_ERRORS as error:
        raise EngineError(f"{what}: {one_line(error)}") from error
    return dict(zip(names, values, strict=True))


def _noise(expected: Array, actual: Array) -> _Noise:
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    problem = structural_problem(a, b)
    if problem:
        return _Noise(None, problem)
    finite = np.isfinite(b)
    a, b = a[finite], b[finite]
    ratio = decibels(float(np.sum(b * b)), float(np.sum((a - b) ** 2)))
    return _Noise(None if math.isinf(ratio) else ratio)

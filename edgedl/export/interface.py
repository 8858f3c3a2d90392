"""A model's outside: clean names, dtypes, dynamic axes and state pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgedl.export.errors import SourceError
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import Decision, StatePair, TensorSpec, dynamic_axes
from edgedl.runtime.parity import class_outputs
from edgedl.runtime.quality import BATCH


@dataclass(frozen=True)
class DynamicAxis:
    """`--dynamic INPUT:AXIS=NAME`: an axis of an input that may have any size."""

    input: str
    axis: int
    name: str


@dataclass(frozen=True)
class Interface:
    """What goes in and out of the exported model.

    `outputs` carry the clean, public names in the source's order; `state` pairs an
    output with the input it is fed back to; `decisions` are outputs that give classes.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[StatePair, ...]
    decisions: tuple[Decision, ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the dynamic axes, in order of appearance."""
        return dynamic_axes(self.inputs)

    @property
    def classes(self) -> tuple[str, ...]:
        """The outputs whose largest element may be an answer."""
        return class_outputs(self.outputs, self.state, self.decisions)


def parse_dynamic(text: str) -> DynamicAxis:
    """Read `INPUT:AXIS=NAME`.

    Raises:
        ValueError: It has another form.
    """
    match = re.fullmatch(r"(?P<input>[^:=]+):(?P<axis>\d+)=(?P<name>[A-Za-z_]\w*)", text)
    if match is None:
        raise ValueError(f"{text!r} is not INPUT:AXIS=NAME, such as tokens:1=time")
    return DynamicAxis(match["input"], int(match["axis"]), match["name"])


def parse_state(text: str) -> StatePair:
    """Read `OUT=IN`.

    Raises:
        ValueError: It has another form.
    """
    match = re.fullmatch(r"(?P<output>[^=]+)=(?P<input>[^=]+)", text)
    if match is None:
        raise ValueError(f"{text!r} is not OUT=IN, such as h_out=h")
    return StatePair(input=match["input"], output=match["output"])


def with_dynamic(
    specs: Sequence[TensorSpec], dynamic: Sequence[DynamicAxis]
) -> tuple[TensorSpec, ...]:
    """The specs with the asked-for axes named.

    Raises:
        SourceError: There is no such input or axis, or an axis gets two names.
    """
    by_name = {spec.name: spec for spec in specs}
    named: dict[tuple[str, int], str] = {}
    for axis in dynamic:
        given = named.setdefault((axis.input, axis.axis), axis.name)
        if given != axis.name:
            raise SourceError(
                f"--dynamic {axis.input}:{axis.axis}={axis.name}: "
                f"{axis.input}:{axis.axis} is {given!r} already",
                "give an axis one name",
            )
        spec = by_name.get(axis.input)
        if spec is None or axis.axis >= len(spec.shape):
            raise SourceError(
                f"--dynamic {axis.input}:{axis.axis}={axis.name}: there is no such "
                f"{'axis' if spec else 'input'}",
                "inputs: " + "; ".join(str(s) for s in specs),
            )
        shape = (*spec.shape[: axis.axis], axis.name, *spec.shape[axis.axis + 1 :])
        by_name[axis.input] = TensorSpec(spec.name, spec.dtype, shape)
    return tuple(by_name.values())


def clean_name(name: str) -> str:
    """A name without scopes, output numbers and characters that mean something elsewhere."""
    last = name.split("/")[-1].split(":")[0]
    return re.sub(r"\W+", "_", last).strip("_") or "tensor"


def name_outputs(
    raw: Sequence[str], inputs: Sequence[str], state: Sequence[StatePair]
) -> tuple[tuple[str, ...], tuple[StatePair, ...]]:
    """Public names for a source's outputs, and its state pairs.

    An output that has an input's name is that input's next state: it becomes
    `<name>_out` (in an ONNX graph the two can't share a name) and is paired with it.

    Raises:
        SourceError: A pair in `state` names a tensor that doesn't exist.
    """
    names, pairs = [], list(state)
    for name in (clean_name(n) for n in raw):
        public = f"{name}_out" if name in inputs else name
        if public != name and all(pair.output != public for pair in pairs):
            pairs.append(StatePair(input=name, output=public))
        names.append(public)
    for pair in pairs:
        if pair.output not in names or pair.input not in inputs:
            raise SourceError(
                f"--state {pair.output}={pair.input}: there is no such tensor",
                f"outputs: {', '.join(names)}; inputs: {', '.join(inputs)}",
            )
    if len(set(names)) < len(names):
        raise SourceError(f"two outputs have one name: {', '.join(names)}", "name them apart")
    return tuple(names), tuple(pairs)


def fitting_pairs(
    pairs: Sequence[StatePair],
    declared: Sequence[StatePair],
    inputs: Sequence[TensorSpec],
    outputs: Arrays,
) -> tuple[StatePair, ...]:
    """The pairs whose output can be fed back; free axes may grow from step to step.

    An output that merely shares an input's name, in another shape, is no state.

    Args:
        pairs: What `name_outputs` paired.
        declared: Those that the person asked for.
        inputs: The inputs' specs.
        outputs: The source's answer to one call.

    Raises:
        SourceError: A declared pair doesn't fit, or two feed one input.
    """
    specs = {spec.name: spec for spec in inputs}
    fitting = []
    for pair in pairs:
        spec, answer = specs[pair.input], outputs[pair.output]
        if _feeds(answer, spec):
            fitting.append(pair)
        elif pair in declared:
            raise SourceError(
                f"--state {pair.output}={pair.input}: {pair.output!r} is "
                f"{answer.dtype}{list(answer.shape)}, but the input is {spec}",
                "state goes out in the dtype and shape in which it goes in",
            )
    asked = {pair.input for pair in declared}
    fitting = [p for p in dict.fromkeys(fitting) if p in declared or p.input not in asked]
    for pair in fitting:
        feeders = [other.output for other in fitting if other.input == pair.input]
        if len(feeders) > 1:
            raise SourceError(
                f"--state: {pair.input} is fed from {' and '.join(feeders)}", "leave out one pair"
            )
    return tuple(fitting)


def _feeds(answer: Array, spec: TensorSpec) -> bool:
    if str(answer.dtype) != spec.dtype or answer.ndim != len(spec.shape):
        return False
    sizes = zip(answer.shape, spec.shape, strict=True)
    return all(isinstance(dim, str) or dim == size for size, dim in sizes)


def infer_outputs(
    names: Sequence[str], runs: Sequence[tuple[Mapping[str, int], Arrays]]
) -> tuple[TensorSpec, ...]:
    """Output specs from runs of the source at several sizes of every dynamic axis.

    An output's axis is called after the dynamic axis whose size it equals in every run;
    one that never changes is fixed; one that changes otherwise gets a name of its own.
    """
    return tuple(_infer_output(name, runs) for name in names)


def _infer_output(name: str, runs: Sequence[tuple[Mapping[str, int], Arrays]]) -> TensorSpec:
    first = runs[0][1][name]
    dims: list[int | str] = []
    for axis in range(first.ndim):
        seen = [outputs[name].shape[axis] for _, outputs in runs]
        equal = [
            a
            for a in runs[0][0]
            if all(sizes[a] == size for (sizes, _), size in zip(runs, seen, strict=True))
        ]
        if equal and (len(set(seen)) > 1 or (axis == 0 and equal == [BATCH])):
            dims.append(equal[0])
        else:
            dims.append(seen[0] if len(set(seen)) == 1 else f"{name}_{axis}")
    return TensorSpec(name, str(first.dtype), tuple(dims))

"""A source framed for an app: raw pixels go in, answers come out.

The framed source answers for pixels what the source answers for the scaled pixels, and gives
classes where the source gives scores. Every later stage sees only the framed model, so that
the added nodes are proved like all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import onnx

from edgedl.export import graph, samples
from edgedl.export.errors import SamplesError, SourceError
from edgedl.export.frames import AnswerOutput, PixelInput
from edgedl.export.framing_graph import SCALED, add_frames, factors
from edgedl.export.interface import DynamicAxis, Interface, clean_name
from edgedl.export.request import ExportRequest
from edgedl.export.sources import Conversion, KnowsSizes, Source
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import (
    Decision,
    ImageClassification,
    Task,
    TensorSpec,
    dynamic_axes,
)
from edgedl.runtime.resize import resize_axes

# How far from a whole pixel a float may lie, in pixels: the rounding of float32 leaves 3e-5.
OFF_GRID = 1e-3


@dataclass(frozen=True)
class FramedSource:
    """A source with pixels in and answers out; see `edgedl.export.sources.Source`.

    `scores` holds, for every answer, the scores behind it for one call.
    """

    inner: Source
    pixels: tuple[PixelInput, ...]
    wanted: tuple[TensorSpec, ...]
    answers: tuple[AnswerOutput, ...]
    scores: tuple[TensorSpec, ...]

    @property
    def framework(self) -> str:
        """The framework behind the frame."""
        return self.inner.framework

    @property
    def distributions(self) -> tuple[str, ...]:
        """Its distributions."""
        return self.inner.distributions

    @property
    def sizes(self) -> Mapping[str, int]:
        """Its dynamic axes' sizes, where it knows them."""
        return self.inner.sizes if isinstance(self.inner, KnowsSizes) else {}

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The outputs that give classes, and the scores that stay inside."""
        return tuple(
            Decision(a.names[-1], a.output, a.names[0] if a.kind == "top-k" else "")
            for a in self.answers
            if a.decides
        )

    def input_specs(
        self, samples: Arrays | None, dynamic: Sequence[DynamicAxis]
    ) -> tuple[TensorSpec, ...]:
        """The source's inputs, uint8 where pixels go in."""
        given = None if samples is None else self._scaled(self.as_pixels(samples, "the samples"))
        specs = self.inner.input_specs(given, dynamic)
        framed = {frame.input for frame in self.pixels}
        return tuple(TensorSpec(s.name, "uint8", s.shape) if s.name in framed else s for s in specs)

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """The source's answers; the scores behind them come last."""
        raw, values = self.inner.run(self._scaled(feeds))
        names: list[str] = []
        results: list[Array] = []
        hidden: list[tuple[str, Array]] = []
        by_name = {answer.output: answer for answer in self.answers}
        for name, value in zip(raw, values, strict=True):
            answer = by_name.get(clean_name(name))
            names += [name] if answer is None else answer.names
            results += [value] if answer is None else _decide(answer, value)
            if answer is not None and answer.decides:
                hidden.append((answer.output, value))
        return (*names, *(n for n, _ in hidden)), (*results, *(v for _, v in hidden))

    def conversions(self) -> tuple[Conversion, ...]:
        """The source's own, with the frame's nodes added."""
        return tuple(self._framed(way) for way in self.inner.conversions())

    def as_pixels(self, arrays: Arrays, origin: str) -> Arrays:
        """Samples as this source's inputs: floats that lie on the grid become pixels.

        Raises:
            SamplesError: One is no pixel.
        """
        frames = {frame.input: frame for frame in self.pixels}
        return {
            name: _as_pixels(array, frames[name], f"{origin}: {name!r}")
            if name in frames and np.issubdtype(array.dtype, np.floating)
            else array
            for name, array in arrays.items()
        }

    def _scaled(self, feeds: Arrays) -> Arrays:
        """What the source is asked: pixel * scale + offset, as the graph computes it."""
        scaled = dict(feeds)
        for frame, spec in zip(self.pixels, self.wanted, strict=True):
            if frame.input in feeds and feeds[frame.input].dtype == np.uint8:
                scale, offset = factors(frame, spec.dtype)
                product = feeds[frame.input].astype(spec.dtype) * scale
                scaled[frame.input] = product + offset if frame.offset else product
        return scaled

    def _framed(self, way: Conversion) -> Conversion:
        def convert(interface: Interface, example: Arrays, opset: int | None) -> onnx.ModelProto:
            inside = self._inside(interface)
            model = way.convert(inside, self._scaled(example), opset)
            framed = {frame.input for frame in self.pixels}
            renamed = tuple(
                TensorSpec(s.name + SCALED, s.dtype, s.shape) if s.name in framed else s
                for s in inside.inputs
            )
            model = graph.set_interface(model, replace(inside, inputs=renamed))
            specs = {s.name: s for s in inside.inputs}
            return add_frames(
                model,
                [(frame, specs[frame.input]) for frame in self.pixels],
                [(a, s.dtype) for a, s in zip(self.answers, self.scores, strict=True)],
            )

        return replace(way, convert=convert)

    def _inside(self, interface: Interface) -> Interface:
        """The interface of the source itself."""
        wanted = {f.input: s.dtype for f, s in zip(self.pixels, self.wanted, strict=True)}
        inputs = tuple(
            TensorSpec(s.name, wanted.get(s.name, s.dtype), s.shape) for s in interface.inputs
        )
        behind = {a.names[0]: (a, s) for a, s in zip(self.answers, self.scores, strict=True)}
        skipped = {a.names[1] for a in self.answers if len(a.names) > 1}
        outputs = tuple(
            _scores_spec(spec, *behind[spec.name]) if spec.name in behind else spec
            for spec in interface.outputs
            if spec.name not in skipped
        )
        return Interface(inputs, outputs, interface.state)


def frame(source: Source, request: ExportRequest) -> tuple[Source, ExportRequest]:
    """The source with the frame that is asked for, and a request whose task fits it.

    Raises:
        SourceError: The frame doesn't fit the source, or it isn't clear which tensor is meant.
        SamplesError: Samples that are no pixels.
    """
    if not request.pixels and not request.answers:
        return source, request
    arrays = samples.read_arrays(request.samples)[0] if request.samples else None
    specs = source.input_specs(arrays, request.dynamic)
    pixels = tuple(_find_input(p, specs) for p in request.pixels)
    _require_once("--input-uint8", [p.input for p in pixels])
    wanted = tuple(_wanted(p, specs) for p in pixels)
    framed = FramedSource(source, pixels, wanted, (), ())
    answers, scores = _find_outputs(framed, arrays, request)
    framed = replace(framed, answers=answers, scores=scores)
    task = _fit_task(request.task, pixels, answers)
    return framed, replace(request, task=task, pixels=pixels, answers=answers)


def as_pixels(source: Source, arrays: Arrays, origin: str) -> Arrays:
    """Samples as the source's inputs, whether it is framed or not."""
    return source.as_pixels(arrays, origin) if isinstance(source, FramedSource) else arrays


def decisions_of(source: Source) -> tuple[Decision, ...]:
    """The source's outputs that give classes; none where it isn't framed."""
    return source.decisions if isinstance(source, FramedSource) else ()


def _find_input(frame: PixelInput, specs: Sequence[TensorSpec]) -> PixelInput:
    fitting = [s.name for s in specs if s.dtype == "uint8" or s.dtype.startswith("float")]
    wanted = [frame.input] if frame.input else fitting
    if len(wanted) != 1 or wanted[0] not in fitting:
        raise SourceError(
            "--input-uint8: there is no such input"
            if frame.input
            else f"--input-uint8: {len(fitting)} inputs could take pixels",
            "name one: INPUT:scale=1/255; inputs: " + "; ".join(str(s) for s in specs),
        )
    return replace(frame, input=wanted[0])


def _require_once(option: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SourceError(f"{option}: {name} is given twice", f"leave out one {option}")


def _wanted(frame: PixelInput, specs: Sequence[TensorSpec]) -> TensorSpec:
    """The input as the source wants it; samples of pixels don't say, and float32 is usual."""
    spec = next(s for s in specs if s.name == frame.input)
    return spec if spec.dtype != "uint8" else TensorSpec(spec.name, "float32", spec.shape)


def _find_outputs(
    framed: FramedSource, arrays: Arrays | None, request: ExportRequest
) -> tuple[tuple[AnswerOutput, ...], tuple[TensorSpec, ...]]:
    """The answers' outputs by name, and their scores' dtypes and shapes from one call."""
    if not request.answers:
        return (), ()
    specs = framed.input_specs(arrays, request.dynamic)
    given = (
        samples.generate(specs, framed.sizes)
        if arrays is None
        else framed.as_pixels(arrays, "the samples")
    )
    samples.check_samples(given, specs, str(request.samples))
    one = resize_axes(
        {s.name: given[s.name] for s in specs}, specs, dict.fromkeys(dynamic_axes(specs), 1)
    )
    raw, values = framed.run(one)
    state = {s.name for s in specs}
    scores = {
        name: TensorSpec(name, str(value.dtype), value.shape)
        for name, value in zip(map(clean_name, raw), values, strict=True)
        if name not in state
        and np.issubdtype(value.dtype, np.floating)
        and value.ndim > 0
        and value.shape[-1] > 1
    }
    answers = tuple(_find_output(a, scores) for a in request.answers)
    _require_once("--output", [a.output for a in answers])
    return answers, tuple(scores[a.output] for a in answers)


def _find_output(answer: AnswerOutput, scores: dict[str, TensorSpec]) -> AnswerOutput:
    wanted = [answer.output] if answer.output else list(scores)
    if len(wanted) != 1 or wanted[0] not in scores:
        raise SourceError(
            f"--output {answer.output or answer.kind}: "
            + ("it is no output with scores" if answer.output else f"{len(scores)} have scores"),
            "name one: OUTPUT:argmax; outputs with scores: " + ("; ".join(scores) or "none"),
        )
    classes = scores[wanted[0]].shape[-1]
    if isinstance(classes, int) and answer.count > classes:
        raise SourceError(
            f"--output top-{answer.count}: {wanted[0]!r} has {classes} classes",
            f"give top-{classes} at most",
        )
    return replace(answer, output=wanted[0])


def _fit_task(
    task: Task | None, pixels: Sequence[PixelInput], answers: Sequence[AnswerOutput]
) -> Task | None:
    """The task as it is around the frame: pixels need no scaling, the output has a new name."""
    if task is None:
        return None
    answer = next((a for a in answers if a.output == task.output), None)
    if not isinstance(task, ImageClassification):
        if answer is not None:
            raise SamplesError(
                f"--output {answer.kind} takes away the logits that text is drawn from",
                "leave out --output, or --task",
            )
        return task
    if any(frame.input == task.input for frame in pixels):
        task = msgspec.structs.replace(task, scale=1.0, offset=0.0)
    if answer is not None:
        task = msgspec.structs.replace(task, output=answer.names[-1])
    return task


def _decide(answer: AnswerOutput, scores: Array) -> list[Array]:
    """The answer in NumPy, as ONNX defines it: of equals, the first class."""
    if answer.kind == "argmax":
        return [np.asarray(np.argmax(scores, -1), np.int64)]
    if answer.kind == "softmax":
        grown = np.exp(scores - scores.max(-1, keepdims=True))
        return [np.asarray(grown / grown.sum(-1, keepdims=True), scores.dtype)]
    order = np.argsort(-scores, axis=-1, kind="stable")[..., : answer.count]
    return [np.take_along_axis(scores, order, -1), np.asarray(order, np.int64)]


def _scores_spec(spec: TensorSpec, answer: AnswerOutput, scores: TensorSpec) -> TensorSpec:
    """The scores behind an answer's first output."""
    leading = spec.shape if answer.kind == "argmax" else spec.shape[:-1]
    return TensorSpec(answer.output, scores.dtype, (*leading, scores.shape[-1]))


def _as_pixels(array: Array, frame: PixelInput, where: str) -> Array:
    exact = (array.astype(np.float64) - float(frame.offset)) / float(frame.scale)
    pixels = np.rint(exact)
    off = np.abs(exact - pixels)
    if (
        not np.isfinite(exact).all()
        or off.max() > OFF_GRID
        or pixels.min() < 0
        or (pixels.max() > 255)
    ):
        raise SamplesError(
            f"{where} holds values that are no pixel * {frame.scale} + {frame.offset}",
            "give uint8 pixels, or another scale and offset",
        )
    return pixels.astype(np.uint8)

"""From the source to a verified float model: the first conversion that answers rightly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from edgedl.export import graph
from edgedl.export.axes import advice, pinned_axes
from edgedl.export.errors import BakedAxisError, ConversionError
from edgedl.export.request import DEFAULT_OPSET, ExportRequest
from edgedl.export.sources import Conversion
from edgedl.export.stages import FLOAT_TOLERANCE, StageReport, Stopwatch, Tell, runner
from edgedl.export.study import Study
from edgedl.runtime.errors import EdgedlError, EngineError, ParityError
from edgedl.runtime.manifest import OutputParity


@dataclass(frozen=True)
class FloatModel:
    """The verified float model, and how it came to be.

    `passes` are those applied, in their order: `{"pass", "detail"}`; `passes_rejected` those
    whose result was not used: `{"pass", "reason"}`.
    """

    model: onnx.ModelProto
    conversion: dict[str, Any]
    simplified: str
    passes: tuple[dict[str, str], ...] = ()
    passes_rejected: tuple[dict[str, str], ...] = ()


def convert(study: Study, request: ExportRequest, tell: Tell) -> FloatModel:
    """The first conversion whose result agrees with the source at every size.

    Raises:
        ParityError: Some conversion runs, but none agrees.
        ConversionError: None runs.
    """
    opset = _opset(request)
    rejected: list[Rejected] = []
    for way in study.source.conversions():
        watch = Stopwatch()
        try:
            model, outputs = _try_conversion(way, study, opset, request.min_ort)
        except (ConversionError, EngineError, ParityError) as error:
            rejected.append(_reject(way, error))
            tell(StageReport("convert", f"{way.name} rejected: {error.message}", watch.lap()))
            continue
        caution = _caution(rejected)
        said = f"{way.name}; {caution}" if caution else way.name
        tell(StageReport("convert", said, watch.lap(), outputs))
        history = {
            "path": way.name,
            "why": way.why,
            "caution": caution,
            "rejected": [{"path": r.path, "reason": r.reason} for r in rejected],
        }
        return FloatModel(model, history, "no")
    raise _failure(rejected, study)


# torch.export's word for `if x.max() > 1`: a decision that hangs on values, not on shapes.
ON_VALUES = "data-dependent"


@dataclass(frozen=True)
class Rejected:
    """A path that was not taken: why, and the axes that it pins to the example's size."""

    path: str
    reason: str
    pinned: tuple[str, ...]
    wrong: bool


def _reject(way: Conversion, error: EdgedlError) -> Rejected:
    pinned = error.axes if isinstance(error, BakedAxisError) else ()
    wrong = isinstance(error, ParityError) or isinstance(error.__cause__, ParityError)
    return Rejected(way.name, error.message, pinned, wrong)


def _caution(rejected: list[Rejected]) -> str:
    """What golden vectors can't show: they may all take the same side of a decision.

    A path that traces one example fixes the side that the example takes.
    """
    if not any(ON_VALUES in r.reason for r in rejected):
        return ""
    return "the source decides by values, and what the samples decide may be fixed in this model"


def _failure(rejected: list[Rejected], study: Study) -> EdgedlError:
    """No path converts; where each pins an axis, that axis can't move."""
    reasons = "; ".join(f"{r.path}: {r.reason}" for r in rejected)
    kind = ParityError if any(r.wrong for r in rejected) else ConversionError
    pinned = [a for a in study.interface.axes if all(a in r.pinned for r in rejected)]
    # Paths may pin different axes; with all of them fixed the likeliest path converts.
    pinned = pinned or next((list(r.pinned) for r in rejected if r.pinned), [])
    if not pinned:
        return kind(f"conversion failed: {reasons}", "nothing was written")
    named = " and ".join(repr(axis) for axis in pinned)
    return kind(
        f"axis {named} can't move in the converted model: {reasons}",
        f"{advice(pinned, study.interface.inputs)}; nothing was written",
    )


def _opset(request: ExportRequest) -> int | None:
    """The opset asked for, or the latest that --min-ort reads where the usual one is later."""
    if request.opset is not None or request.min_ort is None:
        return request.opset
    latest = graph.latest_opset(request.min_ort)
    return latest if latest < DEFAULT_OPSET else None


def _try_conversion(
    way: Conversion, study: Study, opset: int | None, min_ort: str | None
) -> tuple[onnx.ModelProto, tuple[OutputParity, ...]]:
    model = way.convert(study.interface, study.example, opset)
    model = graph.conform(model, study.interface)
    graph.require_readable(model, min_ort)
    bad = graph.has_bad_weights(model)
    if bad:
        raise ConversionError(f"weight {bad!r} holds NaN")
    run = runner(model, study.interface)
    try:
        return model, study.reference.require("convert", run, FLOAT_TOLERANCE)
    except (EngineError, ParityError) as error:
        pinned = pinned_axes(run, study.reference)
        if pinned:
            raise BakedAxisError(pinned, error.message) from error
        raise

"""From the source to a verified float model: the first conversion that answers rightly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from edgedl.export import graph
from edgedl.export.errors import ConversionError
from edgedl.export.request import DEFAULT_OPSET, ExportRequest
from edgedl.export.sources import Conversion
from edgedl.export.stages import FLOAT_TOLERANCE, StageReport, Stopwatch, Tell, runner
from edgedl.export.study import Study
from edgedl.runtime.errors import EngineError, ParityError
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
    rejected: list[dict[str, str]] = []
    wrong = False
    for way in study.source.conversions():
        watch = Stopwatch()
        try:
            model, outputs = _try_conversion(way, study, opset, request.min_ort)
        except (ConversionError, EngineError, ParityError) as error:
            wrong |= isinstance(error, ParityError)
            rejected.append({"path": way.name, "reason": error.message})
            tell(StageReport("convert", f"{way.name} rejected: {error.message}", watch.lap()))
            continue
        tell(StageReport("convert", way.name, watch.lap(), outputs))
        history = {"path": way.name, "why": way.why, "rejected": rejected}
        return FloatModel(model, history, "no")
    reasons = "; ".join(f"{r['path']}: {r['reason']}" for r in rejected)
    kind = ParityError if wrong else ConversionError
    raise kind(f"conversion failed: {reasons}", "nothing was written")


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
    return model, study.reference.require("convert", run, FLOAT_TOLERANCE)

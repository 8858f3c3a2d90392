"""Graph rewrites on the verified float model, each compared before and after."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgedl.export import graph
from edgedl.export.convert import FloatModel
from edgedl.export.errors import ConversionError
from edgedl.export.passes.simplify import simplify
from edgedl.export.stages import FLOAT_TOLERANCE, StageReport, Stopwatch, Tell, runner
from edgedl.export.study import Study
from edgedl.runtime.errors import EngineError, ParityError
from edgedl.runtime.manifest import OutputParity
from edgedl.runtime.parity import failures


def simplify_checked(model: FloatModel, study: Study, scratch: Path, tell: Tell) -> FloatModel:
    """The simplified model where it answers what the model before it answered."""
    watch = Stopwatch()
    result = simplify(model.model, scratch)
    reason = result.reason
    if result.model is not None:
        try:
            simpler = graph.conform(result.model, study.interface)
            outputs = _compare_simplified(simpler, model.model, study)
        except (ConversionError, EngineError, ParityError) as error:
            reason = error.message
        else:
            before, after = len(model.model.graph.node), len(simpler.graph.node)
            tell(StageReport("simplify", f"{before} -> {after} nodes", watch.lap(), outputs))
            return FloatModel(simpler, model.conversion, "onnxsim")
    tell(StageReport("simplify", f"not used: {reason}", watch.lap()))
    return FloatModel(model.model, model.conversion, f"not used: {reason}")


def _compare_simplified(
    simpler: onnx.ModelProto, before: onnx.ModelProto, study: Study
) -> tuple[OutputParity, ...]:
    """Parity with the model before it, then with the source."""
    run = runner(simpler, study.interface)
    answers = study.reference.answered_by(runner(before, study.interface))
    failed = failures(answers.compare(run, FLOAT_TOLERANCE))
    if failed:
        raise ParityError(f"differs from the model before it: {'; '.join(failed)}")
    return study.reference.require("simplify", run, FLOAT_TOLERANCE)

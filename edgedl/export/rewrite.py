"""Graph rewrites on the verified float model, each compared before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from edgedl.export import graph
from edgedl.export.convert import FloatModel
from edgedl.export.errors import ConversionError
from edgedl.export.locate import blame
from edgedl.export.passes import PASSES, PassResult
from edgedl.export.passes.simplify import simplify
from edgedl.export.stages import FLOAT_TOLERANCE, Reference, StageReport, Stopwatch, Tell, runner
from edgedl.export.study import Study
from edgedl.runtime.errors import EngineError, ParityError
from edgedl.runtime.manifest import OutputParity
from edgedl.runtime.parity import failures

Pass = Callable[[onnx.ModelProto], PassResult]


def simplify_checked(model: FloatModel, study: Study, scratch: Path, tell: Tell) -> FloatModel:
    """The simplified model where it answers what the model before it answered."""
    watch = Stopwatch()
    result = simplify(model.model, scratch)
    reason = result.reason
    if result.model is not None:
        try:
            simpler = graph.conform(result.model, study.interface)
            outputs = _compare(
                simpler, model.model, _answers(model.model, study), study, "simplify"
            )
        except (ConversionError, EngineError, ParityError) as error:
            reason = error.message
        else:
            before, after = len(model.model.graph.node), len(simpler.graph.node)
            tell(StageReport("simplify", f"{before} -> {after} nodes", watch.lap(), outputs))
            return replace(model, model=simpler, simplified="onnxsim")
    tell(StageReport("simplify", f"not used: {reason}", watch.lap()))
    return replace(model, simplified=f"not used: {reason}")


def apply_passes(
    model: FloatModel, study: Study, tell: Tell, passes: Mapping[str, Pass] = PASSES
) -> FloatModel:
    """Every pass that finds something to do, where its result answers what the model did.

    One whose result differs, or can't be run, is left out with the reason.
    """
    answers: Reference | None = None
    current, applied, rejected = model.model, list(model.passes), list(model.passes_rejected)
    for name, run in passes.items():
        watch = Stopwatch()
        result = run(current)
        if not result.changed:
            continue
        answers = answers or _answers(model.model, study)
        try:
            changed = graph.conform(result.model, study.interface)
            outputs = _compare(changed, current, answers, study, name)
        except (ConversionError, EngineError, ParityError) as error:
            rejected.append({"pass": name, "reason": error.message})
            tell(StageReport(name, f"not used: {error.message}", watch.lap()))
            continue
        current = changed
        applied.append({"pass": name, "detail": result.detail})
        tell(StageReport(name, result.detail, watch.lap(), outputs))
    return replace(model, model=current, passes=tuple(applied), passes_rejected=tuple(rejected))


def _answers(before: onnx.ModelProto, study: Study) -> Reference:
    """The golden vectors' inputs with a model's own answers."""
    return study.reference.answered_by(runner(before, study.interface))


def _compare(
    changed: onnx.ModelProto,
    before: onnx.ModelProto,
    answers: Reference,
    study: Study,
    stage: str,
) -> tuple[OutputParity, ...]:
    """Parity with the model before it, then with the source."""
    run = runner(changed, study.interface)
    failed = failures(answers.compare(run, FLOAT_TOLERANCE))
    if failed:
        where = blame(before, changed, study.example, study.interface.inputs, FLOAT_TOLERANCE)
        raise ParityError(f"differs from the model before it: {'; '.join(failed)}{where}")
    return study.reference.require(stage, run, FLOAT_TOLERANCE)

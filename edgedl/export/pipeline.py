"""export(): a trained model in, a verified bundle out. Nothing unverified is written."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edgedl.export import graph
from edgedl.export.errors import ConversionError, RecipeError
from edgedl.export.manifest import Made, describe_variant, write
from edgedl.export.passes.simplify import simplify
from edgedl.export.recipes import RECIPES, Material, Recipe
from edgedl.export.request import DEFAULT_OPSET, ExportRequest
from edgedl.export.samples import GENERATED
from edgedl.export.sources import Conversion, open_source
from edgedl.export.stages import FLOAT_TOLERANCE, StageReport, Stopwatch, Tell, runner
from edgedl.export.study import Study, study_source
from edgedl.export.write import check_target
from edgedl.runtime.bundle import Bundle
from edgedl.runtime.errors import EngineError, ParityError
from edgedl.runtime.manifest import OutputParity, Tolerance
from edgedl.runtime.parity import failures
from edgedl.runtime.quality import over_budget

# A quantised output whose noise is above a thirtieth of its signal's power is broken,
# not rounded: 8 bits over a well-set range leave 30 to 45 dB.
LEAST_SQNR_DB = 15.0


@dataclass(frozen=True)
class FloatModel:
    """The verified float model, and how it came to be."""

    model: onnx.ModelProto
    conversion: dict[str, Any]
    simplified: str


def export(request: ExportRequest, tell: Tell = lambda report: None) -> Bundle:
    """Convert, simplify, quantise and prove; then write the bundle.

    Args:
        request: What to export and how.
        tell: Called after every stage.

    Returns:
        The bundle that was written.

    Raises:
        EdgedlError: Something the person can act on; ParityError where a stage's outputs
            left their tolerance or a recipe its budget. Nothing is written then.
    """
    watch = Stopwatch()
    check_target(request.output, request.force)
    check_names(request.recipes)
    source = open_source(request.source, request.weights)
    study = study_source(source, request)
    tell(StageReport(source.framework, _describe(study), watch.lap()))
    with tempfile.TemporaryDirectory(prefix="edgedl-") as scratch:
        model = convert(study, request, tell)
        if request.simplify:
            model = simplify_checked(model, study, Path(scratch), tell)
        material = Material(model.model, study.calibration, Path(scratch))
        made = [
            make_variant(recipe, material, study, request, tell)
            for recipe in choose_recipes(request.recipes, material, tell)
        ]
    history = {"conversion": model.conversion, "simplified": model.simplified}
    return write(request, study, made, history)


def _describe(study: Study) -> str:
    cases = f"{len(study.reference.golden)} golden cases, {study.given.count} samples"
    if study.given.origin == GENERATED:
        return f"{cases} made up from the inputs' shapes; quantisation needs real --samples"
    return f"{cases} from {study.given.origin}"


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
        raise ConversionError(f"weight {bad!r} holds NaN or infinite values")
    run = runner(model, study.interface)
    return model, study.reference.require("convert", run, FLOAT_TOLERANCE)


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


def check_names(names: Sequence[str]) -> None:
    """Refuse unknown recipes before any work is done."""
    for name in names:
        if name not in RECIPES:
            raise RecipeError(f"unknown recipe {name!r}", f"recipes: {', '.join(RECIPES)}")


def choose_recipes(names: Sequence[str], material: Material, tell: Tell) -> list[Recipe]:
    """The named recipes, or every one that fits.

    Raises:
        RecipeError: A named recipe doesn't fit the model.
    """
    for name in names:
        obstacle = RECIPES[name].obstacle(material)
        if obstacle:
            raise RecipeError(f"{name} can't be made: {obstacle}", "leave this recipe out")
    if names:
        return [RECIPES[name] for name in dict.fromkeys(names)]
    fitting = []
    for recipe in RECIPES.values():
        obstacle = recipe.obstacle(material)
        if obstacle:
            tell(StageReport(recipe.name, f"left out: {obstacle}", 0.0))
        else:
            fitting.append(recipe)
    return fitting


def make_variant(
    recipe: Recipe, material: Material, study: Study, request: ExportRequest, tell: Tell
) -> Made:
    """Make a variant and hold it to its tolerance and budget.

    Raises:
        ParityError: It left its tolerance or exceeded the budget.
    """
    watch = Stopwatch()
    product = recipe.make(material)
    model = graph.conform(product.model, study.interface)
    graph.require_readable(model, request.min_ort)
    if recipe.quantised and not graph.is_quantised(model):
        raise RecipeError(f"{recipe.name} quantised nothing in this model", "leave it out")
    tolerance = (
        Tolerance(min_sqnr_db=LEAST_SQNR_DB, max_drop=request.max_drop)
        if recipe.quantised
        else FLOAT_TOLERANCE
    )
    run = runner(model, study.interface)
    outputs = study.reference.require(recipe.name, run, tolerance)
    quality, travelling = study.judge.quality(run, study.interface)
    exceeded = over_budget(quality, tolerance) or over_budget(travelling, tolerance)
    if exceeded:
        raise ParityError(
            f"{recipe.name} is over its budget: {exceeded}",
            "allow more with --max-drop, or leave this recipe out; nothing was written",
        )
    tell(StageReport(recipe.name, "made", watch.lap(), outputs, quality))
    return describe_variant(
        recipe.name, model, product.settings, tolerance, outputs, quality, travelling
    )

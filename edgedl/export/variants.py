"""Variants: the recipes that fit, each made and held to its tolerance and budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx

from edgedl.export import graph
from edgedl.export.errors import ConversionError, NothingGainedError, RecipeError
from edgedl.export.judgement import Verdict
from edgedl.export.locate import blame
from edgedl.export.manifest import Made, describe_variant
from edgedl.export.recipes import RECIPES, Material, Recipe, find_recipe
from edgedl.export.request import AUTO, ExportRequest
from edgedl.export.stages import StageReport, Stopwatch, Tell, disagreement
from edgedl.export.unquantised import unquantised
from edgedl.runtime.errors import EngineError, ParityError
from edgedl.runtime.golden import largest_call

ALL = "all"


def check_names(names: Sequence[str]) -> None:
    """Refuse unknown recipes before any work is done."""
    if ALL in names and AUTO in names:
        raise RecipeError(f"{ALL} and {AUTO} contradict each other", f"{AUTO} tries them all")
    for name in names:
        if name not in (ALL, AUTO):
            find_recipe(name)


@dataclass(frozen=True)
class LeftOut:
    """A recipe without a variant; `made` is False where it doesn't fit the model."""

    recipe: str
    made: bool
    reason: str


def make_variants(
    material: Material, request: ExportRequest, tell: Tell
) -> tuple[list[Made], list[LeftOut]]:
    """Every variant asked for.

    A recipe that was named must succeed. Where none was, or `all` were, one that leaves its
    tolerance or its budget is left out with the reason; the float model must always hold.

    Returns:
        The variants, and the recipes that were left out.

    Raises:
        RecipeError: A named recipe doesn't fit the model.
        ParityError: A named recipe left its tolerance or exceeded the budget.
    """
    named = [name for name in dict.fromkeys(request.recipes) if name != ALL]
    made = [make_variant(_fitting(name, material), material, request, tell) for name in named]
    rejected: list[LeftOut] = []
    if named and ALL not in request.recipes:
        return made, rejected
    for recipe in RECIPES.values():
        if recipe.name in named or not (recipe.usual or ALL in request.recipes):
            continue
        watch = Stopwatch()
        fits = True
        try:
            made.append(_unlike(made, make_variant(recipe, material, request, tell)))
            continue
        except NothingGainedError as error:
            fits, reason = False, error.message
        except (ConversionError, RecipeError, EngineError, ParityError) as error:
            if not recipe.quantised:
                raise
            reason = error.message
        rejected.append(LeftOut(recipe.name, fits, reason))
        tell(StageReport(recipe.name, f"left out: {reason}", watch.lap()))
    return made, rejected


def _unlike(made: Sequence[Made], variant: Made) -> Made:
    """The variant, unless another has the same content."""
    for other in made:
        if other.content == variant.content:
            raise NothingGainedError(f"comes out the same as {other.variant.name}")
    return variant


def _fitting(name: str, material: Material) -> Recipe:
    recipe = find_recipe(name)
    obstacle = recipe.obstacle(material)
    if obstacle:
        raise RecipeError(f"{name} can't be made: {obstacle}", "leave this recipe out")
    return recipe


def make_variant(recipe: Recipe, material: Material, request: ExportRequest, tell: Tell) -> Made:
    """Make a variant and hold it to its tolerance and budget.

    Raises:
        ParityError: It left its tolerance or exceeded the budget.
    """
    watch = Stopwatch()
    made, verdict = judge_variant(recipe, material, request)
    if verdict.disagreement:
        raise disagreement(recipe.name, verdict.disagreement + _blame(made, material))
    if verdict.exceeded:
        raise ParityError(
            f"{recipe.name} is over its budget: {verdict.exceeded}",
            "allow more with --max-drop, or leave this recipe out; nothing was written",
        )
    tell(StageReport(recipe.name, "made", watch.lap(), verdict.outputs, verdict.quality))
    return made


def _blame(made: Made, material: Material) -> str:
    """The first node that breaks, in words."""
    reference = material.judgement.reference
    return blame(
        material.model,
        onnx.load_model_from_string(made.content),
        largest_call(reference.golden).inputs,
        reference.interface.inputs,
        made.variant.tolerance,
    )


def judge_variant(
    recipe: Recipe, material: Material, request: ExportRequest
) -> tuple[Made, Verdict]:
    """Make a variant and judge it, whatever the verdict.

    Raises:
        NothingGainedError: It doesn't fit the model, or changes nothing in it.
        RecipeError: It can't be made.
        ConversionError: What was made is not valid, or needs a newer runtime than asked for.
        EngineError: ONNX Runtime can't load or run it.
    """
    obstacle = recipe.obstacle(material)
    if obstacle:
        raise NothingGainedError(obstacle, "leave this recipe out")
    judgement = material.judgement
    least = recipe.least_sqnr_db
    if least is not None:
        material = replace(material, least_sqnr_db=least)
    product = recipe.make(material)
    model = graph.conform(product.model, judgement.interface)
    graph.require_readable(model, request.min_ort)
    if recipe.quantised and graph.is_as_large(model, material.model):
        raise NothingGainedError(f"{recipe.name} changes nothing in this model", "leave it out")
    tolerance = judgement.tolerance(least)
    verdict = judgement.judge(model, tolerance)
    left = unquantised(product.start or material.model, product)
    return describe_variant(recipe.name, model, product, tolerance, verdict, left), verdict

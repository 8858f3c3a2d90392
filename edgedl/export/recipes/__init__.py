"""Recipes: how a variant is made. One file per recipe, one line in the table.

Beside them stands what several share: calibration and its ranges, projections, lstm, nbits.
Recipes compose: `a+b` makes b from what a made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import onnx

from edgedl.export.errors import NothingGainedError, RecipeError
from edgedl.export.judgement import LEAST_SQNR_DB
from edgedl.export.recipes import (
    fp16,
    fp32,
    int4_weights,
    int8_dynamic,
    int8_static,
    int8_weights,
    low_rank,
    mixed,
    pruned,
)
from edgedl.export.recipes.material import Material, Product
from edgedl.export.surgery import prepared

__all__ = ["RECIPES", "Material", "Product", "Recipe", "find_recipe"]

# Half precision rounds to 11 bits, 66 dB under the value it rounds; sums of such errors
# leave 50 dB unless something overflowed or vanished.
FP16_SQNR_DB = 50.0


@dataclass(frozen=True)
class Recipe:
    """A recipe: whether it fits a model, and how it is made.

    `obstacle` says why the recipe can't be made from a model; empty where it can. A variant
    is held to `least_sqnr_db` and a budget; to the source element by element where it is
    None. The usual ones are made where none is named. One that `composes` leaves float work
    for another recipe: a search tries others after it. Those with the same `obstacle` are kinds
    of one thing.
    """

    name: str
    least_sqnr_db: float | None
    obstacle: Callable[[Material], str]
    make: Callable[[Material], Product]
    usual: bool = False
    composes: bool = False

    @property
    def quantised(self) -> bool:
        """Whether the variant answers otherwise than the float model."""
        return self.least_sqnr_db is not None


_Q = LEAST_SQNR_DB
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("fp32", None, fp32.obstacle, fp32.make, usual=True),
        Recipe("fp16", FP16_SQNR_DB, fp16.obstacle, fp16.make),
        Recipe("int8-dynamic", _Q, int8_dynamic.obstacle, int8_dynamic.make, usual=True),
        Recipe("int8-static", _Q, int8_static.obstacle, int8_static.make, usual=True),
        Recipe("int8-static-percentile", _Q, int8_static.obstacle, int8_static.make_percentile),
        Recipe("int8-static-entropy", _Q, int8_static.obstacle, int8_static.make_entropy),
        Recipe("int8-weights", _Q, int8_weights.obstacle, int8_weights.make),
        Recipe("int4-weights", _Q, int4_weights.obstacle, int4_weights.make),
        Recipe("pruned", _Q, pruned.obstacle, pruned.make, composes=True),
        Recipe("pruned-close", _Q, pruned.obstacle, pruned.make_close, composes=True),
        Recipe("low-rank", _Q, low_rank.obstacle, low_rank.make, composes=True),
        Recipe("mixed", _Q, mixed.obstacle, mixed.make),
    )
}


def find_recipe(name: str) -> Recipe:
    """A recipe of the table, or several composed: `low-rank+int8-dynamic`.

    Raises:
        RecipeError: A part of the name is no recipe.
    """
    parts = name.split("+")
    for part in parts:
        if part not in RECIPES:
            raise RecipeError(f"unknown recipe {part!r}", f"recipes: {', '.join(RECIPES)}")
    return reduce(_compose, (RECIPES[part] for part in parts))


def _compose(first: Recipe, second: Recipe) -> Recipe:
    """The second recipe made from what the first one makes.

    Where the first searches, its candidates are judged with the second one on top.
    """
    least = min((r.least_sqnr_db for r in (first, second) if r.least_sqnr_db), default=None)

    def make(material: Material) -> Product:
        def finish(model: onnx.ModelProto) -> onnx.ModelProto:
            return material.finish(_follow(second, first, material, model).model)

        begun = first.make(replace(material, finish=finish))
        between = prepared(begun.model)
        done = _follow(second, first, material, between)
        settings = {first.name: begun.settings, second.name: done.settings}
        return replace(done, settings=settings, start=done.start or between)

    def obstacle(material: Material) -> str:
        return first.obstacle(material) or second.obstacle(material)

    return Recipe(f"{first.name}+{second.name}", least, obstacle, make)


def _follow(second: Recipe, first: Recipe, material: Material, model: onnx.ModelProto) -> Product:
    between = replace(material, model=prepared(model))
    obstacle = second.obstacle(between)
    if obstacle:
        raise RecipeError(
            f"{second.name} can't be made after {first.name}: {obstacle}",
            "compose others, or leave one of them out",
        )
    made = second.make(between)
    if second.quantised and _wiring(made.model) == _wiring(between.model):
        raise NothingGainedError(
            f"{second.name} changes nothing after {first.name}", f"leave out {second.name}"
        )
    return made


def _wiring(model: onnx.ModelProto) -> list[tuple[str, ...]]:
    """The nodes, whatever their order: a quantiser that does nothing may still sort them."""
    return sorted((n.domain, n.op_type, *n.input, "", *n.output) for n in model.graph.node)

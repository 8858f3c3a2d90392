"""Recipes: how a variant is made. One file per recipe, one line in the table.

Recipes compose: `a+b` makes b from what a made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

from edgedl.export.errors import RecipeError
from edgedl.export.recipes import fp32, int8_dynamic, int8_static
from edgedl.export.recipes.material import Material, Product

__all__ = ["RECIPES", "Material", "Product", "Recipe", "find_recipe"]


@dataclass(frozen=True)
class Recipe:
    """A recipe: whether it fits a model, and how it is made.

    `obstacle` says why the recipe can't be made from a model; empty where it can. A
    quantised one is held to SQNR and a budget, not element by element. The usual ones are
    made where none is named.
    """

    name: str
    quantised: bool
    obstacle: Callable[[Material], str]
    make: Callable[[Material], Product]
    usual: bool = False


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("fp32", False, fp32.obstacle, fp32.make, usual=True),
        Recipe("int8-dynamic", True, int8_dynamic.obstacle, int8_dynamic.make, usual=True),
        Recipe("int8-static", True, int8_static.obstacle, int8_static.make, usual=True),
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
    """The second recipe made from what the first one makes."""

    def make(material: Material) -> Product:
        begun = first.make(material)
        between = replace(material, model=begun.model)
        obstacle = second.obstacle(between)
        if obstacle:
            raise RecipeError(f"{second.name} can't be made after {first.name}: {obstacle}")
        done = second.make(between)
        return Product(done.model, {first.name: begun.settings, second.name: done.settings})

    name = f"{first.name}+{second.name}"
    return Recipe(name, first.quantised or second.quantised, first.obstacle, make)

"""Recipes: how a variant is made. One file per recipe, one line in the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgedl.export.recipes import fp32, int8_dynamic, int8_static
from edgedl.export.recipes.material import Material, Product

__all__ = ["RECIPES", "Material", "Product", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """A recipe: whether it fits a model, and how it is made.

    `obstacle` says why the recipe can't be made from a model; empty where it can.
    """

    name: str
    quantised: bool
    obstacle: Callable[[Material], str]
    make: Callable[[Material], Product]


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("fp32", False, fp32.obstacle, fp32.make),
        Recipe("int8-dynamic", True, int8_dynamic.obstacle, int8_dynamic.make),
        Recipe("int8-static", True, int8_static.obstacle, int8_static.make),
    )
}

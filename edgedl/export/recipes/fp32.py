"""fp32: the verified float model as it is."""

from __future__ import annotations

from edgedl.export.recipes.material import Material, Product


def obstacle(material: Material) -> str:
    """Every model can be kept in float."""
    del material
    return ""


def make(material: Material) -> Product:
    """The model itself."""
    return Product(material.model)

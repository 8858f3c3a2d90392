"""int4-weights: matrices in 4 bits, symmetric, blocks of 32; activations in float.

An eighth of the bytes and about 20 dB of noise in a product, so it fits models whose
matrices are large and whose answers are not narrow.
"""

from __future__ import annotations

from edgedl.export.recipes.material import RECURRENT, Material, Product
from edgedl.export.recipes.nbits import nbits_nodes
from edgedl.export.recipes.projections import PRODUCTS, minor, projections
from edgedl.export.releases import FOUR_BITS, reaches
from edgedl.export.surgery import rewritten

BITS = 4
BLOCK = 32
LEAVES = dict.fromkeys(
    ("Conv", "ConvTranspose", *RECURRENT, "Gather"),
    "no kernel takes 4-bit weights; int4-weights+int8-weights gives these 8 bits",
)
SMALL = "so small that 4 bits save nothing to speak of"


def obstacle(material: Material) -> str:
    """There must be a matrix."""
    if not reaches(material.min_ort, FOUR_BITS):
        return f"MatMulNBits needs onnxruntime {FOUR_BITS}; --min-ort is {material.min_ort}"
    if projections(material.model):
        return ""
    return f"the model has no MatMul or Gemm with a constant matrix{material.outside(*PRODUCTS)}"


def make(material: Material) -> Product:
    """Pack the matrix of every projection but the small ones."""
    found = projections(material.model)
    small = minor(found)
    replacements, added = {}, {}
    for projection in found:
        if projection.name not in small:
            nodes, weights = nbits_nodes(projection, BITS, BLOCK)
            replacements[projection.name] = nodes
            added.update(weights)
    model = rewritten(material.model, replacements, added)
    settings = {"weights": "int4", "block": BLOCK, "symmetric": True, "activations": "float32"}
    return Product(model, settings, LEAVES, dict.fromkeys(small, SMALL))

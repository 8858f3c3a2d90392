"""low-rank: matrices factored into two thin ones, their rank chosen by the budget.

`x @ W`, W (k, n), becomes `(x @ A) @ B` with A (k, r) and B (r, n): r * (k + n) weights. Of
all products of that rank, `A = W V`, `B = V'` with V the first r right singular vectors of
`x W` loses least of the layer's output on the calibration samples: the truncation of `x W`
itself, by Eckart and Young (1936). It is what whitening the activations before the SVD
comes to (DRONE, Chen et al., NeurIPS 2021; SVD-LLM, Wang et al., arXiv:2403.07378), without
inverting anything: V are the eigenvectors of the outputs' second moments, (n, n). Without
calibration samples V comes from W alone, the plain SVD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, helper

from edgedl.export.recipes.calibration import open_activations
from edgedl.export.recipes.material import Material, Product
from edgedl.export.recipes.projections import PRODUCTS, Projection, minor, projections
from edgedl.export.surgery import rewritten
from edgedl.runtime.golden import Array

# Shares of a layer's output energy that are given up, from the most to the least: every
# matrix takes the smallest rank that keeps the rest.
LOSSES = np.geomspace(0.5, 1e-5, 40)
# Ranks are multiples of the floats in a vector register, or of less in a small matrix.
STEP = 8
# A second moment of this many rows is 128 MiB.
MOST_ROWS = 4096


def obstacle(material: Material) -> str:
    """There must be a matrix that two thin ones can be smaller than."""
    if _candidates(material):
        return ""
    return f"no MatMul or Gemm has a matrix worth factoring{material.outside(*PRODUCTS)}"


def make(material: Material) -> Product:
    """The smallest factors that keep parity and the budget, found by bisection.

    Raises:
        NothingGainedError: No ranks that save weights do.
    """
    bases = _bases(material)
    ladder = _ladder(bases)
    ranks = material.first_passing(
        ladder,
        lambda step: factored(material.model, bases, step),
        "no rank that saves weights keeps the budget",
    )
    settings = {
        "ranks": {n: [*bases[n].projection.weight.shape, r] for n, r in ranks.items()},
        "weighted_by": "calibration" if material.calibration.count else "nothing",
        "calibration_samples": material.calibration.count,
    }
    asked = len(ladder).bit_length()
    return Product(factored(material.model, bases, ranks), settings, asked=asked)


@dataclass(frozen=True, eq=False)
class Basis:
    """A projection, the directions of its output by energy, and what is lost without them.

    `directions` is (n, m), m at most min(k, n); `lost[r]` is the share of the energy outside
    the first r.
    """

    projection: Projection
    directions: Array
    lost: Array

    def rank(self, loss: float) -> int:
        """The smallest rank that loses no more than a share; 0 where it saves no weights."""
        k, n = self.projection.weight.shape
        step = max(1, min(STEP, min(k, n) // 16))
        rank = -(-max(1, int(np.argmax(self.lost <= loss))) // step) * step
        return rank if rank * (k + n) < k * n else 0


def _candidates(material: Material) -> list[Projection]:
    found = projections(material.model)
    small = minor(found)
    return [p for p in found if p.name not in small and 1 < min(p.weight.shape) <= MOST_ROWS]


def _bases(material: Material) -> dict[str, Basis]:
    candidates = _candidates(material)
    if not material.calibration.count:
        return {p.name: _basis(p, p.weight.astype(np.float64)) for p in candidates}
    roots = second_moment_roots(material, candidates)
    return {p.name: _basis(p, roots[p.name]) for p in candidates}


def _basis(projection: Projection, root: Array) -> Basis:
    """From any matrix (m, n) whose second moments are those of the outputs."""
    _, values, directions = np.linalg.svd(root, full_matrices=False)
    energy = np.concatenate([[0.0], np.cumsum(values**2)])
    total = energy[-1] or 1.0
    return Basis(projection, directions.T, np.maximum(0.0, 1.0 - energy / total))


def second_moment_roots(material: Material, candidates: Sequence[Projection]) -> dict[str, Array]:
    """For each projection a matrix R with `R'R = sum of y'y` over the outputs y = x @ weight.

    Gathered batch by batch as the smaller of `y'y`, (n, n), and `x'x`, (k, k).
    """
    moments: dict[str, Array] = {}
    activations = open_activations(material.model)
    names = tuple(dict.fromkeys(p.input for p in candidates))
    for arrays in activations.stream(material.calibration, names):
        for p in candidates:
            rows = _finite(arrays[p.input].reshape(-1, p.weight.shape[0]))
            if _by_outputs(p):
                with np.errstate(over="ignore", invalid="ignore"):
                    rows = _finite(rows @ p.weight)
            rows = rows.astype(np.float64)
            moments[p.name] = moments.get(p.name, 0.0) + rows.T @ rows
    return {p.name: _output_root(p, moments[p.name]) for p in candidates}


def _finite(rows: Array) -> Array:
    """The rows without NaN and infinity: where a mask hides everything, there is no direction."""
    return rows[np.isfinite(rows).all(1)]


def _output_root(projection: Projection, moment: Array) -> Array:
    """R with R'R the outputs' second moments, from theirs or from the inputs'."""
    root = _root(moment)
    return root if _by_outputs(projection) else np.asarray(root @ projection.weight)


def _root(moment: Array) -> Array:
    """R with R'R the moment."""
    values, vectors = np.linalg.eigh(moment)
    return np.asarray(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)


def _by_outputs(projection: Projection) -> bool:
    k, n = projection.weight.shape
    return bool(n <= k)


def _ladder(bases: Mapping[str, Basis]) -> list[dict[str, int]]:
    """Ranks of the matrices worth factoring at each loss, different ones, most lost first."""
    steps: list[dict[str, int]] = []
    for loss in LOSSES:
        ranks = {name: rank for name, b in bases.items() if (rank := b.rank(float(loss)))}
        if ranks and ranks not in steps:
            steps.append(ranks)
    return steps


def factored(
    model: onnx.ModelProto, bases: Mapping[str, Basis], ranks: Mapping[str, int]
) -> onnx.ModelProto:
    """The model with these projections in two factors of these ranks."""
    replacements: dict[str, Sequence[NodeProto]] = {}
    added: dict[str, Array] = {}
    for name, rank in ranks.items():
        projection = bases[name].projection
        kept = bases[name].directions[:, :rank]
        left, right = f"{name}__left", f"{name}__right"
        nodes = [
            helper.make_node("MatMul", [projection.input, left], [f"{left}_product"], left),
            helper.make_node("MatMul", [f"{left}_product", right], [projection.product], right),
        ]
        replacements[name] = projection.products(nodes, projection.product)
        added[left] = (projection.weight.astype(np.float64) @ kept).astype(np.float32)
        added[right] = np.ascontiguousarray(kept.T).astype(np.float32)
    return rewritten(model, replacements, added)

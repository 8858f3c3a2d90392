"""low-rank: the factors are the best of their rank, and the budget chooses the rank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from edgedl.export.errors import RecipeError
from edgedl.export.recipes import find_recipe, low_rank
from edgedl.export.samples import Samples
from tests.export.fake_source import normal
from tests.export.layers import (
    OUT,
    RANK,
    ROWS,
    SCORES,
    SEQUENCE,
    STATES,
    VECTOR,
    WIDE,
    dense,
    material,
    recurrent,
    run,
    sqnr_db,
    thin,
)


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_a_matrix_of_small_rank_becomes_two_thin_ones(operator: str, tmp_path: Path) -> None:
    samples = normal(0, ROWS, WIDE)
    given = material(dense(thin(), operator), (VECTOR, SCORES), samples, tmp_path)
    product = find_recipe("low-rank").make(given)
    assert product.settings["ranks"] == {"dense": [WIDE, OUT, 8]}
    shapes = {i.name: tuple(i.dims) for i in product.model.graph.initializer}
    assert (WIDE, 8) in shapes.values()
    assert (8, OUT) in shapes.values()
    assert (WIDE, OUT) not in shapes.values()
    expected = run(given.model, given, samples)
    assert sqnr_db(run(product.model, given, samples), expected) > 30


def test_factors_lose_less_where_the_samples_are_than_a_plain_svd(tmp_path: Path) -> None:
    # The samples live in a few directions, which are not the matrix's largest.
    directions = normal(8, 10, WIDE)
    samples = (normal(9, ROWS, 10) @ directions).astype(np.float32)
    weight = normal(10, WIDE, OUT) / np.float32(10)
    given = material(dense(weight), (VECTOR, SCORES), samples, tmp_path)
    candidates = low_rank._candidates(given)
    root = low_rank.second_moment_roots(given, candidates)["dense"]
    weighted = {"dense": low_rank._basis(candidates[0], root)}
    plain = {"dense": low_rank._basis(candidates[0], weight.astype(np.float64))}
    expected = samples @ weight

    def noise(bases: dict[str, low_rank.Basis]) -> float:
        model = low_rank.factored(given.model, bases, {"dense": 8})
        return float(np.sum((run(model, given, samples) - expected) ** 2))

    assert noise(weighted) < 0.2 * noise(plain)
    # No matrix of rank 8 comes closer than the truncated SVD of the output itself.
    energy = np.linalg.svd((samples[: ROWS // 2] @ weight).astype(np.float64), compute_uv=False)
    half = samples[: ROWS // 2]
    model = low_rank.factored(given.model, weighted, {"dense": 8})
    lost = float(np.sum((run(model, given, half) - half @ weight) ** 2))
    assert lost == pytest.approx(float(np.sum(energy[8:] ** 2)), rel=1e-2)


def test_both_ways_to_the_second_moments_agree(tmp_path: Path) -> None:
    samples = normal(0, ROWS, WIDE)
    given = material(dense(thin()), (VECTOR, SCORES), samples, tmp_path)
    (projection,) = low_rank._candidates(given)
    half = samples[: ROWS // 2].astype(np.float64)
    by_inputs = low_rank._root(half.T @ half) @ projection.weight
    by_outputs = low_rank.second_moment_roots(given, [projection])["dense"]
    np.testing.assert_allclose(
        by_inputs.T @ by_inputs, by_outputs.T @ by_outputs, rtol=1e-3, atol=1e-2
    )


def test_a_tighter_budget_takes_a_larger_rank(tmp_path: Path) -> None:
    samples = normal(0, ROWS, WIDE)
    weight = (normal(1, WIDE, OUT) * np.geomspace(1, 1e-3, OUT)).astype(np.float32)
    ranks = []
    for least in (15.0, 30.0):
        given = material(
            dense(weight), (VECTOR, SCORES), samples, tmp_path, max_drop=50.0, least_sqnr_db=least
        )
        product = find_recipe("low-rank").make(given)
        assert given.passes(product.model)
        ranks.append(product.settings["ranks"]["dense"][2])
    assert ranks[0] < ranks[1]


def test_no_rank_that_saves_weights_is_said(tmp_path: Path) -> None:
    weight = np.linalg.qr(normal(1, WIDE, OUT))[0].astype(np.float32)
    given = material(dense(weight), (VECTOR, SCORES), normal(0, ROWS, WIDE), tmp_path, max_drop=0.0)
    with pytest.raises(RecipeError, match="no rank that saves weights"):
        find_recipe("low-rank").make(given)


def test_without_calibration_samples_the_matrix_alone_decides(tmp_path: Path) -> None:
    given = material(dense(thin()), (VECTOR, SCORES), normal(0, ROWS, WIDE), tmp_path)
    nothing = Samples({"x": np.zeros((0, WIDE), np.float32)}, (VECTOR,), "", "", empty=True)
    from dataclasses import replace

    product = find_recipe("low-rank").make(replace(given, calibration=nothing))
    assert product.settings["weighted_by"] == "nothing"
    assert product.settings["ranks"]["dense"][2] < 2 * RANK


def test_a_model_without_a_constant_matrix_is_refused(tmp_path: Path) -> None:
    given = material(recurrent(), (SEQUENCE, STATES), normal(0, 8, 5, 16), tmp_path)
    assert "no MatMul or Gemm" in find_recipe("low-rank").obstacle(given)


@pytest.mark.parametrize("second", ["int8-dynamic", "int8-static", "int4-weights"])
def test_the_rank_is_chosen_with_what_follows_on_top(second: str, tmp_path: Path) -> None:
    recipe = find_recipe(f"low-rank+{second}")
    given = material(
        dense(thin(noise=2e-2)), (VECTOR, SCORES), normal(0, ROWS, WIDE), tmp_path, max_drop=20.0
    )
    product = recipe.make(given)
    assert given.passes(product.model)
    assert set(product.settings) == {"low-rank", second}
    stored = [numpy_helper.to_array(i) for i in product.model.graph.initializer]
    assert not any(a.dtype == np.float32 and a.size >= WIDE * 8 for a in stored)

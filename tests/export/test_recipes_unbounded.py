"""Recipes on values without bound: masks' fillings, infinite weights, the least of floats."""

from __future__ import annotations

import math
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgedl.export.recipes import RECIPES, find_recipe, low_rank, mixed
from edgedl.export.recipes.ranges import Histogram
from edgedl.runtime.errors import EdgedlError
from tests.export.fake_source import model, normal
from tests.export.layers import OUT, ROWS, SCORES, VECTOR, WIDE, dense, material, thin

LEAST = float(np.finfo(np.float32).min)
NAMES = (*RECIPES, "low-rank+int8-dynamic")


def _masked(filling: float) -> onnx.ModelProto:
    """Two layers; of some rows the second sees nothing but the filling, and it isn't used."""
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["seen"], name="first"),
        helper.make_node("ReduceMax", ["x"], ["top"], name="top", axes=[1], keepdims=1),
        helper.make_node("Greater", ["top", "bound"], ["hidden"], name="hidden"),
        helper.make_node("Where", ["hidden", "filling", "seen"], ["filled"], name="fill"),
        helper.make_node("MatMul", ["filled", "second"], ["scores"], name="second"),
        helper.make_node("Where", ["hidden", "seen", "scores"], ["y"], name="clean"),
    ]
    constants = {
        "first": normal(1, WIDE, OUT) / np.float32(10),
        "second": normal(2, OUT, OUT) / np.float32(10),
        "bound": np.array(2.2, np.float32),
        "filling": np.array(filling, np.float32),
    }
    return model(nodes, {"x": VECTOR.shape}, {"y": SCORES.shape}, constants)


def _with_an_infinite_weight() -> onnx.ModelProto:
    """A layer with one, cut off afterwards, beside one without."""
    nodes = [
        helper.make_node("MatMul", ["x", "endless"], ["large"], name="endless"),
        helper.make_node("Min", ["large", "five"], ["cut"], name="cut"),
        helper.make_node("MatMul", ["x", "plain"], ["scores"], name="plain"),
        helper.make_node("Add", ["cut", "scores"], ["y"], name="sum"),
    ]
    constants = {
        "endless": normal(1, WIDE, OUT),
        "plain": thin(),
        "five": np.array(5, np.float32),
    }
    constants["endless"][0, 0] = np.inf
    return model(nodes, {"x": VECTOR.shape}, {"y": SCORES.shape}, constants)


def _make(name: str, graph: onnx.ModelProto, scratch: Path) -> None:
    """Make it or say in edgedl's own words why not; anything else is raised."""
    samples = np.abs(normal(0, ROWS, WIDE))
    given = material(graph, (VECTOR, SCORES), samples, scratch, max_drop=100.0)
    recipe = find_recipe(name)
    if not recipe.obstacle(given):
        with warnings.catch_warnings(), suppress(EdgedlError):
            warnings.simplefilter("error", RuntimeWarning)
            recipe.make(given)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("filling", [math.inf, -math.inf, math.nan, LEAST, 1e-45])
def test_what_fills_a_hidden_row_breaks_no_recipe(
    name: str, filling: float, tmp_path: Path
) -> None:
    _make(name, _masked(filling), tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_an_infinite_weight_breaks_no_recipe(name: str, tmp_path: Path) -> None:
    _make(name, _with_an_infinite_weight(), tmp_path)


def test_hidden_rows_leave_the_second_moments_as_they_are(tmp_path: Path) -> None:
    given = material(dense(thin()), (VECTOR, SCORES), normal(0, ROWS, WIDE), tmp_path)
    seen = given.calibration.arrays["x"]
    hidden = np.full((8, WIDE), -np.inf, np.float32)
    mixed_in = np.concatenate([seen[:20], hidden, seen[20:]])
    calibration = replace(given.calibration, arrays={"x": mixed_in})
    candidates = low_rank._candidates(given)
    (expected,), (found,) = (
        low_rank.second_moment_roots(m, candidates).values()
        for m in (given, replace(given, calibration=calibration))
    )
    np.testing.assert_allclose(found.T @ found, expected.T @ expected, rtol=1e-5, atol=1e-4)


def test_the_widest_floats_and_the_least_fall_into_bins() -> None:
    values = np.array([LEAST, -LEAST, 0.5], np.float32)
    for order in (values, values[::-1]):
        found = Histogram.empty()
        for value in order:
            found = found.plus(value[None])
        assert int(found.counts.sum()) == 3
        assert found.percentile() == (LEAST, -LEAST)
    assert int(Histogram.empty().plus(np.array([1e-45], np.float32)).counts.sum()) == 1


def test_a_node_that_makes_nan_is_the_worst_of_all() -> None:
    expected = {"y": np.array([1.0, 2.0, -np.inf], np.float32)}
    broken = {"y": np.array([1.0, np.nan, -np.inf], np.float32)}
    noisy = {"y": np.array([1.0, 2.1, -np.inf], np.float32)}
    assert mixed._worst_sqnr(broken, expected) == -math.inf
    assert 20 < mixed._worst_sqnr(noisy, expected) < 30
    assert mixed._worst_sqnr(expected, expected) == math.inf

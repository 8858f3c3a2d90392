"""mixed: what costs most returns to float, and no more than the budget asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgedl.export.errors import RecipeError
from edgedl.export.recipes import Material, find_recipe
from edgedl.export.recipes.material import Product
from edgedl.export.unquantised import unquantised
from tests.export.fake_source import model, normal
from tests.export.layers import (
    OUT,
    ROWS,
    SCORES,
    SEQUENCE,
    STATES,
    VECTOR,
    WIDE,
    dense,
    material,
    recurrent,
    thin,
)


def _fragile() -> onnx.ModelProto:
    """Two layers; the second subtracts numbers of which 8 bits can't tell the difference."""
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["hidden"], name="robust"),
        helper.make_node("Add", ["hidden", "shift"], ["large"], name="shifted"),
        helper.make_node("MatMul", ["large", "second"], ["y"], name="fragile"),
    ]
    second = normal(2, OUT, OUT)
    second -= second.mean(0)  # the shift cancels
    constants = {
        "first": normal(1, WIDE, OUT) / np.float32(10),
        "second": second.astype(np.float32),
        "shift": np.full(OUT, 200.0, np.float32),
    }
    return model(nodes, {"x": VECTOR.shape}, {"y": SCORES.shape}, constants)


def _make(graph: onnx.ModelProto, scratch: Path) -> tuple[Material, Product]:
    given = material(graph, (VECTOR, SCORES), normal(0, ROWS, WIDE), scratch, max_drop=30.0)
    return given, find_recipe("mixed").make(given)


def test_the_fragile_node_returns_to_float_and_the_robust_one_does_not(tmp_path: Path) -> None:
    given, product = _make(_fragile(), tmp_path)
    assert not given.passes(find_recipe("int8-static").make(given).model)
    assert given.passes(product.model)
    returned = product.settings["returned_to_float"]
    assert "fragile" in returned
    assert "robust" not in returned
    reasons = {u.node: u.reason for u in unquantised(given.model, product)}
    assert "returned to float: quantised alone it leaves" in reasons["fragile"]
    assert "robust" not in reasons


def test_where_int8_holds_nothing_returns(tmp_path: Path) -> None:
    given, product = _make(dense(thin()), tmp_path)
    assert product.settings["returned_to_float"] == []
    static = find_recipe("int8-static").make(given)
    assert product.model.SerializeToString() == static.model.SerializeToString()


def test_a_recurrent_model_is_mixed_over_the_dynamic_recipe(tmp_path: Path) -> None:
    given = material(recurrent(), (SEQUENCE, STATES), normal(0, 16, 5, 16), tmp_path, max_drop=30.0)
    product = find_recipe("mixed").make(given)
    assert "DynamicQuantizeLSTM" in {n.op_type for n in product.model.graph.node}


def test_a_budget_that_only_float_holds_is_said(tmp_path: Path) -> None:
    given = material(
        dense(normal(1, WIDE, OUT)), (VECTOR, SCORES), normal(0, ROWS, WIDE), tmp_path,
        least_sqnr_db=80.0,
    )  # fmt: skip
    with pytest.raises(RecipeError, match="every node in float only"):
        find_recipe("mixed").make(given)

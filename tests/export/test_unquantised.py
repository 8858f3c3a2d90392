"""What a variant leaves in float is listed with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedl.export.errors import RecipeError
from edgedl.export.recipes import RECIPES, find_recipe
from edgedl.export.unquantised import unquantised
from edgedl.runtime.manifest import TensorSpec
from tests.export.conftest import Export
from tests.export.fake_source import conv_source, model, normal
from tests.export.layers import ROWS, SEQUENCE, STATES, VECTOR, WIDE, material, recurrent


def _listed(name: str, graph: onnx.ModelProto, scratch: Path) -> dict[str, str]:
    specs = (VECTOR, TensorSpec("y", "float32", ("batch", "batch2")))
    given = material(graph, specs, normal(0, ROWS, WIDE), scratch)
    product = find_recipe(name).make(given)
    return {u.node: u.reason for u in unquantised(product.start or given.model, product)}


def _attention() -> onnx.ModelProto:
    """A large product with weights, a small one, and one of two activations."""
    nodes = [
        helper.make_node("MatMul", ["x", "large"], ["a"], name="large"),
        helper.make_node("MatMul", ["a", "small"], ["b"], name="small"),
        helper.make_node("Transpose", ["b"], ["c"], name="turn", perm=[1, 0]),
        helper.make_node("MatMul", ["b", "c"], ["y"], name="pairs"),
    ]
    constants = {"large": normal(1, WIDE, 512) / np.float32(10), "small": normal(2, 512, 4)}
    return model(nodes, {"x": VECTOR.shape}, {"y": ["batch", "batch2"]}, constants)


def test_the_dynamic_recipe_says_why_products_stay(tmp_path: Path) -> None:
    listed = _listed("int8-dynamic", _attention(), tmp_path)
    assert set(listed) == {"small", "pairs"}
    assert "so small" in listed["small"]
    assert listed["pairs"] == "no weights: both inputs are activations"


def test_a_composed_recipe_speaks_of_what_was_there_to_quantise(tmp_path: Path) -> None:
    listed = _listed("int4-weights+int8-weights", _attention(), tmp_path)
    assert set(listed) == {"pairs"}


def test_float_variants_list_nothing(export: Export) -> None:
    bundle = export(conv_source(), recipes=("fp32", "int8-dynamic"))
    float32, dynamic = bundle.manifest.variants
    assert float32.unquantised == ()
    ((node, operator, reason),) = ((u.node, u.operator, u.reason) for u in dynamic.unquantised)
    assert (operator, bool(node)) == ("Conv", True)
    assert "leaves convolutions in float" in reason


@pytest.mark.parametrize("operator", ["GRU", "RNN"])
def test_a_layer_without_an_integer_kernel_is_named_in_the_refusal(
    operator: str, tmp_path: Path
) -> None:
    given = material(recurrent(operator), (SEQUENCE, STATES), normal(0, 16, 5, 16), tmp_path)
    assert "no MatMul, Gemm or LSTM" in find_recipe("int8-dynamic").obstacle(given)


def _branching(outer: bool) -> onnx.ModelProto:
    """An If with a layer in either branch; before it another layer, or none."""
    value = "hidden" if outer else "x"
    branches = {}
    for which in ("then_branch", "else_branch"):
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
        weight = numpy_helper.from_array(normal(4, WIDE, WIDE), "inner_weight")
        layer = helper.make_node("MatMul", [value, "inner_weight"], ["out"], name=f"in_{which}")
        branches[which] = helper.make_graph([layer], which, [], [out], [weight])
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0, name="top"),
        helper.make_node("Greater", ["top", "two"], ["choose"], name="greater"),
        helper.make_node("If", ["choose"], ["y"], name="choice", **branches),
    ]
    constants = {"two": np.array(2, np.float32)}
    if outer:
        nodes.insert(0, helper.make_node("MatMul", ["x", "weight"], ["hidden"], name="outer"))
        constants["weight"] = normal(3, WIDE, WIDE) / np.float32(10)
    return model(nodes, {"x": VECTOR.shape}, {"y": ["batch", WIDE]}, constants)


@pytest.mark.parametrize("name", ["int8-dynamic", "int8-weights", "int4-weights"])
def test_layers_inside_an_if_are_listed(name: str, tmp_path: Path) -> None:
    listed = _listed(name, _branching(outer=True), tmp_path)
    assert set(listed) == {"choice/in_then_branch", "choice/in_else_branch"}
    assert set(listed.values()) == {"inside If: recipes take the outer graph only"}


@pytest.mark.parametrize("name", [n for n in RECIPES if n[:2] != "fp"])
def test_a_model_whose_layers_are_inside_an_if_is_not_said_to_have_none(
    name: str, tmp_path: Path
) -> None:
    specs = (VECTOR, TensorSpec("y", "float32", ("batch", WIDE)))
    given = material(_branching(outer=False), specs, normal(0, ROWS, WIDE), tmp_path)
    assert "outside its If, where no recipe looks" in find_recipe(name).obstacle(given)


def test_a_recipe_that_changes_nothing_is_refused(export: Export) -> None:
    # Nothing but a product of two activations: there are no weights to quantise.
    from edgedl.export.recipes import RECIPES, Recipe
    from edgedl.export.recipes.material import Product

    with pytest.MonkeyPatch.context() as patch:
        idle = Recipe("int8-dynamic", 15.0, lambda m: "", lambda m: Product(m.model, leaves={}))
        patch.setitem(RECIPES, "int8-dynamic", idle)
        with pytest.raises(RecipeError, match="changes nothing in this model"):
            export(conv_source(), recipes=("int8-dynamic",))

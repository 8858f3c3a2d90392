"""What each recipe does to a model, and when it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgedl.export.errors import RecipeError
from edgedl.export.interface import Interface
from edgedl.export.judgement import Judge, Judgement
from edgedl.export.recipes import RECIPES, Material
from edgedl.export.samples import Samples
from edgedl.export.stages import Reference
from edgedl.export.target import Target
from edgedl.runtime.errors import EngineError
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import TensorSpec
from tests.export.branches import model_with_a_branch
from tests.export.conftest import Export
from tests.export.fake_source import (
    FEATURES,
    IMAGE,
    X,
    conv_graph,
    dense_source,
    lstm_graph,
    lstm_source,
    model,
    normal,
)


def _material(graph: onnx.ModelProto, spec: TensorSpec, samples: Array, scratch: Path) -> Material:
    """Calibration samples and a judgement that expects nothing of the outputs."""
    given = Samples({spec.name: samples}, (spec,), "a test", "")
    judgement = Judgement(Reference(Interface((spec,), (), ()), []), Judge(), 1.0)
    return Material(graph, given, scratch, Target(), judgement)


def _operators(graph: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


@pytest.fixture
def images(tmp_path: Path) -> Material:
    return _material(conv_graph(), IMAGE, normal(0, 40, 1, 6, 6), tmp_path)


def test_int8_dynamic_leaves_convolutions_in_float(images: Material) -> None:
    made = _operators(RECIPES["int8-dynamic"].make(images).model)
    assert made.count("Conv") == 1
    assert "ConvInteger" not in made
    assert "MatMulInteger" in made
    assert not {"Gemm", "MatMul"} & set(made)


def test_int8_dynamic_quantises_lstms(export: Export) -> None:
    bundle = export(lstm_source(), recipes=("int8-dynamic",), max_drop=20.0)
    (variant,) = bundle.manifest.variants
    assert "DynamicQuantizeLSTM" in " ".join(variant.operators)
    assert "LSTM" not in variant.operators
    assert "MatMul" not in variant.operators


def test_int8_dynamic_needs_something_to_quantise(tmp_path: Path) -> None:
    nothing = model(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], {"x": X.shape}, {"y": X.shape}, {}
    )
    material = _material(nothing, X, normal(0, 8, FEATURES), tmp_path)
    assert "no MatMul, Gemm or LSTM" in RECIPES["int8-dynamic"].obstacle(material)
    assert "no Conv, MatMul or Gemm" in RECIPES["int8-static"].obstacle(material)


def test_int8_weights_leave_a_weight_in_float_where_it_is_no_kernel(tmp_path: Path) -> None:
    shared = model(
        [
            onnx.helper.make_node("MatMul", ["x", "w"], ["p"], name="product"),
            onnx.helper.make_node("ReduceSum", ["w"], ["s"], name="sum", keepdims=0),
            onnx.helper.make_node("Add", ["p", "s"], ["y"], name="add"),
        ],
        {"x": X.shape},
        {"y": ("batch", 64)},
        {"w": normal(1, FEATURES, 64)},
    )
    material = _material(shared, X, normal(0, 8, FEATURES), tmp_path)
    made = RECIPES["int8-weights"].make(material).model
    inputs = {node.name: list(node.input) for node in made.graph.node}
    assert inputs["sum"] == ["w"]
    assert inputs.get("product") != ["x", "w"]


def test_int8_static_inserts_qdq_per_channel_with_seven_bits(images: Material) -> None:
    product = RECIPES["int8-static"].make(images)
    operators = _operators(product.model)
    assert operators.count("DequantizeLinear") > operators.count("QuantizeLinear") > 0
    arrays = {i.name: numpy_helper.to_array(i) for i in product.model.graph.initializer}
    producer = {n.output[0]: n for n in product.model.graph.node}
    layers = [n for n in product.model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(layers) == 2
    channels = []
    for layer in layers:
        dequantise = producer[layer.input[1]]
        weights, scale = (arrays[name] for name in dequantise.input[:2])
        assert weights.dtype == np.int8
        assert -64 <= weights.min() < weights.max() <= 64
        channels.append(scale.size)
    assert channels == [4, 5]
    assert product.settings["calibration_samples"] == 40


def test_int8_static_is_refused_for_recurrent_models(tmp_path: Path) -> None:
    material = _material(lstm_graph(), X, normal(0, 8, FEATURES), tmp_path)
    assert "use int8-dynamic" in RECIPES["int8-static"].obstacle(material)


def test_int8_static_is_refused_without_calibration_samples(export: Export, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=normal(0, 1, FEATURES))
    with pytest.raises(RecipeError, match="no samples are left for calibration") as caught:
        export(dense_source(), samples=tmp_path / "one.npz", recipes=("int8-static",))
    assert caught.value.exit_code == 1
    assert not (tmp_path / "m.bundle").exists()


def test_a_calibration_that_fails_is_one_line(images: Material, tmp_path: Path) -> None:
    # A sample that does not fit the model: ONNX Runtime refuses it.
    spoiled = _material(conv_graph(), IMAGE, normal(0, 4, 2, 6, 6), tmp_path)
    with pytest.raises(EngineError, match="calibration: ") as caught:
        RECIPES["int8-static"].make(spoiled)
    assert "\n" not in caught.value.message


def test_int8_static_keeps_an_activation_that_a_subgraph_reads(tmp_path: Path) -> None:
    """The quantiser would drop the Relu and leave the If with what it was to cut."""
    graph = model_with_a_branch()
    material = _material(graph, IMAGE, normal(0, 40, 1, 6, 6), tmp_path)
    assert "Relu" in _operators(RECIPES["int8-static"].make(material).model)

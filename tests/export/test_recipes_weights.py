"""Recipes that store weights in fewer bits and compute in float; half precision; LSTMs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedl.export import graph
from edgedl.export.nodes import attribute
from edgedl.export.recipes import Material, find_recipe
from edgedl.export.recipes.nbits import pack
from edgedl.export.target import Target
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import TensorSpec
from tests.export.fake_source import IMAGE, conv_graph, model, normal
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
    run,
    sqnr_db,
)

AMX = Target("cpu", "x86_64", ("avx512_vnni",))
ARM = Target("cpu", "aarch64", ("asimd", "asimddp"))


@pytest.fixture
def one_dense(tmp_path: Path) -> Material:
    weight = normal(1, WIDE, OUT) / np.float32(10)
    return material(dense(weight, "Gemm"), (VECTOR, SCORES), normal(0, ROWS, WIDE), tmp_path)


def _layer(operator: str, tmp_path: Path) -> Material:
    return material(recurrent(operator), (SEQUENCE, STATES), normal(0, 16, 5, 16), tmp_path)


def _noise(given: Material, product: onnx.ModelProto, samples: Array) -> float:
    return sqnr_db(run(product, given, samples), run(given.model, given, samples))


def _float_bytes(product: onnx.ModelProto) -> int:
    held = product.graph.initializer
    return sum(4 * int(np.prod(i.dims)) for i in held if i.data_type == TensorProto.FLOAT)


@pytest.mark.parametrize(
    ("rows", "block"), [(96, 128), (128, 128), (256, 256), (640, 128), (2704, 256), (5408, 256)]
)
def test_blocks_are_as_large_as_padding_allows(rows: int, block: int, tmp_path: Path) -> None:
    vector = TensorSpec("x", "float32", ("batch", rows))
    weight = normal(1, rows, OUT) / np.float32(10)
    layer = helper.make_node("MatMul", ["x", "weight"], ["y"], name="dense")
    wide = model([layer], {"x": vector.shape}, {"y": SCORES.shape}, {"weight": weight})
    given = material(wide, (vector, SCORES), normal(0, 8, rows), tmp_path)
    product = find_recipe("int8-weights").make(given).model
    (node,) = (n for n in product.graph.node if n.op_type == "MatMulNBits")
    assert attribute(node, "block_size") == block


@pytest.mark.parametrize(("bits", "block"), [(4, 16), (4, 32), (8, 32), (8, 128), (8, 256)])
def test_packed_weights_unpack_to_what_they_were(bits: int, block: int) -> None:
    weight = normal(1, 70, 3)
    packed, scales = pack(weight, bits, block)
    blocks = -(-70 // block)
    assert packed.shape == (3, blocks, block * bits // 8)
    assert scales.shape == (3 * blocks,)
    values = (
        packed if bits == 8 else np.stack([packed & 15, packed >> 4], -1).reshape(3, blocks, -1)
    )
    centred = values.astype(np.float32) - (1 << (bits - 1))
    unpacked = (centred * scales.reshape(3, blocks, 1)).reshape(3, -1)[:, :70].T
    assert sqnr_db(unpacked, weight) > (40 if bits == 8 else 19)


@pytest.mark.parametrize(
    ("name", "least", "share"), [("int8-weights", 38, 0.35), ("int4-weights", 18, 0.25)]
)
def test_a_dense_layer_in_few_bits_is_smaller_and_close(
    name: str, least: float, share: float, one_dense: Material
) -> None:
    product = find_recipe(name).make(one_dense)
    assert product.model.ByteSize() < share * one_dense.model.ByteSize() + 600
    assert _noise(one_dense, product.model, normal(2, 40, WIDE)) > least


def test_eight_bits_need_an_onnxruntime_that_has_them(one_dense: Material) -> None:
    recipe = find_recipe("int8-weights")
    new = recipe.make(one_dense).model
    assert graph.least_onnxruntime(graph.with_least_ir(new)) == "1.22"
    old = recipe.make(replace(one_dense, min_ort="1.17")).model
    assert graph.least_onnxruntime(graph.with_least_ir(old)) == "1.12"
    assert _noise(one_dense, old, normal(2, 40, WIDE)) > 38


def test_four_bits_are_refused_for_an_onnxruntime_without_them(one_dense: Material) -> None:
    old = replace(one_dense, min_ort="1.16")
    assert "1.17" in find_recipe("int4-weights").obstacle(old)
    assert not find_recipe("int4-weights").obstacle(replace(one_dense, min_ort="1.17"))


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(("name", "least"), [("int8-weights", 35), ("fp16", 60)])
def test_recurrent_weights_are_stored_small_and_computed_in_float(
    name: str, least: float, operator: str, tmp_path: Path
) -> None:
    given = _layer(operator, tmp_path)
    product = find_recipe(name).make(given)
    assert operator in {n.op_type for n in product.model.graph.node}
    assert _float_bytes(product.model) < 0.1 * _float_bytes(given.model)
    assert _noise(given, product.model, normal(2, 4, 7, 16)) > least


def test_a_table_is_looked_up_in_bytes(tmp_path: Path) -> None:
    table = (normal(1, 50, 16) * np.geomspace(0.01, 1, 50)[:, None]).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["y"]),
    ]
    gather = model(nodes, {"x": ["batch"]}, {"y": ["batch", 16]}, {"table": table})
    specs = (TensorSpec("x", "float32", ("batch",)), TensorSpec("y", "float32", ("batch", 16)))
    index = np.arange(50, dtype=np.float32)
    given = material(gather, specs, index, tmp_path)
    product = find_recipe("int8-weights").make(given)
    assert product.model.ByteSize() < 0.6 * given.model.ByteSize()
    # Each row has a scale of its own: the smallest is as exact as the largest.
    found = run(product.model, given, index)
    assert all(sqnr_db(found[i], table[i]) > 35 for i in range(50))


def test_a_convolution_keeps_its_channels_scales(tmp_path: Path) -> None:
    weight = (normal(1, 8, 8, 3, 3) * np.geomspace(0.001, 1, 8)[:, None, None, None]).astype("f4")
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    inputs, outputs = ("batch", 8, 6, 6), ("batch", 8, 4, 4)
    conv = model([node], {"x": inputs}, {"y": outputs}, {"w": weight})
    specs = (TensorSpec("x", "float32", inputs), TensorSpec("y", "float32", outputs))
    given = material(conv, specs, normal(0, 16, 8, 6, 6), tmp_path)
    images = normal(2, 4, 8, 6, 6)
    product = find_recipe("int8-weights").make(given)
    found, expected = (run(m, given, images) for m in (product.model, given.model))
    assert all(sqnr_db(found[:, i], expected[:, i]) > 35 for i in range(8))


@pytest.mark.parametrize(("target", "kind"), [(Target(), np.uint8), (AMX, np.int8), (ARM, np.int8)])
def test_lstm_weights_are_unsigned_where_signed_ones_saturate(
    target: Target, kind: type, tmp_path: Path
) -> None:
    given = replace(_layer("LSTM", tmp_path), target=target)
    product = find_recipe("int8-dynamic").make(given)
    (layer,) = (n for n in product.model.graph.node if n.op_type == "DynamicQuantizeLSTM")
    arrays = {i.name: numpy_helper.to_array(i) for i in product.model.graph.initializer}
    weight, scale = arrays[layer.input[1]], arrays[layer.input[8]]
    assert weight.dtype == kind
    assert (weight.shape, scale.shape) == ((1, 16, 96), (1, 96))
    assert _noise(given, product.model, normal(2, 4, 7, 16)) > 30


@pytest.mark.parametrize(
    ("target", "activations", "reach"), [(Target(), 2, 64), (AMX, 2, 127), (ARM, 3, 127)]
)
def test_static_numbers_are_what_the_target_multiplies_best(
    target: Target, activations: int, reach: int, one_dense: Material
) -> None:
    product = find_recipe("int8-static").make(replace(one_dense, target=target))
    held = {i.name: i for i in product.model.graph.initializer}
    zeros = [held[n.input[2]] for n in product.model.graph.node if n.op_type == "QuantizeLinear"]
    assert {z.data_type for z in zeros} == {activations}  # TensorProto's 2: uint8, 3: int8
    weight = next(i for i in held.values() if sorted(i.dims) == [OUT, WIDE])
    assert np.abs(numpy_helper.to_array(weight).astype(int)).max() == reach


def test_half_precision_leaves_in_float_what_does_not_fit(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["small"], name="fits"),
        helper.make_node("Mul", ["small", "large"], ["huge"], name="overflows"),
        helper.make_node("Div", ["huge", "large"], ["y"], name="comes back"),
    ]
    constants = {"w": normal(1, WIDE, OUT) / np.float32(10), "large": np.array(3e4, np.float32)}
    large = model(nodes, {"x": VECTOR.shape}, {"y": SCORES.shape}, constants)
    given = material(large, (VECTOR, SCORES), normal(0, ROWS, WIDE), tmp_path)
    product = find_recipe("fp16").make(given)
    assert set(product.kept) == {"overflows", "comes back"}
    assert "65504" in product.kept["overflows"]
    assert _noise(given, product.model, normal(2, 40, WIDE)) > 50


def test_half_precision_keeps_inputs_and_outputs(tmp_path: Path) -> None:
    scores = TensorSpec("y", "float32", ("batch", 5))
    images = TensorSpec("x", "float32", IMAGE.shape)
    net = conv_graph()
    net.graph.input[0].name = net.graph.node[0].input[0] = "x"
    net.graph.output[0].name = net.graph.node[-1].output[0] = "y"
    given = material(net, (images, scores), normal(0, 16, 1, 6, 6), tmp_path)
    product = find_recipe("fp16").make(given)
    half = product.model.graph
    outside = {v.type.tensor_type.elem_type for v in (*half.input, *half.output)}
    assert outside == {TensorProto.FLOAT}
    assert {i.data_type for i in half.initializer} == {TensorProto.FLOAT16}


def test_a_transpose_before_a_product_does_not_crash_onnxruntime(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], name="turn", perm=[1, 0, 2]),
        helper.make_node("MatMul", ["turned", "w"], ["y"], name="product"),
    ]
    specs = (
        TensorSpec("x", "float32", ("batch", 7, 16)),
        TensorSpec("y", "float32", (7, "batch", 16)),
    )
    turned = model(nodes, {"x": specs[0].shape}, {"y": specs[1].shape}, {"w": normal(1, 16, 16)})
    given = material(turned, specs, normal(0, 16, 7, 16), tmp_path)
    product = find_recipe("fp16").make(given)
    assert "crashes" in product.kept["turn"]
    assert _noise(given, product.model, normal(2, 4, 7, 16)) > 50

"""ONNX files as a source: what people bring, made small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedl.export import pipeline
from edgedl.export.errors import SourceError
from edgedl.export.interface import DynamicAxis
from edgedl.export.request import ExportRequest
from edgedl.export.sources import open_source
from edgedl.export.sources.onnx_names import RawInput, name_specs, unique_names
from edgedl.runtime.bundle import Bundle
from edgedl.runtime.errors import ParityError
from edgedl.runtime.golden import read_golden
from tests.export.fake_source import (
    BIAS,
    CLASSES,
    FEATURES,
    KERNEL,
    dense_answer,
    dense_graph,
    model,
    normal,
)

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a model to tmp_path/m.onnx."""

    def write(graph: onnx.ModelProto, **options: Any) -> Path:
        file = tmp_path / "in" / "m.onnx"
        file.parent.mkdir(exist_ok=True)
        onnx.save_model(graph, file, **options)
        return file

    return write


def export(file: Path, **request: Any) -> Bundle:
    output = file.parent.parent / "m.bundle"
    settings = {"recipes": ("fp32",), "simplify": False, **request}
    return pipeline.export(ExportRequest(str(file), output, **settings))


def declare(graph: onnx.ModelProto, name: str, shape: list[int | str | None]) -> None:
    """Another shape for an input or output; None leaves an axis without a name."""
    for value in (*graph.graph.input, *graph.graph.output):
        if value.name == name:
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(name, kind, shape))


def shapes(bundle: Bundle) -> dict[str, tuple[int | str, ...]]:
    return {t.name: t.shape for t in (*bundle.manifest.inputs, *bundle.manifest.outputs)}


@pytest.mark.parametrize("batch", ["N", "batch_size", None, "unk__36", "?"])
def test_the_batch_is_found_under_any_name(save: Save, batch: str | None) -> None:
    graph = dense_graph()
    declare(graph, "x", [batch, FEATURES])
    bundle = export(save(graph))
    assert shapes(bundle) == {"x": ("batch", FEATURES), "logits": ("batch", CLASSES)}
    assert bundle.manifest.provenance["conversion"]["path"] == "the file as it is"
    for vectors in read_golden(bundle):
        expected = dense_answer(vectors.inputs["x"])
        np.testing.assert_allclose(vectors.outputs["logits"], expected, rtol=1e-4, atol=1e-5)


def test_axes_are_named_as_the_file_names_them() -> None:
    inputs = [
        RawInput("tokens", "int64", ("N", "seq len")),
        RawInput("mask", "int64", ("N", "seq len")),
        RawInput("past", "float32", ("N", 2, None, "seq_len", "0")),
    ]
    tokens, mask, past = name_specs(inputs, ["tokens", "mask", "past"])
    assert tokens.shape == mask.shape == ("batch", "seq_len")
    assert past.shape == ("batch", 2, "past_2", "seq_len_", "axis_0")


def test_names_are_clean_and_unique() -> None:
    raw = ["enc/x:0", "dec/x:0", "Identity:0", "Identity:1", "a-b", "a.b"]
    assert unique_names(raw) == ("enc_x_0", "dec_x_0", "Identity_0", "Identity_1", "a_b", "a_b_5")


@pytest.mark.parametrize(("file_opset", "asked", "written", "path"), [
    (17, None, 17, "the file as it is"),
    (11, None, 13, "onnx.version_converter"),
    (11, 15, 15, "onnx.version_converter"),
    (17, 18, 18, "onnx.version_converter"),
])  # fmt: skip
def test_the_opset_is_raised_only_where_it_must_be(
    save: Save, file_opset: int, asked: int | None, written: int, path: str
) -> None:
    bundle = export(save(dense_graph(file_opset)), opset=asked)
    assert bundle.manifest.variants[0].opset == written
    conversion = bundle.manifest.provenance["conversion"]
    assert conversion["path"] == path
    assert str(file_opset) in conversion["why"]


def test_initialisers_that_are_inputs_stay_constants(save: Save) -> None:
    graph = dense_graph()
    for name, array in (("kernel", KERNEL), ("bias", BIAS)):
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        graph.graph.input.insert(0, info)
    assert [t.name for t in export(save(graph)).manifest.inputs] == ["x"]


def test_outputs_without_shapes_and_names_with_slashes(save: Save) -> None:
    nodes = [
        helper.make_node("Softmax", ["net/in:0"], ["out:0"]),
        helper.make_node("Neg", ["net/in:0"], ["out:1"]),
    ]
    graph = model(nodes, {"net/in:0": ["N", 3]}, {"out:0": [], "out:1": []}, {})
    for output in graph.graph.output:
        output.type.tensor_type.ClearField("shape")
    expected = {"in": ("batch", 3), "out_0": ("batch", 3), "out_1": ("batch", 3)}
    assert shapes(export(save(graph))) == expected


def test_external_data_is_taken_in(save: Save) -> None:
    file = save(dense_graph(), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (file.parent / "w.bin").is_file()
    variant = export(file).manifest.variants[0]
    assert variant.bytes > KERNEL.nbytes


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "link.bin", ""])
def test_external_data_elsewhere_is_refused(save: Save, location: str) -> None:
    file = save(dense_graph(), save_as_external_data=True, location="w.bin", size_threshold=0)
    (file.parent / "w.bin").rename(file.parent.parent / "w.bin")
    (file.parent / "link.bin").symlink_to("../w.bin")
    graph = onnx.load_model(file, load_external_data=False)
    for initializer in graph.graph.initializer:
        for entry in initializer.external_data:
            if entry.key == "location":
                entry.value = location
    file.write_bytes(graph.SerializeToString())
    with pytest.raises(SourceError, match="outside the file's folder: refused"):
        open_source(str(file))


@pytest.mark.parametrize("kept", [0, 1, 4, -1, -4])
@pytest.mark.parametrize("external", [True, False])
def test_a_weight_that_is_cut_off_is_one_line(save: Save, external: bool, kept: int) -> None:
    graph = dense_graph()
    if external:
        file = save(graph, save_as_external_data=True, location="w.bin", size_threshold=0)
        data = file.parent / "w.bin"
        data.write_bytes(data.read_bytes()[:kept])
    else:
        graph.graph.initializer[0].raw_data = graph.graph.initializer[0].raw_data[:kept]
        file = save(graph)
    with pytest.raises(SourceError, match=r"external data|its shape") as caught:
        open_source(str(file))
    assert "again" in caught.value.hint


@pytest.mark.parametrize("harm", ["missing", "short"])
def test_external_data_that_is_damaged_is_one_line(save: Save, harm: str) -> None:
    file = save(dense_graph(), save_as_external_data=True, location="w.bin", size_threshold=0)
    data = file.parent / "w.bin"
    data.unlink() if harm == "missing" else data.write_bytes(b"1234")
    with pytest.raises(SourceError, match="external data") as caught:
        open_source(str(file))
    assert "\n" not in caught.value.message


def test_a_model_too_large_for_one_file_is_one_line(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgedl.export.sources import onnx_file

    file = save(dense_graph(), save_as_external_data=True, location="w.bin", size_threshold=0)
    monkeypatch.setattr(onnx_file, "LARGEST_BYTES", file.stat().st_size + 10)
    with pytest.raises(SourceError, match="less than 2 GiB"):
        open_source(str(file))


def classifier(zip_map: bool) -> onnx.ModelProto:
    """A linear classifier as scikit-learn's converter writes it."""
    coefficients = normal(1, 3, 4).ravel().tolist()
    nodes = [
        helper.make_node(
            "LinearClassifier", ["X"], ["label", "scores"], domain="ai.onnx.ml",
            classlabels_ints=[4, 5, 6], coefficients=coefficients, intercepts=[0.1, 0.2, 0.3],
            multi_class=1, post_transform="SOFTMAX",
        )
    ]  # fmt: skip
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 3])
    if zip_map:
        nodes.append(
            helper.make_node(
                "ZipMap", ["scores"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[4, 5, 6]
            )
        )
        row = helper.make_map_type_proto(
            TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
        scores = helper.make_value_info("maps", helper.make_sequence_type_proto(row))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, [None]), scores],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)])


def test_scikit_learns_maps_become_scores_in_the_order_of_the_classes(save: Save) -> None:
    bundle = export(save(classifier(zip_map=True)))
    assert shapes(bundle) == {"X": ("batch", 4), "label": ("batch",), "maps": ("batch", 3)}
    vectors = read_golden(bundle)[-1]
    plain = open_source(str(save(classifier(zip_map=False))))
    np.testing.assert_array_equal(vectors.outputs["maps"], plain.run(vectors.inputs)[1][1])
    assert "ZipMap" not in "".join(bundle.manifest.variants[0].operators)


def test_an_output_that_is_no_array_is_refused_with_what_to_do(save: Save) -> None:
    nodes = [helper.make_node("SequenceConstruct", ["x", "x"], ["many"])]
    graph = model(nodes, {"x": ["N", 3]}, {"many": []}, {})
    sequence = helper.make_sequence_type_proto(
        helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    )
    graph.graph.output[0].CopyFrom(helper.make_value_info("many", sequence))
    with pytest.raises(SourceError, match="'many' is seq") as caught:
        open_source(str(save(graph)))
    assert "extract_model" in caught.value.hint


def test_operators_of_onnxruntimes_own_domain(save: Save) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "kernel"], ["product"]),
        helper.make_node("Gelu", ["product"], ["y"], domain="com.microsoft"),
    ]
    graph = model(nodes, {"x": ["N", FEATURES]}, {"y": ["N", CLASSES]}, {"kernel": KERNEL})
    graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "com.microsoft.Gelu" in export(save(graph)).manifest.variants[0].operators


def test_functions_are_laid_into_the_graph(save: Save) -> None:
    graph = dense_graph()
    twice = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    graph.functions.append(twice)
    graph.opset_import.append(helper.make_opsetid("mine", 1))
    graph.graph.node[1].output[0] = "once"
    graph.graph.node.append(helper.make_node("Twice", ["once"], ["logits"], domain="mine"))
    bundle = export(save(graph))
    assert set(bundle.manifest.variants[0].operators) == {"MatMul", "Add"}


def fixed(rows: int) -> onnx.ModelProto:
    graph = dense_graph()
    declare(graph, "x", [rows, FEATURES])
    declare(graph, "logits", [rows, CLASSES])
    return graph


FREE = (DynamicAxis("x", 0, "batch"),)


def test_a_batch_that_the_file_fixes_is_freed_and_proved(save: Save) -> None:
    bundle = export(save(fixed(1)), dynamic=FREE)
    assert [v.inputs["x"].shape[0] for v in read_golden(bundle)] == [1, 4, 32]
    assert shapes(export(save(fixed(1)), force=True))["x"] == (1, FEATURES)


def test_a_batch_of_several_can_not_be_freed(save: Save) -> None:
    with pytest.raises(SourceError, match="a batch of 2 built in"):
        export(save(fixed(2)), dynamic=FREE)


def test_a_freed_batch_that_mixes_its_samples_is_refused(save: Save) -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=0)]
    graph = model(nodes, {"x": [1, 3]}, {"y": [1, 3]}, {})
    with pytest.raises(SourceError, match="mixes the samples"):
        export(save(graph), dynamic=FREE)


def test_an_axis_that_the_file_only_calls_free_is_fixed(save: Save, tmp_path: Path) -> None:
    graph = dense_graph()
    declare(graph, "x", ["N", "features"])
    np.savez(tmp_path / "s.npz", x=normal(0, 16, FEATURES))
    bundle = export(save(graph), samples=tmp_path / "s.npz")
    assert shapes(bundle)["x"] == ("batch", FEATURES)


def test_sizes_that_the_file_refuses_are_left_out_of_the_proof(save: Save, tmp_path: Path) -> None:
    # A pooling over 8 positions: neither 1 nor 7 will do.
    nodes = [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[8])]
    graph = model(nodes, {"x": ["N", 1, "time"]}, {"y": ["N", 1, "out"]}, {})
    np.savez(tmp_path / "s.npz", x=normal(0, 16, 1, 12))
    bundle = export(save(graph), samples=tmp_path / "s.npz")
    assert {v.inputs["x"].shape[2] for v in read_golden(bundle)} == {12, 20, 24}
    assert shapes(bundle)["x"] == ("batch", 1, "time")


def test_a_scalar_input_keeps_its_shape(save: Save) -> None:
    nodes = [helper.make_node("Mul", ["x", "gain"], ["y"])]
    graph = model(nodes, {"x": ["N", 3], "gain": []}, {"y": ["N", 3]}, {})
    bundle = export(save(graph))
    assert {v.inputs["gain"].shape for v in read_golden(bundle)} == {()}


def test_the_answers_of_the_file_are_what_counts(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(dense_graph())
    source = open_source(str(file))
    wrong = dense_graph(bias=BIAS + np.float32(0.01))
    monkeypatch.setattr(type(source), "_plain", lambda self: wrong)
    monkeypatch.setattr(pipeline, "open_source", lambda given, weights: source)
    with pytest.raises(ParityError, match="parity failed after convert"):
        export(file)


def test_an_infinite_constant_is_no_fault_and_nan_is(save: Save) -> None:
    nodes = [helper.make_node("Max", ["x", "floor"], ["y"])]
    shape = {"x": ["N", 3]}, {"y": ["N", 3]}
    export(save(model(nodes, *shape, {"floor": np.array(-np.inf, np.float32)})))
    with pytest.raises(SourceError, match="weight 'floor' holds NaN"):
        open_source(str(save(model(nodes, *shape, {"floor": np.array(np.nan, np.float32)}))))


def test_an_operator_that_onnxruntime_lacks_is_one_line(save: Save) -> None:
    graph = dense_graph()
    graph.graph.node[0].op_type = "Frobnicate"
    with pytest.raises(SourceError, match="Frobnicate") as caught:
        open_source(str(save(graph)))
    assert "\n" not in caught.value.message


def test_constants_of_subgraphs_are_read_too(save: Save) -> None:
    branch = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["sum"])], "then",
        [], [helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(3, np.float32), "one")],
    )  # fmt: skip
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
    ]
    graph = model(nodes, {"x": ["N", 3]}, {"y": ["N", 3]}, {})
    options = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    assert shapes(export(save(graph, convert_attribute=True, **options)))["y"] == ("batch", 3)

"""Where a variant leaves its reference: the right node is named, in every form of graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    quantize_dynamic,
    quantize_static,
)

from edgedl.export import locate as locating
from edgedl.export.locate import Located, NodeError, blame, break_threshold, locate
from edgedl.export.quiet import quiet
from edgedl.export.surgery import prepared
from edgedl.runtime.errors import EngineError
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import Tolerance
from tests.export.branches import model_with_a_branch
from tests.export.fake_source import (
    CELLS,
    FEATURES,
    IMAGE,
    KERNEL,
    SEQUENCE,
    C,
    H,
    X,
    conv_graph,
    lstm_graph,
    model,
    normal,
)

QUANTISED, FLOAT = 15.0, 80.0
IMAGES = {"image": normal(0, 16, 1, 6, 6)}
SEQUENCES = {
    "x": normal(1, 2, 5, FEATURES),
    "h": normal(2, 1, 2, CELLS),
    "c": normal(3, 1, 2, CELLS),
}


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._calls = iter([IMAGES])

    def get_next(self) -> Arrays | None:
        return next(self._calls, None)


def _static(graph: onnx.ModelProto, folder: Path, form: QuantFormat) -> onnx.ModelProto:
    with quiet():
        quantize_static(
            onnx.ModelProto.FromString(graph.SerializeToString()),
            folder / "q.onnx",
            _Reader(),
            quant_format=form,
            per_channel=form is QuantFormat.QDQ,
        )
    return onnx.load_model(folder / "q.onnx")


def _dynamic(graph: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    with quiet():
        quantize_dynamic(graph, folder / "q.onnx", op_types_to_quantize=["MatMul", "LSTM"])
    return onnx.load_model(folder / "q.onnx")


def _scaled(graph: onnx.ModelProto, constant: str, factor: float) -> onnx.ModelProto:
    """A copy with one constant multiplied."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    for tensor in copy.graph.initializer:
        if tensor.name == constant:
            array = numpy_helper.to_array(tensor)
            changed = (array * factor).astype(array.dtype)
            tensor.CopyFrom(numpy_helper.from_array(changed, constant))
            return copy
    raise AssertionError(f"no {constant} among {[t.name for t in copy.graph.initializer]}")


def _rows(located: Located) -> dict[str, NodeError]:
    return {n.tensor: n for n in located.nodes}


def _first(located: Located) -> NodeError:
    assert located.first is not None
    return located.first


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_a_static_model_shows_its_noise_and_the_layer_that_breaks(
    tmp_path: Path, form: QuantFormat
) -> None:
    reference = prepared(conv_graph())
    variant = _static(reference, tmp_path, form)
    healthy = locate(reference, variant, IMAGES, [IMAGE], QUANTISED)
    assert healthy.first is None
    logits = _rows(healthy)["logits"]
    assert 20 < (logits.local_db or 0) < 70
    assert 20 < (logits.accumulated_db or 0) < 70

    broken = locate(reference, _scaled(variant, "filters_scale", 4), IMAGES, [IMAGE], QUANTISED)
    first = _first(broken)
    assert broken.alone
    assert first.operator in ("Conv", "Relu")  # where the Relu is folded in, it is one tensor
    after = _rows(broken)["logits"]
    assert (after.local_db or 0) > 20 > QUANTISED > (after.accumulated_db or 99)

    head = locate(reference, _scaled(variant, "head_scale", 4), IMAGES, [IMAGE], QUANTISED)
    assert (_first(head).operator, head.alone) == ("Gemm", True)


def test_a_dynamic_lstm_graph(tmp_path: Path) -> None:
    reference = prepared(lstm_graph())
    variant = _dynamic(reference, tmp_path)
    assert "DynamicQuantizeLSTM" in {n.op_type for n in variant.graph.node}
    specs = [SEQUENCE, H, C]
    healthy = locate(reference, variant, SEQUENCES, specs, QUANTISED)
    assert healthy.first is None
    assert healthy.unmatched == 0
    assert {n.node for n in healthy.nodes if n.operator == "LSTM"} == {
        "LSTM_1", "LSTM_1 output 1", "LSTM_1 output 2"
    }  # fmt: skip

    broken = locate(reference, _scaled(variant, "w_scale", 3), SEQUENCES, specs, QUANTISED)
    assert (_first(broken).operator, broken.alone) == ("LSTM", True)
    assert _rows(broken)["by_time"].accumulated_db is None

    product = locate(reference, _scaled(variant, "out_scale", 3), SEQUENCES, specs, QUANTISED)
    assert (_first(product).operator, product.alone) == ("MatMul", True)


LAYERS = 12


def _deep(kernels: Sequence[Array], prefix: str = "") -> onnx.ModelProto:
    """x -> MatMul -> Tanh, over and over."""
    nodes, inner = [], "x"
    for i in range(len(kernels)):
        nodes += [
            helper.make_node("MatMul", [inner, f"k{i}"], [f"{prefix}m{i}"], name=f"matmul{i}"),
            helper.make_node("Tanh", [f"{prefix}m{i}"], [f"{prefix}t{i}"], name=f"tanh{i}"),
        ]
        inner = f"{prefix}t{i}"
    nodes.append(helper.make_node("Identity", [inner], ["y"], name="last"))
    constants = {f"k{i}": k for i, k in enumerate(kernels)}
    return model(nodes, {"x": X.shape}, {"y": ["batch", FEATURES]}, constants)


KERNELS = [normal(i, FEATURES, FEATURES) for i in range(LAYERS)]
INPUTS = {"x": normal(99, 8, FEATURES)}


def test_one_wrong_layer_of_a_float_model() -> None:
    wrong = [k if i != 5 else k * np.float32(1.001) for i, k in enumerate(KERNELS)]
    located = locate(_deep(KERNELS), _deep(wrong), INPUTS, [X], FLOAT)
    assert (_first(located).node, located.alone) == ("matmul5", True)
    rows = _rows(located)
    assert rows["m4"].accumulated_db is None
    assert rows["m6"].local_db is None
    assert (rows["m6"].accumulated_db or 99) < FLOAT
    assert "first node that breaks: matmul5 (MatMul), local SQNR 60.0 dB" in str(located)


def test_errors_that_add_up_are_told_from_a_break() -> None:
    noisy = [k * (1 + 0.05 * normal(50 + i, *k.shape)) for i, k in enumerate(KERNELS)]
    located = locate(_deep(KERNELS), _deep(noisy), INPUTS, [X], QUANTISED)
    assert not located.alone
    assert all((n.local_db or 99) > QUANTISED for n in located.nodes)
    assert (_first(located).accumulated_db or 99) < QUANTISED
    assert "no node breaks alone" in str(located)


def test_renamed_tensors_are_matched_by_structure() -> None:
    wrong = [k if i != 7 else k * np.float32(1.01) for i, k in enumerate(KERNELS)]
    located = locate(_deep(KERNELS), _deep(wrong, prefix="other/"), INPUTS, [X], FLOAT)
    assert {"m0", "t6"} <= _rows(located).keys()  # up to the layer that differs
    assert located.unmatched == 2 * 5
    assert _first(located).tensor == "y"  # which is judged from t6 on
    assert located.alone


def test_a_break_ends_a_brief_search() -> None:
    wrong = [k * np.float32(1.01) for k in KERNELS]
    said = blame(_deep(KERNELS), _deep(wrong), INPUTS, [X], Tolerance(atol=1e-5, rtol=1e-4))
    assert "first node that breaks: matmul0 (MatMul)" in said
    assert blame(_deep(KERNELS), _deep(KERNELS), INPUTS, [X], Tolerance(rtol=1e-4)) == ""


def test_subgraphs_are_run_with_what_they_read() -> None:
    def branch(operator: str) -> onnx.GraphProto:
        nodes = [helper.make_node(operator, ["product", "two"], ["out"])]
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
        return helper.make_graph(nodes, operator, [], [out])

    def conditional(two: float, kernel: Array = KERNEL) -> onnx.ModelProto:
        nodes = [
            helper.make_node("MatMul", ["x", "kernel"], ["product"], name="product"),
            helper.make_node("ReduceSum", ["product"], ["total"], keepdims=0, name="total"),
            helper.make_node("Greater", ["total", "zero"], ["positive"], name="positive"),
            helper.make_node(
                "If", ["positive"], ["y"], name="choice",
                then_branch=branch("Mul"), else_branch=branch("Add"),
            ),
        ]  # fmt: skip
        constants = {"kernel": kernel, "zero": np.float32(0), "two": np.float32(two)}
        arrays = {k: np.asarray(v) for k, v in constants.items()}
        return model(nodes, {"x": X.shape}, {"y": None}, arrays)  # type: ignore[dict-item]

    right = conditional(2)
    located = locate(right, conditional(3), INPUTS, [X], FLOAT)
    assert (_first(located).node, located.alone) == ("choice", True)
    located = locate(right, conditional(2, KERNEL * np.float32(1.01)), INPUTS, [X], FLOAT)
    assert _first(located).node == "product"
    assert _rows(located)["y"].local_db is None


def test_another_shape_is_a_break() -> None:
    def reduced(axis: int) -> onnx.ModelProto:
        node = helper.make_node("ReduceMax", ["x"], ["y"], axes=[axis], name="largest")
        return model([node], {"x": X.shape}, {"y": ["a", "b"]}, {})

    first = _first(locate(reduced(0), reduced(1), INPUTS, [X], FLOAT))
    assert (first.node, first.problem) == ("largest", "shape [8, 1] instead of [1, 6]")


def test_nan_on_one_side_is_a_break() -> None:
    def rooted(offset: float) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Add", ["x", "offset"], ["shifted"], name="shift"),
            helper.make_node("Sqrt", ["shifted"], ["y"], name="root"),
        ]
        constants = {"offset": np.array(offset, np.float32)}
        return model(nodes, {"x": X.shape}, {"y": X.shape}, constants)

    located = locate(rooted(100), rooted(-100), INPUTS, [X], FLOAT)
    assert _first(located).node == "shift"
    assert _rows(located)["y"].local_db is None  # of the right values it makes the right roots
    assert located.alone


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors are fetched a few at a time, of a few samples; the answer is the same."""
    noisy = [k * (1 + 0.01 * normal(50 + i, *k.shape)) for i, k in enumerate(KERNELS)]
    inputs = {"x": normal(99, 5000, FEATURES)}
    whole = locate(_deep(KERNELS), _deep(noisy), inputs, [X], QUANTISED)

    run, fetched = locating._run, []

    def watched(content: bytes, feeds: Arrays, names: Sequence[str], what: str) -> Arrays:
        made = run(content, feeds, names, what)
        fetched.append(sum(array.nbytes for array in made.values()))
        return made

    tensor = locating.MOST_SAMPLES * FEATURES * 4
    monkeypatch.setattr(locating, "_run", watched)
    monkeypatch.setattr(locating, "GROUP_BYTES", 3 * tensor)
    few = locate(_deep(KERNELS), _deep(noisy), inputs, [X], QUANTISED)
    assert len(few.nodes) == len(whole.nodes) == 2 * LAYERS + 1
    for a, b in zip(few.nodes, whole.nodes, strict=True):
        assert a.local_db == pytest.approx(b.local_db, abs=0.1)
        assert a.accumulated_db == pytest.approx(b.accumulated_db, abs=0.1)
    # The reference's group holds its own tensors and the one that goes into the first part.
    assert max(fetched) <= 4 * tensor
    assert len(fetched) > 3 * 8


def test_models_of_nothing_in_common_are_one_line() -> None:
    with pytest.raises(EngineError, match="no tensor in common"):
        locate(_deep(KERNELS), lstm_graph(), INPUTS, [X], FLOAT)
    assert blame(_deep(KERNELS), lstm_graph(), INPUTS, [X], Tolerance(rtol=1e-4)) == ""


@pytest.mark.parametrize(
    ("tolerance", "threshold"),
    [(Tolerance(min_sqnr_db=15.0), 15.0), (Tolerance(atol=1e-5, rtol=1e-4), 80.0)],
)
def test_the_threshold_follows_the_tolerance(tolerance: Tolerance, threshold: float) -> None:
    assert break_threshold(tolerance) == pytest.approx(threshold)


def test_half_precision_is_fed_half_precision() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["m0"], to=TensorProto.FLOAT16, name="in"),
        helper.make_node("MatMul", ["m0", "k"], ["m1"], name="product"),
        helper.make_node("Cast", ["m1"], ["y"], to=TensorProto.FLOAT, name="out"),
    ]
    shapes = {"x": X.shape}, {"y": ["batch", FEATURES]}
    half = model(nodes, *shapes, {"k": KERNELS[0].astype(np.float16)})
    nodes = [
        helper.make_node("Identity", ["x"], ["m0"], name="in"),
        helper.make_node("MatMul", ["m0", "k"], ["m1"], name="product"),
        helper.make_node("Identity", ["m1"], ["y"], name="out"),
    ]
    located = locate(model(nodes, *shapes, {"k": KERNELS[0]}), half, INPUTS, [X], 40.0)
    assert located.first is None
    assert [n.unrun for n in located.nodes] == ["", "", ""]
    assert 50 < (_rows(located)["m1"].local_db or 0) < 90


def test_a_float_tensor_read_beside_its_rounded_twin_is_compared_itself(tmp_path: Path) -> None:
    """ONNX Runtime's quantiser drops the Relu, and the If reads what wasn't cut."""
    reference = model_with_a_branch()
    located = locate(reference, _static(reference, tmp_path, QuantFormat.QDQ), IMAGES, [IMAGE], 15)
    assert (_first(located).node, located.alone) == ("activation", True)

"""Passes on the way to a bundle: applied, proved, or left out with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgedl.export import rewrite
from edgedl.export.convert import FloatModel, convert
from edgedl.export.passes import PASSES, PassResult
from edgedl.export.passes.simplify import Simplified, simplify
from edgedl.export.request import ExportRequest
from edgedl.export.rewrite import Pass, apply_passes
from edgedl.export.stages import StageReport
from edgedl.export.study import Study, study_source
from tests.export.conftest import Export
from tests.export.fake_source import BIAS, CLASSES, FEATURES, KERNEL, SEQUENCE, FakeSource, way
from tests.export.passing import graph


def flattened_dense(opset: int) -> onnx.ModelProto:
    """x -> Reshape -> MatMul -> Add -> Reshape: a dense layer as tf2onnx writes it."""
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["flat"]),
        helper.make_node("Gemm", ["flat", "kernel", "bias"], ["sum"]),
        helper.make_node("Reshape", ["sum", "target"], ["logits"]),
    ]
    constants = {
        "rows": np.array([-1, FEATURES]), "target": np.array([-1, 7, CLASSES]),
        "kernel": KERNEL, "bias": BIAS,
    }  # fmt: skip
    return graph(nodes, {"x": ("float32", ("batch", 7, FEATURES))}, ["logits"], constants, opset)


SOURCE = FakeSource(
    (type(SEQUENCE)("x", "float32", ("batch", 7, FEATURES)),),
    ("logits",),
    lambda feeds: (np.asarray(feeds["x"] @ KERNEL + BIAS, np.float32),),
    (way(flattened_dense),),
)


@pytest.fixture
def studied(stages: list[StageReport]) -> tuple[FloatModel, Study]:
    """A converted model and what its source says."""
    request = ExportRequest("m.fake", Path("b"))
    study = study_source(SOURCE, request)
    return convert(study, request, stages.append), study


def wrong(model: onnx.ModelProto) -> PassResult:
    """A pass with a fault in its arithmetic."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if tensor.name == "bias":
            tensor.CopyFrom(numpy_helper.from_array(BIAS + np.float32(0.001), "bias"))
    return PassResult(changed, True, "a bias made better")


def invalid(model: onnx.ModelProto) -> PassResult:
    """A pass that takes a node which is needed."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[0]
    return PassResult(changed, True, "a node less")


@pytest.mark.parametrize(
    ("faulty", "reason"), [(wrong, "differs from the model before it"), (invalid, "onnx.checker")]
)
def test_a_faulty_pass_is_not_used(
    studied: tuple[FloatModel, Study], stages: list[StageReport], faulty: Pass, reason: str
) -> None:
    model, study = studied
    result = apply_passes(model, study, stages.append, {"faulty": faulty})
    assert result.model == model.model
    assert result.passes == ()
    assert [r["pass"] for r in result.passes_rejected] == ["faulty"]
    assert reason in result.passes_rejected[0]["reason"]
    where = "first node that breaks: sum (Gemm), local SQNR"
    assert (where in result.passes_rejected[0]["reason"]) == (faulty is wrong)
    assert stages[-1].detail.startswith("not used: ")


def test_passes_are_applied_and_told(
    export: Export, stages: list[StageReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrite, "simplify", lambda model, scratch: Simplified(None, "off"))
    bundle = export(SOURCE, simplify=True, recipes=("fp32",))
    assert bundle.manifest.variants[0].operators == {"MatMul": 1, "Add": 1}
    (applied,) = bundle.manifest.provenance["passes"]
    assert applied["pass"] == "dense-rank"
    assert bundle.manifest.provenance["passes_rejected"] == []
    assert any(s.stage == "dense-rank" and s.outputs for s in stages)


def test_onnxsims_log_does_not_travel_but_the_authors_notes_do(tmp_path: Path) -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    given = graph([relu], {"x": ("float32", ["batch", 3])}, ["y"], {})
    helper.set_model_props(given, {"author": "somebody"})
    simplified = simplify(given, tmp_path).model
    assert simplified is not None
    assert {p.key: p.value for p in simplified.metadata_props} == {"author": "somebody"}


def test_no_simplify_leaves_passes_out(export: Export) -> None:
    bundle = export(SOURCE, simplify=False, recipes=("fp32",))
    assert bundle.manifest.variants[0].operators == {"Gemm": 1, "Reshape": 2}
    assert bundle.manifest.provenance["passes"] == []


def test_every_pass_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "passes.md").read_text()
    assert all(f"| `{name}` |" in text for name in PASSES)

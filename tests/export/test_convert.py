"""Conversions and onnxsim: what answers wrongly is not used, and the next is tried."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgedl import runtime
from edgedl.export import rewrite
from edgedl.export.errors import ConversionError
from edgedl.export.passes.simplify import Simplified, simplify
from edgedl.export.sources import Conversion
from edgedl.export.stages import StageReport
from edgedl.runtime.errors import ParityError
from tests.export.conftest import Export
from tests.export.fake_source import (
    BIAS,
    CLASSES,
    FEATURES,
    X,
    baked_graph,
    dense_answer,
    dense_graph,
    dense_source,
    model,
    normal,
    way,
)


def _said(stages: list[StageReport], stage: str) -> str:
    return next(report.detail for report in stages if report.stage == stage)


def test_a_conversion_that_bakes_a_size_gives_way_to_the_next(
    export: Export, stages: list[StageReport], capfd: pytest.CaptureFixture[str]
) -> None:
    source = dense_source(way(baked_graph, "baking"), way(dense_graph, "honest"))
    bundle = export(source, recipes=("fp32",))
    conversion = bundle.manifest.provenance["conversion"]
    assert conversion["path"] == "honest"
    assert [r["path"] for r in conversion["rejected"]] == ["baking"]
    assert "baking rejected" in _said(stages, "convert")
    assert runtime.load(bundle.path).run(x=normal(0, 9, FEATURES))["logits"].shape == (9, CLASSES)
    # ONNX Runtime's own log lines are not for the person who reads the stages.
    assert capfd.readouterr() == ("", "")


def _raises(interface: object, example: object, opset: int) -> onnx.ModelProto:
    raise ConversionError("no operator for it")


def test_when_no_conversion_runs_nothing_is_written(
    export: Export, nothing_written: Callable[[], bool]
) -> None:
    source = dense_source(Conversion("raising", "", _raises), way(baked_graph, "baking"))
    with pytest.raises(ConversionError, match=r"raising: no operator.*baking: ") as caught:
        export(source)
    assert caught.value.exit_code == 1
    assert nothing_written()


@pytest.mark.parametrize("other", [(), (Conversion("raising", "", _raises),)])
def test_a_conversion_wrong_by_a_hundredth_fails_parity(
    export: Export, nothing_written: Callable[[], bool], other: tuple[Conversion, ...]
) -> None:
    wrong = np.float32(0.01)
    source = dense_source(way(lambda opset: dense_graph(opset, bias=BIAS + wrong)), *other)
    with pytest.raises(ParityError, match=r"parity failed after convert: logits.*0\.01") as caught:
        export(source)
    assert caught.value.exit_code == 3
    assert nothing_written()


def test_a_conversion_with_other_outputs_is_rejected(export: Export) -> None:
    def two_outputs(opset: int) -> onnx.ModelProto:
        graph = dense_graph(opset)
        graph.graph.output.append(
            helper.make_tensor_value_info("product", onnx.TensorProto.FLOAT, ["batch", CLASSES])
        )
        return graph

    with pytest.raises(ConversionError, match="2 outputs, not 1"):
        export(dense_source(way(two_outputs)))


def test_an_invalid_conversion_is_rejected(export: Export) -> None:
    def dangling(opset: int) -> onnx.ModelProto:
        nodes = [helper.make_node("Neg", ["nowhere"], ["logits"])]
        return model(nodes, {"x": X.shape}, {"logits": ["batch", CLASSES]}, {}, opset)

    with pytest.raises(ConversionError, match=r"onnx\.checker"):
        export(dense_source(way(dangling)))


# --- simplify


def test_a_simplified_model_that_answers_differently_is_not_used(
    export: Export, stages: list[StageReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = dense_graph(bias=BIAS + np.float32(0.01))
    monkeypatch.setattr(rewrite, "simplify", lambda model, scratch: Simplified(wrong))
    bundle = export(dense_source(), simplify=True, recipes=("fp32",))
    assert "not used: differs from the model before it" in _said(stages, "simplify")
    assert bundle.manifest.provenance["simplified"].startswith("not used")
    x = normal(0, 2, FEATURES)
    answered = runtime.load(bundle.path).run(x=x)["logits"]
    np.testing.assert_allclose(answered, dense_answer(x), 1e-4, 1e-5)


def _stand_in(tmp_path: Path, script: str) -> str:
    """An executable that stands in for the interpreter of onnxsim's process."""
    file = tmp_path / "interpreter"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def test_a_simplifier_that_crashes_is_reported_and_not_used(
    export: Export, tmp_path: Path, stages: list[StageReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", _stand_in(tmp_path, "kill -SEGV $$"))
    bundle = export(dense_source(), simplify=True, recipes=("fp32",))
    assert "not used: onnxsim failed" in _said(stages, "simplify")
    assert bundle.manifest.provenance["simplified"].startswith("not used: onnxsim failed")


def test_a_simplifier_that_does_not_end_is_stopped_and_not_used(
    export: Export, tmp_path: Path, stages: list[StageReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", _stand_in(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(rewrite, "simplify", functools.partial(simplify, limit_s=0.2))
    bundle = export(dense_source(), simplify=True, recipes=("fp32",))
    assert "onnxsim did not finish in 0.2 s" in _said(stages, "simplify")
    assert bundle.manifest.provenance["simplified"].startswith("not used")


# --- recipes and budgets

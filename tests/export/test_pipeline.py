"""A whole export: what is written, what is refused, and that nothing is left behind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgedl import runtime
from edgedl.export.errors import ConversionError, RecipeError, SourceError
from edgedl.export.recipes import RECIPES, Product, Recipe
from edgedl.export.stages import StageReport
from edgedl.runtime.errors import EngineError, ParityError
from edgedl.runtime.protocol import ParityAnswer, ParityRequest
from edgedl.runtime.worker import answer
from tests.export.conftest import Export
from tests.export.fake_source import (
    BIAS,
    CLASSES,
    FEATURES,
    KERNEL,
    FakeSource,
    X,
    baked_graph,
    conv_source,
    dense_answer,
    dense_graph,
    dense_source,
    lstm_answer,
    lstm_source,
    model,
    normal,
    way,
)


def _said(stages: list[StageReport], stage: str) -> str:
    return next(report.detail for report in stages if report.stage == stage)


def test_a_bundle_runs_and_proves_itself(export: Export, scratch: Path) -> None:
    bundle = export(conv_source(), simplify=True)
    image = normal(0, 3, 1, 6, 6)
    expected = conv_source().answer({"image": image})[0]
    with runtime.load(bundle.path, "fp32") as loaded:
        np.testing.assert_allclose(loaded.run(image=image)["logits"], expected, 1e-4, 1e-5)
    verdict = answer(ParityRequest(str(bundle.path)))
    assert isinstance(verdict, ParityAnswer)
    assert [(v.variant, v.passed) for v in verdict.variants] == [
        (name, True) for name in ("fp32", "int8-dynamic", "int8-static")
    ]
    assert bundle.manifest.provenance["simplified"] == "onnxsim"
    assert not list(scratch.iterdir())


def test_a_stateful_bundle_streams_what_the_source_answers(export: Export) -> None:
    bundle = export(lstm_source())
    assert [(p.output, p.input) for p in bundle.manifest.state] == [("h_out", "h"), ("c_out", "c")]
    steps = normal(0, 5, 1, 1, FEATURES)
    h = c = np.zeros((1, 1, 3), np.float32)
    with runtime.load(bundle.path, "fp32") as loaded:
        stream = loaded.stream()
        for x in steps:
            expected, h, c = lstm_answer(x, h, c)
            np.testing.assert_allclose(stream.step(x=x)["logits"], expected, 1e-4, 1e-5)


def test_a_recipe_that_changes_answers_fails_under_its_own_name(
    export: Export, nothing_written: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = dense_graph(kernel=KERNEL * np.float32(1.01))
    monkeypatch.setitem(
        RECIPES,
        "fp32",
        Recipe("fp32", None, lambda material: "", lambda material: Product(wrong), usual=True),
    )
    with pytest.raises(ParityError, match="parity failed after fp32"):
        export(dense_source())
    assert nothing_written()


def _nearly_equal_columns(bias: np.ndarray) -> FakeSource:
    """Five columns that differ by less than a step of 8 bits: little noise, other classes."""
    kernel = normal(8, FEATURES, 1) + np.float32(0.005) * normal(9, FEATURES, CLASSES)
    return FakeSource(
        (X,),
        ("logits",),
        lambda feeds: (dense_answer(feeds["x"], kernel, bias),),
        (way(lambda opset: dense_graph(opset, kernel, bias)),),
    )


def test_int8_over_its_accuracy_budget_writes_nothing(
    export: Export, nothing_written: Callable[[], bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Beside a class that is far off, the others lie so close that noise may turn them.
    source = _nearly_equal_columns(np.array([0, 0, 0, 0, -30], np.float32))
    held_out = normal(7, 200, FEATURES)
    evaluation = tmp_path_factory.mktemp("samples") / "eval.npz"
    np.savez(evaluation, x=held_out, labels=np.argmax(source.answer({"x": held_out})[0], -1))
    asked = {"recipes": ("fp32", "int8-dynamic"), "evaluation": evaluation}
    with pytest.raises(ParityError, match="int8-dynamic is over its budget") as caught:
        export(source, **asked)
    assert caught.value.exit_code == 3
    assert "--max-drop" in caught.value.hint
    assert nothing_written()
    assert export(source, **asked, max_drop=100.0).manifest.variants


def test_without_labels_a_flip_is_lost_agreement_only_over_the_margin(export: Export) -> None:
    source = _nearly_equal_columns(np.array([0, 0, 0, 0, -30], np.float32))
    bundle = export(source, recipes=("fp32", "int8-dynamic"), max_drop=0.0)
    quality = bundle.manifest.variant("int8-dynamic").quality
    assert quality is not None
    assert (quality.metric, quality.value) == ("agreement", 1.0)
    assert quality.top1 < 0.9


def test_int8_that_turns_clear_answers_writes_nothing(
    export: Export, nothing_written: Callable[[], bool]
) -> None:
    source = _nearly_equal_columns(np.zeros(CLASSES, np.float32))
    with pytest.raises(ParityError, match="top-1 classes flipped where the source's margin"):
        export(source, recipes=("fp32", "int8-dynamic"), max_drop=100.0)
    assert nothing_written()


def test_int8_with_more_noise_than_signal_writes_nothing(
    export: Export, nothing_written: Callable[[], bool]
) -> None:
    # One large weight per column, on a feature that is nearly zero: the rest rounds to nothing.
    kernel = np.concatenate([np.full((1, CLASSES), 1000, np.float32), KERNEL[1:]])
    samples = normal(0, 64, FEATURES)
    samples[:, 0] = 1e-6

    def squeezed(opset: int) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Mul", ["x", "mask"], ["masked"]),
            helper.make_node("MatMul", ["masked", "kernel"], ["logits"]),
        ]
        mask = np.array([1e-6, *[1] * (FEATURES - 1)], np.float32)
        constants = {"mask": mask, "kernel": kernel}
        return model(nodes, {"x": X.shape}, {"logits": ["batch", CLASSES]}, constants, opset)

    mask = np.array([1e-6, *[1] * (FEATURES - 1)], np.float32)
    source = FakeSource(
        (X,), ("logits",), lambda feeds: ((feeds["x"] * mask) @ kernel,), (way(squeezed),)
    )
    with pytest.raises(ParityError, match=r"after int8-dynamic: logits: SQNR .* dB is under"):
        export(source, recipes=("int8-dynamic",), max_drop=100.0)
    assert nothing_written()


def test_every_recipe_that_fits_is_made_and_the_others_say_why_not(
    export: Export, stages: list[StageReport]
) -> None:
    bundle = export(lstm_source(), max_drop=20.0)
    assert [v.name for v in bundle.manifest.variants] == ["fp32", "int8-dynamic"]
    assert bundle.manifest.default_variant == "fp32"
    assert "left out: ONNX Runtime quantises a recurrent layer" in _said(stages, "int8-static")


@pytest.mark.parametrize(
    ("recipe", "reason"), [("int4", "unknown recipe 'int4'"), ("int8-static", "recurrent")]
)
def test_a_named_recipe_that_cannot_be_made_is_refused(
    export: Export, nothing_written: Callable[[], bool], recipe: str, reason: str
) -> None:
    with pytest.raises(RecipeError, match=reason):
        export(lstm_source(), recipes=("fp32", recipe))
    assert nothing_written()


# --- sources that can't be trusted


def test_weights_that_are_not_numbers_are_refused(
    export: Export, nothing_written: Callable[[], bool]
) -> None:
    spoiled = KERNEL.copy()
    spoiled[0, 0] = np.nan
    with pytest.raises(ConversionError, match="weight 'kernel' holds NaN"):
        export(dense_source(way(lambda opset: dense_graph(opset, spoiled))))
    with pytest.raises(SourceError, match="output 'logits' holds NaN"):
        export(dense_source(kernel=spoiled))
    assert nothing_written()


def test_a_source_that_answers_differently_each_time_is_refused(
    export: Export, nothing_written: Callable[[], bool]
) -> None:
    rng = np.random.default_rng(0)

    def dropout(feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        logits = dense_answer(feeds["x"])
        return (logits * (rng.random(logits.shape) > 0.5),)

    source = FakeSource((X,), ("logits",), dropout, (way(dense_graph),))
    with pytest.raises(SourceError, match="'logits' differs from run to run") as caught:
        export(source)
    assert "dropout" in caught.value.hint
    assert nothing_written()


# --- interrupts, names, versions, provenance


@pytest.mark.parametrize("stage", ["fake", "convert", "fp32"])
def test_an_interrupt_leaves_nothing(
    export: Export, nothing_written: Callable[[], bool], stage: str
) -> None:
    def interrupt(report: StageReport) -> None:
        if report.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(dense_source(), tell=interrupt)
    assert nothing_written()


def test_the_engine_failing_in_a_recipe_leaves_nothing(
    export: Export, nothing_written: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    baked = Recipe("fp32", None, lambda material: "", lambda material: Product(baked_graph()))
    monkeypatch.setitem(RECIPES, "fp32", baked)
    with pytest.raises(EngineError) as caught:
        export(dense_source(), recipes=("fp32",))
    assert "\n" not in caught.value.message
    assert nothing_written()


def test_names_are_clean(export: Export) -> None:
    def converted(opset: int) -> onnx.ModelProto:
        nodes = [
            helper.make_node("MatMul", ["serving_x:0", "w:0"], ["model/dense/MatMul:0"]),
            helper.make_node("Add", ["model/dense/MatMul:0", "b:0"], ["Identity:0"]),
        ]
        graph = model(
            nodes,
            {"serving_x:0": ["unk__36", FEATURES]},
            {"Identity:0": ["unk__37", CLASSES]},
            {"w:0": KERNEL, "b:0": BIAS},
            opset,
        )
        graph.graph.value_info.append(
            helper.make_tensor_value_info(
                "model/dense/MatMul:0", onnx.TensorProto.FLOAT, ["unk__38", CLASSES]
            )
        )
        return graph

    source = FakeSource(
        (X,), ("model/scores:0",), lambda feeds: (dense_answer(feeds["x"]),), (way(converted),)
    )
    bundle = export(source)
    assert [str(s) for s in bundle.manifest.inputs] == [f"x: float32[batch, {FEATURES}]"]
    assert [str(s) for s in bundle.manifest.outputs] == [f"scores: float32[batch, {CLASSES}]"]
    for variant in bundle.manifest.variants:
        graph = onnx.load(bundle.path / variant.file).graph
        outside = [*graph.input, *graph.output]
        assert [v.name for v in outside] == ["x", "scores"]
        assert {d.dim_param for v in outside for d in v.type.tensor_type.shape.dim} == {"batch", ""}
        assert "unk__" not in str(graph)


def test_min_ort_lowers_the_opset(export: Export) -> None:
    bundle = export(dense_source(), min_ort="1.11", recipes=("fp32",))
    (variant,) = bundle.manifest.variants
    assert variant.opset == 16
    assert variant.min_onnxruntime == "1.11"


@pytest.mark.parametrize("min_ort", ["1.2", "1.10"])
def test_a_bundle_that_needs_a_newer_onnxruntime_is_not_written(
    export: Export, nothing_written: Callable[[], bool], min_ort: str
) -> None:
    stubborn = dense_source(way(lambda opset: dense_graph(18)))
    with pytest.raises(ConversionError, match=min_ort):
        export(stubborn, min_ort=min_ort, recipes=("fp32",))
    assert nothing_written()


def test_the_manifest_says_where_everything_came_from(export: Export, tmp_path: Path) -> None:
    source, samples, evaluation = (tmp_path / n for n in ("m.fake", "samples.npz", "eval.npz"))
    source.write_bytes(b"a trained model")
    np.savez(samples, x=normal(0, 40, FEATURES))
    held_out = normal(1, 30, FEATURES)
    np.savez(evaluation, x=held_out, labels=np.argmax(dense_answer(held_out), -1))
    bundle = export(dense_source(), source=str(source), samples=samples, evaluation=evaluation)
    provenance = bundle.manifest.provenance
    assert provenance["source"] == {
        "given": str(source),
        "framework": "fake",
        "file_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "evaluation_sha256": hashlib.sha256(evaluation.read_bytes()).hexdigest(),
    }
    assert provenance["samples"] == {
        "origin": str(samples),
        "real": True,
        "sha256": hashlib.sha256(samples.read_bytes()).hexdigest(),
        "count": 40,
        "calibration": 30,
    }
    assert provenance["evaluation"]["samples"] == 30
    tools = provenance["tools"]
    assert tools["onnx"] == onnx.__version__
    assert tools["numpy"] == np.__version__
    assert tools["pytest"] == pytest.__version__
    assert {"onnxruntime", "msgspec"} <= tools.keys()
    for variant in bundle.manifest.variants:
        content = (bundle.path / variant.file).read_bytes()
        assert (variant.sha256, variant.bytes) == (
            hashlib.sha256(content).hexdigest(),
            len(content),
        )
    fp32 = bundle.manifest.variant("fp32")
    assert fp32.quality is not None
    assert (fp32.quality.metric, fp32.quality.value, fp32.quality.samples) == ("accuracy", 1.0, 30)


def test_generated_samples_are_called_so(export: Export) -> None:
    provenance = export(dense_source(), recipes=("fp32",)).manifest.provenance
    assert provenance["samples"]["real"] is False
    assert provenance["samples"]["origin"] == "generated"

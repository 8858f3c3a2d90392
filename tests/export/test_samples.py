"""Samples: what is refused, and that none serves two purposes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl.export.errors import SamplesError
from edgedl.export.interface import Interface
from edgedl.export.request import ExportRequest
from edgedl.export.samples import Evaluation, Samples, golden_cases, split
from edgedl.export.study import study_source
from edgedl.runtime.golden import Array, read_evaluation
from edgedl.runtime.manifest import StatePair, TensorSpec
from tests.export.conftest import Export
from tests.export.fake_source import (
    CLASSES,
    FEATURES,
    SEQUENCE,
    C,
    FakeSource,
    H,
    X,
    dense_answer,
    dense_source,
    lstm_source,
    normal,
)

GOOD = normal(0, 12, FEATURES)
SPOILED = np.where(np.arange(FEATURES) == 2, np.nan, GOOD).astype(np.float32)


def _rows(array: Array) -> set[bytes]:
    return {row.tobytes() for row in array}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no array 'x'"),
        ({"y": GOOD}, "'y' that is no input"),
        ({"x": GOOD, "extra": GOOD}, "'extra' that is no input"),
        ({"x": GOOD.astype(np.float64)}, r"'x' is float64\[12, 6\]"),
        ({"x": GOOD[:, :5]}, r"'x' is float32\[12, 5\]"),
        ({"x": GOOD[0]}, r"'x' is float32\[6\]"),
        ({"x": GOOD[:0]}, r"'x' is float32\[0, 6\]"),
        ({"x": SPOILED}, "'x' holds NaN"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    export: Export, tmp_path: Path, arrays: dict[str, Array], message: str
) -> None:
    file = tmp_path / "samples.npz"
    np.savez(file, **arrays)
    with pytest.raises(SamplesError, match=message) as caught:
        export(dense_source(), samples=file)
    assert str(file) in caught.value.message
    assert "NaN" in message or "x: float32[batch, 6]" in caught.value.hint


def test_axes_of_one_name_have_one_size(export: Export, tmp_path: Path) -> None:
    file = tmp_path / "samples.npz"
    np.savez(file, x=normal(0, 8, 3, FEATURES), h=normal(1, 1, 7, 3), c=normal(2, 1, 8, 3))
    with pytest.raises(SamplesError, match=r"'h' is float32\[1, 7, 3\]"):
        export(lstm_source(), samples=file)


def _pickled(file: Path) -> None:
    np.savez(file, x=np.array([{"not": "plain"}], object))


def _npy(file: Path) -> None:
    with file.open("wb") as opened:
        np.save(opened, GOOD)


def _text(file: Path) -> None:
    file.write_text("x = 1\n")


def _cut(file: Path) -> None:
    np.savez(file, x=GOOD)
    file.write_bytes(file.read_bytes()[:100])


def _nothing(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("write", [_pickled, _npy, _text, _cut, _nothing, lambda file: None])
@pytest.mark.parametrize("option", ["samples", "evaluation"])
def test_files_that_hold_no_samples_are_refused(
    export: Export, tmp_path: Path, write: Any, option: str
) -> None:
    file = tmp_path / "samples.npz"
    write(file)
    with pytest.raises(SamplesError, match=r"samples\.npz") as caught:
        export(dense_source(), **{option: file})
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "no integer array 'labels'"),
        (np.zeros(12, np.float32), "no integer array 'labels'"),
        (np.zeros(11, np.int64), r"12 samples, but labels of shape \[11\]"),
        (np.zeros((12, 2), np.int64), "labels have 2 axes"),
        (np.full(12, CLASSES), "labels from 5 to 5"),
        (np.full(12, -1), "labels from -1 to -1"),
        (np.int64(3), "labels of shape"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    export: Export, tmp_path: Path, labels: Array | None, message: str
) -> None:
    file = tmp_path / "eval.npz"
    np.savez(file, x=GOOD, **({} if labels is None else {"labels": labels}))
    with pytest.raises(SamplesError, match=message):
        export(dense_source(), evaluation=file)
    assert not (tmp_path / "m.bundle").exists()


def test_labels_for_another_number_of_positions_are_refused(export: Export, tmp_path: Path) -> None:
    file = tmp_path / "eval.npz"
    np.savez(file, x=normal(0, 8, 4, FEATURES), labels=np.zeros((8, 3), np.int64))
    with pytest.raises(SamplesError, match="labels"):
        export(lstm_source(), evaluation=file)


def test_state_may_be_left_out_of_the_evaluation_set(export: Export, tmp_path: Path) -> None:
    file = tmp_path / "eval.npz"
    np.savez(file, x=normal(0, 8, 4, FEATURES), labels=np.zeros((8, 4), np.int64))
    bundle = export(lstm_source(), evaluation=file, recipes=("fp32",))
    travelling = read_evaluation(bundle)
    assert travelling is not None
    assert travelling[0].keys() == {"x"}


def test_no_sample_serves_two_purposes() -> None:
    rows = normal(0, 100, FEATURES)
    rows[60] = rows[0]  # a golden sample again
    rows[70] = rows[50]  # a sample of the evaluation set again
    held_out = np.concatenate([rows[50:52], rows[:2], normal(1, 20, FEATURES)])
    evaluation = Evaluation({"x": held_out}, np.zeros(len(held_out), np.int64), "", "")
    golden, calibration = split(Samples({"x": rows}, (X,), "", ""), evaluation)
    proofs, ranges, judges = (
        _rows(a) for a in (golden.arrays["x"], calibration.arrays["x"], held_out)
    )
    assert proofs
    assert ranges
    assert not ranges & proofs
    assert not ranges & judges
    assert not proofs & judges


def test_the_split_is_what_the_study_uses(tmp_path: Path) -> None:
    rows = normal(0, 80, FEATURES)
    held_out = np.concatenate([rows[40:60], normal(1, 10, FEATURES)])
    np.savez(tmp_path / "samples.npz", x=rows)
    np.savez(tmp_path / "eval.npz", x=held_out, labels=np.argmax(dense_answer(held_out), -1))
    request = ExportRequest(
        "m", tmp_path / "b", samples=tmp_path / "samples.npz", evaluation=tmp_path / "eval.npz"
    )
    study = study_source(dense_source(), request)
    ranges = _rows(study.calibration.arrays["x"])
    proofs = _rows(np.concatenate([v.inputs["x"] for v in study.reference.golden]))
    assert len(ranges) == 45
    assert not proofs & _rows(held_out)
    assert not ranges & _rows(held_out)
    assert not ranges & proofs


def test_samples_that_are_all_one_leave_nothing_for_calibration() -> None:
    same = np.repeat(GOOD[:1], 20, axis=0)
    _, calibration = split(Samples({"x": same}, (X,), "", ""), None)
    assert calibration.count == 0


def _sizes(specs: tuple[TensorSpec, ...], state: tuple[StatePair, ...] = ()) -> list[Any]:
    dims = {"batch": 16, "time": 5, "height": 9, "width": 11}
    arrays = {
        s.name: normal(0, *(d if isinstance(d, int) else dims[d] for d in s.shape)) for s in specs
    }
    return golden_cases(Interface(specs, (), state), Samples(arrays, specs, "", ""))


def test_golden_cases_run_every_axis_at_several_sizes_alone_and_together() -> None:
    cases = _sizes((SEQUENCE,))
    sizes = [tuple(case.sizes.values()) for case, _ in cases]
    assert set(sizes) == {(b, t) for b in (1, 4) for t in (1, 5, 7)}
    for case, inputs in cases:
        assert inputs["x"].shape == (case.sizes["batch"], case.sizes["time"], FEATURES)


@pytest.mark.parametrize(("side", "batches"), [(28, [1, 4, 32]), (224, [1, 4])])
def test_golden_vectors_stay_small_where_inputs_are_large(side: int, batches: list[int]) -> None:
    image = TensorSpec("image", "float32", ("batch", side, side, 3))
    samples = Samples({"image": np.zeros((8, side, side, 3), np.float32)}, (image,), "", "")
    cases = golden_cases(Interface((image,), (), ()), samples)
    assert [case.sizes["batch"] for case, _ in cases] == batches


def test_golden_cases_stay_few_where_there_are_many_axes() -> None:
    cases = _sizes((TensorSpec("x", "float32", ("batch", "time", "height", "width")),))
    assert len(cases) < 16
    sizes = [case.sizes for case, _ in cases]
    expected = {"batch": {1, 4}, "time": {1, 5, 7}, "height": {1, 7, 9}, "width": {1, 7, 11}}
    largest = {axis: max(values) for axis, values in expected.items()}
    for axis, values in expected.items():
        others = {a: s for a, s in largest.items() if a != axis}
        alone = {s[axis] for s in sizes if {a: s[a] for a in others} == others}
        assert alone == values
    assert dict.fromkeys(expected, 1) in sizes


def test_a_stateful_model_is_fed_back_for_256_steps() -> None:
    cases = _sizes((SEQUENCE, H, C), (StatePair("h", "h_out"), StatePair("c", "c_out")))
    (rollout,) = [(case, inputs) for case, inputs in cases if case.steps > 1]
    case, inputs = rollout
    assert case.steps == 256
    assert inputs["x"].shape == (256, 2, 1, FEATURES)
    assert inputs["h"].shape == (1, 2, 3)
    assert not inputs["h"].any()
    assert len(_rows(inputs["x"])) > 16


def test_a_leading_axis_need_not_be_the_batch(export: Export, tmp_path: Path) -> None:
    spec = TensorSpec("x", "float32", (FEATURES, "batch"))
    source = FakeSource((spec,), ("logits",), lambda feeds: (dense_answer(feeds["x"].T),), ())
    rows = normal(0, 40, FEATURES)
    np.savez(tmp_path / "samples.npz", x=rows.T)
    study = study_source(
        source, ExportRequest("m", tmp_path / "b", samples=tmp_path / "samples.npz")
    )
    assert study.given.count == 40
    assert study.calibration.arrays["x"].shape == (FEATURES, 30)
    assert study.interface.outputs == (TensorSpec("logits", "float32", ("batch", CLASSES)),)


def test_samples_that_are_all_evaluation_samples_are_refused(
    export: Export, tmp_path: Path
) -> None:
    np.savez(tmp_path / "samples.npz", x=GOOD)
    np.savez(tmp_path / "eval.npz", x=GOOD, labels=np.argmax(dense_answer(GOOD), -1))
    files = {"samples": tmp_path / "samples.npz", "evaluation": tmp_path / "eval.npz"}
    with pytest.raises(SamplesError, match="is also an evaluation sample"):
        export(dense_source(), **files)


def test_a_model_whose_sizes_are_all_fixed_is_exported(export: Export) -> None:
    fixed = TensorSpec("x", "float32", (3, FEATURES))
    source = FakeSource(
        (fixed,), ("logits",), lambda feeds: (dense_answer(feeds["x"]),), dense_source().ways
    )
    manifest = export(source, recipes=("fp32",)).manifest
    assert manifest.outputs[0].shape == (3, CLASSES)
    assert [case.name for case in manifest.golden.cases] == ["fixed"]

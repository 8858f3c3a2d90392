"""Calibration: the ranges are right, and memory does not grow with the samples."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgedl.export.recipes import calibration
from edgedl.export.recipes.calibration import extremes, open_activations, ranges
from edgedl.export.recipes.ranges import BINS, Extremes, Histogram
from edgedl.export.samples import Samples
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec
from tests.export.fake_source import IMAGE, conv_graph, model, normal


def _samples(spec: TensorSpec, values: Array) -> Samples:
    return Samples({spec.name: values}, (spec,), "a test", "")


@pytest.fixture
def images() -> Samples:
    return _samples(IMAGE, normal(0, 70, 1, 6, 6))


def test_min_max_is_what_onnxruntimes_own_calibrator_finds(images: Samples, tmp_path: Path) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._parts = iter([images.part(range(0, 32)), images.part(range(32, 70))])

        def get_next(self) -> Arrays | None:
            return next(self._parts, None)

    onnx.save_model(conv_graph(), tmp_path / "m.onnx")
    calibrator = create_calibrator(
        tmp_path / "m.onnx", augmented_model_path=str(tmp_path / "augmented.onnx")
    )
    calibrator.collect_data(Reader())
    theirs = {k: v.range_value for k, v in calibrator.compute_data().items()}
    ours = ranges(open_activations(conv_graph()), images, "minmax")
    assert set(ours) == {"image", "convolved", "positive", "flat", "logits"}
    for name, (low, high) in theirs.items():
        assert ours[name] == (np.ravel(low)[0], np.ravel(high)[0]), name


def test_memory_stays_flat_however_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LARGEST_BATCH_BYTES", 2**18)
    spec = TensorSpec("image", "float32", ("batch", 1, 6, 6))
    activations = open_activations(conv_graph())
    peaks = {}
    for count in (100, 1000):
        samples = _samples(spec, normal(0, count, 1, 6, 6))
        tracemalloc.start()
        ranges(activations, samples, "entropy")
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[1000] < 1.5 * peaks[100]


def test_a_batch_is_as_large_as_its_tensors_allow(
    images: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    activations = open_activations(conv_graph())

    def sizes() -> list[int]:
        streamed = activations.stream(images, ("convolved",))
        return [len(arrays["convolved"]) for arrays in streamed]

    assert sizes() == [32, 32, 6]
    monkeypatch.setattr(calibration, "LARGEST_BATCH_BYTES", 20 * 4 * 4 * 4 * 4)
    assert sizes() == [20, 20, 20, 10]


def test_ranges_hold_at_other_lengths_too() -> None:
    # The mean over time of the values is largest where the sequence is short.
    node = helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1])
    graph = model([node], {"x": ["batch", "time", 1]}, {"mean": ["batch", 1, 1]}, {})
    spec = TensorSpec("x", "float32", ("batch", "time", 1))
    values = np.zeros((4, 20, 1), np.float32)
    values[:, 0] = 1
    given = replace(_samples(spec, values), others=({"time": 1},))
    found = extremes(open_activations(graph), given)
    assert found["mean"].range == (pytest.approx(0.05), 1.0)


def test_a_histogram_of_parts_is_the_histogram_of_the_whole() -> None:
    values = normal(0, 4000) * np.geomspace(0.01, 40, 4000).astype(np.float32)
    whole = Histogram.empty()
    for part in np.split(values, 40):
        whole = whole.plus(part)
    assert whole.counts.sum() == len(values)
    assert whole.extremes.range == (float(values.min()), float(values.max()))
    edges = np.linspace(-whole.top, whole.top, BINS + 1)
    counts, _ = np.histogram(values, edges)
    assert np.abs(np.cumsum(whole.counts) - np.cumsum(counts)).max() <= 4


def test_a_histogram_of_zeros_first_has_its_range_from_what_follows() -> None:
    found = Histogram.empty().plus(np.zeros(10, np.float32)).plus(np.full(10, 3.0, np.float32))
    assert found.top == 3.0
    assert found.counts.sum() == 20
    assert found.extremes == Extremes(0.0, 3.0)


def test_a_percentile_cuts_outliers_at_either_end() -> None:
    values = np.concatenate([np.linspace(-1, 1, 9_998), [-50.0, 80.0]]).astype(np.float32)
    low, high = Histogram.empty().plus(values).percentile(99.9)
    width = 160 / BINS
    assert low == pytest.approx(-0.999, abs=width)
    assert high == pytest.approx(0.999, abs=width)
    assert Histogram.empty().plus(values).percentile(100.0) == (-50.0, 80.0)


def test_entropy_clips_a_lonely_outlier_but_no_even_spread() -> None:
    rng = np.random.default_rng(0)
    lonely = np.append(rng.standard_normal(100_000), 60.0).astype(np.float32)
    low, high = Histogram.empty().plus(lonely).entropy()
    assert 2.5 < high < 30
    assert low == lonely.min()
    even = rng.uniform(-1, 1, 100_000).astype(np.float32)
    low, high = Histogram.empty().plus(even).entropy()
    assert low < -0.95
    assert high > 0.95


def test_entropy_does_not_clip_values_that_all_lie_far_from_zero() -> None:
    """Clipped into one bin they all look alike, and a divergence finds nothing amiss."""
    values = 1 / (1 + np.exp(-0.3 * normal(0, 50_000)))
    _, high = Histogram.empty().plus(values).entropy()
    assert values.max() * 0.95 < high <= values.max()


def test_a_tensor_of_nothing_has_the_range_of_zero() -> None:
    assert Extremes().plus(np.zeros(0, np.float32)).range == (0.0, 0.0)
    assert Histogram.empty().percentile() == (0.0, 0.0)


def test_entropy_is_not_drawn_to_zero_by_what_a_relu_cuts() -> None:
    values = np.maximum(np.random.default_rng(0).standard_normal(100_000), 0).astype(np.float32)
    _, high = Histogram.empty().plus(values).entropy()
    assert high > 3.0


def test_entropy_of_a_handful_of_values_is_their_whole_range() -> None:
    values = np.append(normal(0, 300), np.float32(12.0))
    assert Histogram.empty().plus(values).entropy() == (values.min(), 12.0)

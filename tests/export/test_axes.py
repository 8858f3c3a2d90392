"""Dynamic axes: sizes the source can't run are replaced, and a pinned axis is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl.export.axes import movable_sizes
from edgedl.export.errors import BakedAxisError, ConversionError, SourceError
from edgedl.export.interface import Interface
from edgedl.export.request import ExportRequest
from edgedl.export.samples import Samples
from edgedl.export.sources import Conversion
from edgedl.export.sources.batch import is_batch
from edgedl.export.study import study_source
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec
from tests.export.conftest import Export
from tests.export.fake_source import FakeSource, dense_graph, dense_source, normal, way

SIGNAL = TensorSpec("x", "float32", ("time", 2))
PAIR = (TensorSpec("a", "float32", ("m", 2)), TensorSpec("b", "float32", ("n", 2)))


def _sizes(runs: Callable[..., bool], specs: tuple[TensorSpec, ...], **sizes: int) -> Any:
    arrays = {
        s.name: normal(0, *(d if isinstance(d, int) else sizes[d] for d in s.shape)) for s in specs
    }

    def ask(feeds: Arrays) -> Arrays:
        if not runs(*(len(feeds[s.name]) for s in specs)):
            raise SourceError("no such size")
        return {}

    return movable_sizes(ask, Interface(specs, (), ()), Samples(arrays, specs, "", ""))


def test_a_kernel_wider_than_the_axis_gets_longer_sizes() -> None:
    moves, refused = _sizes(lambda time: time >= 9, (SIGNAL,), time=12)
    assert moves == (({"time": 12}, {"time": 20}, {"time": 24}),)
    assert [r.sizes for r in refused] == [{"time": 1}, {"time": 7}]
    assert refused[0].reason == "no such size"


def test_a_multiple_of_eight_stays_one() -> None:
    moves, _ = _sizes(lambda time: time % 8 == 0, (SIGNAL,), time=16)
    assert moves == (({"time": 16}, {"time": 24}, {"time": 32}),)


def test_usual_sizes_that_run_are_kept() -> None:
    moves, refused = _sizes(lambda time: time > 1, (SIGNAL,), time=5)
    assert [r.sizes for r in refused] == [{"time": 1}]
    assert {m["time"] for m in moves[0]} == {5, 7, 10}


def test_an_axis_that_can_not_move_is_named_with_its_flag() -> None:
    with pytest.raises(SourceError, match=r"'time' can't move.* at 5 only \(no such") as caught:
        _sizes(lambda time: time == 5, (SIGNAL,), time=5)
    assert caught.value.hint.startswith("leave out --dynamic x:0=time, or")


def test_axes_that_go_together_move_together() -> None:
    moves, _ = _sizes(lambda m, n: m == n, PAIR, m=5, n=5)
    assert moves == (({"m": 5, "n": 5}, {"m": 10, "n": 10}, {"m": 15, "n": 15}),)
    moves, _ = _sizes(lambda m, n: n == m + 3, PAIR, m=5, n=8)
    assert moves == (({"m": 5, "n": 8}, {"m": 6, "n": 9}, {"m": 13, "n": 16}),)


def _conv_source(least: int) -> FakeSource:
    """Sums of neighbours: a sequence shorter than `least` can't be run."""

    def answer(feeds: Arrays) -> tuple[Array, ...]:
        if feeds["x"].shape[1] < least:
            raise SourceError("the kernel is wider than the sequence")
        return (feeds["x"] @ KERNEL,)

    spec = TensorSpec("x", "float32", ("batch", "time", 6))
    return FakeSource((spec,), ("logits",), answer, (way(_sequence_graph),))


KERNEL = normal(3, 6, 5)


def _sequence_graph(opset: int, rows: int = 0) -> Any:
    graph = dense_graph(opset, KERNEL, np.zeros(5, np.float32))
    shape = [1, rows, 6] if rows else [0, 0, 6]
    from onnx import helper, numpy_helper

    graph.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "shape"))
    graph.graph.node.insert(0, helper.make_node("Reshape", ["x", "shape"], ["same"]))
    graph.graph.node[1].input[0] = "same"
    return graph


def test_refused_sizes_are_in_the_manifest(export: Export, tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", x=normal(0, 8, 12, 6))
    bundle = export(_conv_source(9), samples=tmp_path / "samples.npz", recipes=("fp32",))
    times = {c.sizes["time"] for c in bundle.manifest.golden.cases}
    assert times == {12, 20, 24}
    refused = bundle.manifest.provenance["sizes_refused_by_source"]
    assert {r["sizes"]["time"] for r in refused} == {1, 7}
    assert "wider" in refused[0]["reason"]


def test_calibration_runs_no_size_that_the_source_refuses(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", x=normal(0, 8, 12, 6))
    request = ExportRequest("m", tmp_path / "b", samples=tmp_path / "samples.npz")
    assert study_source(_conv_source(9), request).calibration.others == ({"time": 20}, {"time": 24})
    assert study_source(_conv_source(1), request).calibration.others == ({"time": 1}, {"time": 7})


def _nan_when_short(x: Array) -> Array:
    return np.where(x.shape[1] < 8, np.float32(np.nan), x)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(lambda x: x[:, 8:], "answers nothing"), (_nan_when_short, "holds NaN")],
)
def test_sizes_that_have_no_answer_are_refused(
    tmp_path: Path, answer: Callable[[Array], Array], reason: str
) -> None:
    spec = TensorSpec("x", "float32", ("batch", "time", 6))
    source = FakeSource((spec,), ("y",), lambda feeds: (answer(feeds["x"]),), ())
    np.savez(tmp_path / "samples.npz", x=normal(0, 8, 12, 6))
    request = ExportRequest("m", tmp_path / "b", samples=tmp_path / "samples.npz")
    refused = study_source(source, request).refused
    assert [r.sizes for r in refused] == [{"time": 1}, {"time": 7}]
    assert reason in refused[0].reason


def _pinning(interface: Any, example: Any, opset: int) -> Any:
    raise BakedAxisError(("batch",), "it says so")


@pytest.mark.parametrize("other", [(), (Conversion("pinning", "", _pinning),)])
def test_an_axis_that_every_path_pins_is_named(
    export: Export, other: tuple[Conversion, ...]
) -> None:
    def baked(opset: int) -> Any:  # right for 32 rows only
        graph = dense_graph(opset)
        from onnx import helper, numpy_helper

        rows = numpy_helper.from_array(np.array([[1.0]] * 32, np.float32), "rows")
        graph.graph.initializer.append(rows)
        graph.graph.node[1].output[0] = "sum"
        graph.graph.node.append(helper.make_node("Mul", ["sum", "rows"], ["logits"]))
        return graph

    with pytest.raises(
        ConversionError, match=r"axis 'batch' can't move.*baking: it pins"
    ) as caught:
        export(dense_source(way(baked, "baking"), *other))
    assert caught.value.hint.startswith("leave out --dynamic x:0=batch")


def _rowwise(specs: tuple[TensorSpec, ...], answer: Callable[..., Array], **arrays: Array) -> bool:
    return is_batch(lambda feeds: (answer(**feeds),), specs, "batch", arrays)


def test_the_batch_is_proved_by_the_sources_own_answers() -> None:
    rows = (TensorSpec("x", "float32", ("batch", 3)),)
    x = normal(0, 5, 3)
    assert _rowwise(rows, lambda x: x * 2, x=x)
    assert _rowwise(rows, lambda x: x * 2, x=x[:1])
    assert _rowwise(rows, lambda x: np.stack([x, x], 0), x=x)  # (layers, batch, features)
    assert not _rowwise(rows, lambda x: x - x.mean(0), x=x)
    assert not _rowwise(rows, lambda x: np.cumsum(x, 0), x=x)
    assert not _rowwise(rows, lambda x: x.sum(0), x=x)
    assert not _rowwise(rows, lambda x: np.zeros_like(x), x=x)  # proves nothing


def test_a_source_that_runs_one_row_only_has_no_batch() -> None:
    def answer(x: Array) -> Array:
        if len(x) > 1:
            raise SourceError("one row only")
        return x

    assert not _rowwise((TensorSpec("x", "float32", ("batch", 3)),), answer, x=normal(0, 1, 3))

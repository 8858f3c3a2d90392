"""`--dynamic`, `--state`, and public names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedl.export.errors import SourceError
from edgedl.export.interface import (
    DynamicAxis,
    clean_name,
    fitting_pairs,
    infer_outputs,
    name_outputs,
    parse_dynamic,
    parse_state,
    with_dynamic,
)
from edgedl.export.stages import StageReport
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import StatePair, TensorSpec
from tests.export.conftest import Export
from tests.export.fake_source import FEATURES, FakeSource, dense_answer, dense_graph, normal, way


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("tokens:1=time", DynamicAxis("tokens", 1, "time")),
        ("x:0=batch", DynamicAxis("x", 0, "batch")),
        ("a.b:12=_n", DynamicAxis("a.b", 12, "_n")),
    ],
)
def test_dynamic_is_read(text: str, axis: DynamicAxis) -> None:
    assert parse_dynamic(text) == axis


@pytest.mark.parametrize(
    "text", ["", "tokens", "tokens:1", "tokens=time", "tokens:x=time", "tokens:-1=time",
             ":1=time", "tokens:1=", "tokens:1=7", "tokens:1=a b", "a:1=b=c"]
)  # fmt: skip
def test_dynamic_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="INPUT:AXIS=NAME"):
        parse_dynamic(text)


def test_state_is_read() -> None:
    assert parse_state("h_out=h") == StatePair(input="h", output="h_out")


@pytest.mark.parametrize("text", ["", "h", "=h", "h=", "a=b=c"])
def test_state_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="OUT=IN"):
        parse_state(text)


@pytest.mark.parametrize(
    ("axis", "message"), [("y:0=n", "no such input"), ("x:2=n", "no such axis")]
)
def test_a_dynamic_axis_that_is_not_there_is_refused(axis: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        with_dynamic([TensorSpec("x", "float32", (2, 3))], [parse_dynamic(axis)])
    assert "x: float32[2, 3]" in caught.value.hint


def test_an_axis_has_one_name() -> None:
    axes = [parse_dynamic("x:0=batch"), parse_dynamic("x:0=time")]
    with pytest.raises(SourceError, match="x:0 is 'batch' already"):
        with_dynamic([TensorSpec("x", "float32", (2, 3))], axes)
    (spec,) = with_dynamic([TensorSpec("x", "float32", (2, 3))], [axes[0], axes[0]])
    assert spec.shape == ("batch", 3)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [("x", "x"), ("x:0", "x"), ("net/dense/Add:0", "Add"), ("a b", "a_b"), (":0", "tensor")],
)  # fmt: skip
def test_names_are_cleaned(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


def test_an_output_with_an_inputs_name_is_its_next_state() -> None:
    names, pairs = name_outputs(["y", "h"], ["x", "h"], [])
    assert names == ("y", "h_out")
    assert pairs == (StatePair(input="h", output="h_out"),)


def test_a_declared_pair_is_kept_and_wins() -> None:
    names, pairs = name_outputs(["y", "hn"], ["x", "h"], [StatePair(input="h", output="hn")])
    assert names == ("y", "hn")
    assert pairs == (StatePair(input="h", output="hn"),)


@pytest.mark.parametrize("pair", ["nowhere=x", "y=nowhere"])
def test_a_pair_of_tensors_that_are_not_there_is_refused(pair: str) -> None:
    with pytest.raises(SourceError, match=f"--state {pair}: there is no such tensor"):
        name_outputs(["y"], ["x"], [parse_state(pair)])


H = TensorSpec("h", "float32", ("batch", 3))
PAIR = StatePair(input="h", output="h_out")


@pytest.mark.parametrize(
    "answer",
    [np.zeros((1, 4), np.float32), np.zeros((1, 3)), np.zeros((1, 1, 3), np.float32)],
)
def test_a_declared_pair_of_other_shapes_is_refused(answer: Array) -> None:
    with pytest.raises(SourceError, match=r"--state h_out=h: 'h_out' is float\d+\[1, "):
        fitting_pairs([PAIR], [PAIR], [H], {"h_out": answer})


def test_an_output_that_only_shares_an_inputs_name_is_no_state() -> None:
    assert fitting_pairs([PAIR], [], [H], {"h_out": np.zeros((1, 4), np.float32)}) == ()


def test_a_state_may_grow_along_a_free_axis() -> None:
    spec = TensorSpec("h", "float32", ("batch", "past", 3))
    answer = {"h_out": np.zeros((1, 8, 3), np.float32)}
    assert fitting_pairs([PAIR], [PAIR], [spec], answer) == (PAIR,)


def test_state_that_can_not_go_round_ends_the_export(export: Export) -> None:
    with pytest.raises(SourceError, match="--state logits=x: 'logits' is float32"):
        export(
            FakeSource(
                (TensorSpec("x", "float32", ("batch", FEATURES)),),
                ("logits",),
                lambda feeds: (dense_answer(feeds["x"]),),
                (way(dense_graph),),
            ),
            state=(parse_state("logits=x"),),
        )


def test_an_input_is_fed_from_one_output() -> None:
    specs, x = [TensorSpec("x", "float32", (2,))], np.zeros(2, np.float32)
    pairs = [parse_state("y=x"), parse_state("z=x")]
    assert fitting_pairs([pairs[0]] * 2, pairs, specs, {"y": x}) == (pairs[0],)
    with pytest.raises(SourceError, match="x is fed from y and z"):
        fitting_pairs(pairs, pairs, specs, {"y": x, "z": x})
    # One that was asked for goes before one that shares the input's name.
    assert fitting_pairs(pairs, [pairs[1]], specs, {"y": x, "z": x}) == (pairs[1],)


def test_two_outputs_of_one_clean_name_are_refused() -> None:
    with pytest.raises(SourceError, match="two outputs have one name"):
        name_outputs(["a/y:0", "b/y:0"], ["x"], [])


def test_output_axes_are_called_after_the_input_axes_they_follow() -> None:
    runs = [
        ({"batch": b, "time": t}, {"y": np.zeros((b, t, 5), np.float32), "n": np.zeros(2 * t)})
        for b in (1, 4)
        for t in (1, 7)
    ]
    assert infer_outputs(["y", "n"], runs) == (
        TensorSpec("y", "float32", ("batch", "time", 5)),
        TensorSpec("n", "float64", ("n_0",)),
    )


def test_an_axis_named_on_the_command_line_is_dynamic_in_the_bundle(export: Export) -> None:
    source = FakeSource(
        (TensorSpec("x", "float32", (3, FEATURES)),),
        ("logits",),
        lambda feeds: (dense_answer(feeds["x"]),),
        (way(dense_graph),),
    )
    bundle = export(source, dynamic=(parse_dynamic("x:0=batch"),), recipes=("fp32",))
    assert bundle.manifest.inputs[0].shape == ("batch", FEATURES)
    assert bundle.manifest.outputs[0].shape[0] == "batch"


@pytest.mark.parametrize("batch", [False, True])
def test_a_file_is_said_to_be_one_sample_where_no_axis_is_the_batch(
    export: Export, stages: list[StageReport], tmp_path: Path, batch: bool
) -> None:
    source = FakeSource(
        (TensorSpec("x", "float32", (3, FEATURES)),),
        ("logits",),
        lambda feeds: (dense_answer(feeds["x"]),),
        (way(dense_graph),),
    )
    np.savez(tmp_path / "x.npz", x=normal(0, 20 if batch else 3, FEATURES))
    dynamic = (parse_dynamic("x:0=batch"),) if batch else ()
    export(source, dynamic=dynamic, recipes=("fp32",), samples=tmp_path / "x.npz")
    detail = stages[0].detail
    assert ("20 samples from" in detail) is batch
    assert ("as one sample: no axis is called 'batch'" in detail) is not batch

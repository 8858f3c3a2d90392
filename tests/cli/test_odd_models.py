"""Models that are valid and odd: each becomes a bundle that proves itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.cli.conftest import Edgedl, assert_one_error
from tests.export.fake_source import dense_graph, model, normal


def _exported(edgedl: Edgedl, folder: Path, graph: onnx.ModelProto, *options: str) -> str:
    """What export says on stderr; the bundle passes parity."""
    onnx.save(graph, folder / "m.onnx")
    bundle = folder / "m.bundle"
    result = edgedl("export", folder / "m.onnx", "-o", bundle, "--no-simplify", *options)
    assert result.exit_code == 0, result.stderr
    assert edgedl("parity", bundle).exit_code == 0
    return result.stderr


@pytest.mark.parametrize(
    ("kernel", "row", "alike"),
    [(np.zeros((6, 5)), normal(0, 40, 6), True), (normal(1, 6, 5), np.ones((40, 6)), True),
     (normal(1, 6, 5), normal(0, 40, 6), False)],
    ids=["weights of zeros", "one sample over and over", "a usual model"],
)  # fmt: skip
def test_answers_that_never_change_are_told(
    edgedl: Edgedl, tmp_path: Path, kernel: Any, row: Any, alike: bool
) -> None:
    graph = dense_graph(kernel=kernel.astype(np.float32))
    np.savez(tmp_path / "s.npz", x=row.astype(np.float32))
    said = _exported(edgedl, tmp_path, graph, "--samples", str(tmp_path / "s.npz"))
    assert ("every sample is answered alike, which proves little: logits" in said) is alike
    shown = edgedl("inspect", tmp_path / "m.bundle").stdout
    assert ("every one is answered alike: logits" in shown) is alike


def test_an_output_without_classes(edgedl: Edgedl, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    graph = model(nodes, {"x": ["batch", 0]}, {"y": ["batch", 0]}, {})
    _exported(edgedl, tmp_path, graph)


BRANCHES = """
import torch

class Branches(torch.nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x * 3
"""


@pytest.mark.torch
def test_a_decision_on_values_that_tracing_fixes_is_told(edgedl: Edgedl, tmp_path: Path) -> None:
    """All samples decide alike, so no golden vector can tell."""
    pytest.importorskip("torch")
    (tmp_path / "branches.py").write_text(BRANCHES)
    np.savez(tmp_path / "s.npz", x=np.abs(normal(0, 8, 6)))
    bundle = tmp_path / "m.bundle"
    result = edgedl(
        "export", f"{tmp_path / 'branches.py'}:Branches", "-o", bundle, "--no-simplify",
        "--samples", tmp_path / "s.npz", "--recipe", "fp32",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "the source decides by values" in result.stderr
    assert "caution: the source decides by values" in edgedl("inspect", bundle).stdout


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("int8-static+int8-static", "after int8-static: the model holds QDQ pairs already"),
        ("int8-static-entropy+mixed", "mixed changes nothing after int8-static-entropy"),
        ("int8-static+int8-dynamic", "int8-dynamic changes nothing after int8-static"),
        ("int8-dynamic+int8-dynamic", "int8-dynamic can't be made after int8-dynamic"),
        ("fp16+fp16", "fp16 can't be made after fp16"),
    ],
)
def test_a_composition_that_adds_nothing_is_one_line(
    edgedl: Edgedl, tmp_path: Path, recipe: str, message: str
) -> None:
    nodes = [helper.make_node("MatMul", ["x", "kernel"], ["y"])]
    constants = {"kernel": normal(1, 64, 16)}
    graph = model(nodes, {"x": ["batch", 64]}, {"y": ["batch", 16]}, constants)
    onnx.save(graph, tmp_path / "m.onnx")
    np.savez(tmp_path / "s.npz", x=normal(0, 80, 64))
    result = edgedl(
        "export", tmp_path / "m.onnx", "-o", tmp_path / "m.bundle", "--no-simplify",
        "--samples", tmp_path / "s.npz", "--recipe", recipe,
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, message, hint="leave")
    assert not (tmp_path / "m.bundle").exists()

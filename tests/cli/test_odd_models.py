"""Models that are valid and odd: each becomes a bundle that proves itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.cli.conftest import Edgedl
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

"""Models that are valid and odd: each becomes a bundle that proves itself."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper

from tests.cli.conftest import Edgedl
from tests.export.fake_source import model


def _exported(edgedl: Edgedl, folder: Path, graph: onnx.ModelProto, *options: str) -> str:
    """What export says on stderr; the bundle passes parity."""
    onnx.save(graph, folder / "m.onnx")
    bundle = folder / "m.bundle"
    result = edgedl("export", folder / "m.onnx", "-o", bundle, "--no-simplify", *options)
    assert result.exit_code == 0, result.stderr
    assert edgedl("parity", bundle).exit_code == 0
    return result.stderr


def test_an_output_without_classes(edgedl: Edgedl, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    graph = model(nodes, {"x": ["batch", 0]}, {"y": ["batch", 0]}, {})
    _exported(edgedl, tmp_path, graph)

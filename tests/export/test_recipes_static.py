"""int8-static and what follows from its calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgedl.export.recipes import find_recipe
from edgedl.runtime.manifest import TensorSpec
from tests.export.fake_source import model, normal
from tests.export.layers import ROWS, VECTOR, WIDE, material, run, sqnr_db

CLASSES = 1000
PROBABILITIES = TensorSpec("y", "float32", ("batch", CLASSES))


def _classifier() -> onnx.ModelProto:
    """Probabilities of a thousand classes, most of them under 1/512."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["scores"], name="dense"),
        helper.make_node("Softmax", ["scores"], ["y"], name="softmax", axis=-1),
    ]
    weight = normal(1, WIDE, CLASSES) / np.float32(np.sqrt(WIDE))
    return model(nodes, {"x": VECTOR.shape}, {"y": ["batch", CLASSES]}, {"weight": weight})


@pytest.mark.parametrize("name", ["int8-static", "int8-static-entropy", "mixed"])
def test_probabilities_of_many_classes_are_not_rounded_to_256ths(name: str, tmp_path: Path) -> None:
    samples = normal(0, ROWS, WIDE)
    given = material(_classifier(), (VECTOR, PROBABILITIES), samples, tmp_path, max_drop=50.0)
    product = find_recipe(name).make(given)
    expected = run(given.model, given, samples)
    actual = run(product.model, given, samples)
    assert sqnr_db(actual, expected) > 20
    assert (actual > 0).all()
    assert any(n.op_type == "DequantizeLinear" for n in product.model.graph.node)

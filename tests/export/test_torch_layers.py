"""An operator that torch's exporters don't know is blamed on its layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedl.export.errors import ConversionError
from edgedl.export.pipeline import export
from edgedl.export.request import ExportRequest
from edgedl.export.sources.torch_layers import refused_layer
from edgedl.export.sources.torch_run import Called
from tests.export.fake_source import normal

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

SPECTRUM = """
import torch
from torch import nn


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x[:, :4].reshape(-1, 2, 2)).real


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(7, 7), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(7, 7), Spectrum())

    def forward(self, x):
        return self.head(self.body(x))


def build():
    torch.manual_seed(0)
    return Net()
"""
REFUSAL = "Exporting the operator 'aten::{}' to ONNX opset version 17 is not supported"


def _called(module: object) -> Called:
    return Called(module, ("x",), lambda m, tensors: m(*tensors))


def test_the_refusal_of_an_export_names_the_layer(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(SPECTRUM)
    np.savez(tmp_path / "x.npz", x=normal(0, 20, 7))
    request = ExportRequest(
        source=f"{tmp_path}/net.py:build",
        output=tmp_path / "net.bundle",
        samples=tmp_path / "x.npz",
    )
    with pytest.raises(ConversionError, match=r"layer 'head\.1': .*'aten::linalg_eigvals'"):
        export(request)
    assert not request.output.exists()


def test_the_innermost_layer_that_called_it_first_is_blamed() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Sequential(torch.nn.GELU()))
    example = {"x": normal(0, 2, 4)}
    assert refused_layer(_called(layers), example, REFUSAL.format("gelu")) == "1.0"
    assert refused_layer(_called(layers), example, REFUSAL.format("nothing")) == ""
    assert refused_layer(_called(layers), example, "another reason: gelu") == ""


def test_the_module_is_left_as_it_was() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout())
    refused_layer(_called(layers), {"x": normal(0, 2, 4)}, REFUSAL.format("linear"))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in layers.modules())
    assert refused_layer(_called(layers), {"x": normal(0, 2, 5)}, REFUSAL.format("linear")) == ""

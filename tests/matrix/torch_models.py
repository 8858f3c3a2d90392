"""PyTorch models of the matrix: each factory as a person would write it."""

from __future__ import annotations

import torch
from torch import nn

from tests.matrix.entry import Entry, Input

HERE = "tests/matrix/torch_models.py"


def mlp() -> nn.Module:
    """Two dense layers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


ENTRIES = (Entry("torch mlp", f"{HERE}:mlp", {"input": Input(("batch", 32))}),)

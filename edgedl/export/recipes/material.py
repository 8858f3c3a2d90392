"""What a recipe works from and what it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from edgedl.export.errors import RecipeError
from edgedl.export.judgement import Judgement
from edgedl.export.quiet import quiet
from edgedl.export.samples import Samples
from edgedl.export.target import Target
from edgedl.runtime.errors import one_line
from edgedl.runtime.session import ENGINE_ERRORS

QUANTISER_ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    KeyError,
    TypeError,
    AssertionError,
    *ENGINE_ERRORS,
)
RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True)
class Material:
    """What a recipe works from.

    `model` is the verified float model, or what an earlier part of a composed recipe made of
    it. `scratch` is a directory for temporary files. `judgement` tells a recipe that searches
    (for a rank, for nodes to leave in float) what a candidate loses.
    """

    model: onnx.ModelProto
    calibration: Samples
    scratch: Path
    target: Target
    judgement: Judgement

    def count(self, *op_types: str) -> int:
        """How many nodes of these types the model has."""
        return sum(node.op_type in op_types for node in self.model.graph.node)


@dataclass(frozen=True)
class Product:
    """A variant's model and the settings it was made with."""

    model: onnx.ModelProto
    settings: Mapping[str, Any] = field(default_factory=dict)


def quantise(make: Callable[[], None], recipe: str) -> None:
    """Call ONNX Runtime's quantiser, silenced; what it raises becomes one line."""
    try:
        with quiet():
            make()
    except QUANTISER_ERRORS as error:
        raise RecipeError(
            f"{recipe}: onnxruntime's quantiser failed: {one_line(error)}", "leave this recipe out"
        ) from error

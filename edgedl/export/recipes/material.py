"""What a recipe works from and what it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import onnx

from edgedl.export import graph
from edgedl.export.errors import ConversionError, NothingGainedError, RecipeError
from edgedl.export.judgement import LEAST_SQNR_DB, Judgement
from edgedl.export.nodes import inner_nodes
from edgedl.export.quiet import quiet
from edgedl.export.samples import Samples
from edgedl.export.surgery import in_order
from edgedl.export.target import Target
from edgedl.runtime.engine import ENGINE_ERRORS
from edgedl.runtime.errors import EngineError, one_line

QUANTISER_ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    KeyError,
    TypeError,
    AssertionError,
    AttributeError,
    IndexError,
    RuntimeError,
    onnx.checker.ValidationError,
    *ENGINE_ERRORS,
)
RECURRENT = ("LSTM", "GRU", "RNN")

Step = TypeVar("Step")


@dataclass(frozen=True)
class Product:
    """A variant's model and the settings it was made with.

    `leaves` says of operators that the recipe doesn't quantise why; None for a recipe that
    is not there to quantise. `kept` says so of single nodes, by name. Both speak of `start`,
    the model that was quantised; None for the material's. `asked` is how often a search of the
    recipe's asks whether a candidate `passes`, about.
    """

    model: onnx.ModelProto
    settings: Mapping[str, Any] = field(default_factory=dict)
    leaves: Mapping[str, str] | None = None
    kept: Mapping[str, str] = field(default_factory=dict)
    start: onnx.ModelProto | None = None
    asked: int = 1


def _as_it_is(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


@dataclass(frozen=True)
class Material:
    """What a recipe works from.

    `model` is the verified float model, or what an earlier part of a composed recipe made of
    it; `edgedl.export.surgery.prepared` gave its nodes names. `scratch` is a directory for
    temporary files. `min_ort` is the oldest onnxruntime that must load the variant. A recipe
    that searches (for a rank, for nodes to leave in float) asks `passes`; `finish` is what a
    composed recipe still does to its candidates, so that the whole is judged.
    """

    model: onnx.ModelProto
    calibration: Samples
    scratch: Path
    target: Target
    judgement: Judgement
    min_ort: str | None = None
    least_sqnr_db: float = LEAST_SQNR_DB
    finish: Callable[[onnx.ModelProto], onnx.ModelProto] = _as_it_is

    def count(self, *op_types: str) -> int:
        """How many nodes of these types the model has."""
        return sum(node.op_type in op_types for node in self.model.graph.node)

    def outside(self, *op_types: str) -> str:
        """What a "the model has none of these" ends with: some may be where no recipe looks."""
        holders = sorted(
            {
                node.op_type
                for node in self.model.graph.node
                if any(inner.op_type in op_types for inner in inner_nodes(node))
            }
        )
        return f" outside its {' and '.join(holders)}, where no recipe looks" if holders else ""

    def passes(self, candidate: onnx.ModelProto) -> bool:
        """Whether a candidate, finished, keeps parity and the budget."""
        try:
            model = graph.conform(self.finish(candidate), self.judgement.interface)
            tolerance = self.judgement.tolerance(self.least_sqnr_db)
            return self.judgement.judge(model, tolerance).passed
        except (ConversionError, RecipeError, EngineError):
            return False

    def first_passing(
        self, ladder: Sequence[Step], build: Callable[[Step], onnx.ModelProto], otherwise: str
    ) -> Step:
        """The first step of a ladder whose model passes, found by bisection.

        Asks `len(ladder).bit_length()` times at most. Steps behind one that passes do too.

        Raises:
            NothingGainedError: None does; said with `otherwise`.
        """
        low, high = 0, len(ladder)
        while low < high:
            middle = (low + high) // 2
            if self.passes(build(ladder[middle])):
                high = middle
            else:
                low = middle + 1
        if low == len(ladder):
            raise NothingGainedError(otherwise, "leave it out")
        return ladder[low]


def quantise(make: Callable[[], onnx.ModelProto], recipe: str) -> onnx.ModelProto:
    """What one of ONNX Runtime's quantisers makes, its nodes in order; silenced.

    Raises:
        RecipeError: What it raises, as one line.
    """
    try:
        with quiet():
            return in_order(make())
    except QUANTISER_ERRORS as error:
        raise RecipeError(
            f"{recipe}: onnxruntime's quantiser failed: {one_line(error)}", "leave this recipe out"
        ) from error

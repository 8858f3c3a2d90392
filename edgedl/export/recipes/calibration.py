"""Calibration: a model's inner tensors on the samples, a batch at a time.

Nothing is kept but what the caller keeps, so memory depends on the model and on
`LARGEST_BATCH_BYTES`, not on the number of samples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import onnx

from edgedl.export.engine import open_as_written
from edgedl.export.nodes import copied
from edgedl.export.recipes.ranges import Extremes, Histogram, Range
from edgedl.export.samples import Samples
from edgedl.export.surgery import weights_of
from edgedl.runtime.engine import ENGINE_ERRORS
from edgedl.runtime.errors import EngineError, one_line
from edgedl.runtime.golden import Arrays
from edgedl.runtime.resize import resize_axes

Method = Literal["minmax", "percentile", "entropy"]

LARGEST_BATCH = 32
LARGEST_BATCH_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Activations:
    """A loaded model whose inner tensors can be looked at.

    `tensors` are the names of its float tensors that are no weights, inputs included.
    """

    session: Any
    inputs: tuple[str, ...]
    tensors: tuple[str, ...]

    def look(self, feeds: Arrays, names: Collection[str]) -> Arrays:
        """The values of named tensors for one call.

        Raises:
            EngineError: ONNX Runtime can't run the model.
        """
        inner = [name for name in names if name not in feeds]
        given = {name: feeds[name] for name in self.inputs}
        try:
            values = self.session.run(inner, given) if inner else []
        except ENGINE_ERRORS as error:
            raise EngineError(f"calibration: {one_line(error)}") from error
        looked = dict(zip(inner, values, strict=True))
        return {name: looked[name] if name in looked else feeds[name] for name in names}

    def stream(self, samples: Samples, names: Collection[str]) -> Iterator[Arrays]:
        """The values of named tensors, a batch of samples at a time.

        Every batch runs at the samples' own sizes, and at others where another axis than
        the batch is dynamic: a tensor may be larger where a sequence is short.
        """
        for feeds in self._calls(samples, names):
            yield self.look(feeds, names)

    def _calls(self, samples: Samples, names: Collection[str]) -> Iterator[Arrays]:
        size = self._batch(samples, names)
        for start in range(0, samples.count, size):
            feeds = samples.part(range(start, min(start + size, samples.count)))
            yield feeds
            for other in samples.others:
                yield resize_axes(feeds, samples.specs, other)

    def _batch(self, samples: Samples, names: Collection[str]) -> int:
        """As many samples as keep the looked-at tensors within `LARGEST_BATCH_BYTES`."""
        if not samples.count:
            return 1
        one = self.look(samples.part(range(1)), names)
        each = max(1, sum(array.nbytes for array in one.values()))
        return max(1, min(LARGEST_BATCH, LARGEST_BATCH_BYTES // each))


def open_activations(model: onnx.ModelProto) -> Activations:
    """Load a model with every tensor as an output.

    Raises:
        EngineError: ONNX Runtime can't load it.
    """
    augmented = copied(model)
    weights = weights_of(model)
    inputs = [v for v in model.graph.input if v.name not in weights]
    inner = [name for node in model.graph.node for name in node.output if name]
    del augmented.graph.output[:]
    augmented.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(inner))
    try:
        session = open_as_written(augmented.SerializeToString())
    except ENGINE_ERRORS as error:
        raise EngineError(f"calibration: {one_line(error)}") from error
    fed = [v.name for v in inputs if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    looked = [o.name for o in session.get_outputs() if o.type == "tensor(float)"]
    return Activations(session, tuple(v.name for v in inputs), (*fed, *looked))


def extremes(activations: Activations, samples: Samples) -> dict[str, Extremes]:
    """Every float tensor's least and largest value."""
    found = dict.fromkeys(activations.tensors, Extremes())
    for arrays in activations.stream(samples, activations.tensors):
        found = {name: found[name].plus(array) for name, array in arrays.items()}
    return found


def ranges(activations: Activations, samples: Samples, method: Method) -> dict[str, Range]:
    """Every float tensor's range by one of the methods."""
    if method == "minmax":
        return {n: seen.range for n, seen in extremes(activations, samples).items()}
    found = {name: Histogram.empty() for name in activations.tensors}
    for arrays in activations.stream(samples, activations.tensors):
        found = {name: found[name].plus(array) for name, array in arrays.items()}
    if method == "percentile":
        return {name: seen.percentile() for name, seen in found.items()}
    return {name: seen.entropy() for name, seen in found.items()}

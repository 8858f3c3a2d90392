"""tract: an ONNX file, its sizes fixed before it is optimised. One thread only."""

from __future__ import annotations

import tract

from benchmarks.peers.engines import OUTPUTS, Step
from edgedl.runtime.golden import Arrays

TYPES = {"float32": "f32", "int64": "i64"}


def open_model(inputs: Arrays, threads: int | None, file: str) -> Step:
    """A runnable model; `run` takes NumPy arrays and copies them."""
    model = tract.onnx().load(file)
    names = [model.input_name(i) for i in range(model.input_count())]
    exits = OUTPUTS[names[0]]  # it calls outputs by their nodes
    for i, name in enumerate(names):
        sizes = ",".join(str(size) for size in inputs[name].shape)
        model.set_input_fact(i, f"{sizes},{TYPES[str(inputs[name].dtype)]}")
    runnable = model.into_model().into_runnable()

    def step(given: Arrays) -> Arrays:
        values = runnable.run([given[name] for name in names])
        return {name: v.to_numpy() for name, v in zip(exits, values, strict=True)}

    return step

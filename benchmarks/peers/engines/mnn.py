"""MNN: its Module API, on what MNNConvert made of an ONNX file."""

from __future__ import annotations

import os

import MNN
from MNN import expr

from benchmarks.peers.engines import OUTPUTS, Step
from edgedl.runtime.golden import Arrays


def open_model(inputs: Arrays, threads: int | None, file: str) -> Step:
    """A module in float32 (`precision` high), whatever its weights are stored in."""
    count = threads or len(os.sched_getaffinity(0))
    config = {"backend": "CPU", "numThread": count, "precision": "high"}
    manager = MNN.nn.create_runtime_manager((config,))
    names, exits = list(inputs), OUTPUTS[next(iter(inputs))]
    module = MNN.nn.load_module_from_file(file, names, exits, runtime_manager=manager)
    entries = [
        expr.placeholder(list(a.shape), expr.NCHW, expr.int if a.dtype.kind == "i" else expr.float)
        for a in inputs.values()
    ]

    def step(given: Arrays) -> Arrays:
        for name, entry in zip(names, entries, strict=True):
            array = given[name]
            entry.write(array.astype("int32") if array.dtype.kind == "i" else array)
        values = module.forward(entries)
        return {name: value.read() for name, value in zip(exits, values, strict=True)}

    return step

"""OpenVINO: an ONNX file compiled for fixed sizes, latency first."""

from __future__ import annotations

import os

import numpy as np
import openvino

from benchmarks.peers.engines import Step
from edgedl.runtime.golden import Arrays


def open_model(inputs: Arrays, threads: int | None, file: str, precision: str = "f32") -> Step:
    """An infer request on tensors of its own; `precision` is the inference precision hint."""
    core = openvino.Core()
    model = core.read_model(file)
    model.reshape({name: list(array.shape) for name, array in inputs.items()})
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads or len(os.sched_getaffinity(0)),
        "INFERENCE_PRECISION_HINT": precision,
    }
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    entries = {name: np.array(array) for name, array in inputs.items()}
    for name, array in entries.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    exits = {o.get_any_name(): request.get_tensor(o.get_any_name()).data for o in compiled.outputs}

    def step(given: Arrays) -> Arrays:
        for name, array in entries.items():
            array[...] = given[name]
        request.infer()
        return exits

    return step

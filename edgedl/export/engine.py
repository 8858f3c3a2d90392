"""ONNX Runtime as the export uses it beside the runtime's own sessions."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort

from edgedl.runtime.host import usable_cpus


def open_as_written(model: str | bytes) -> Any:
    """A session on the CPU that runs a model node by node; silent, and errors are the engine's.

    Optimised, operators run together and the tensors between them are others.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = usable_cpus()
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

"""LiteRT (TensorFlow Lite): its Interpreter, XNNPACK as it comes by default."""

from __future__ import annotations

import os

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from benchmarks.peers.engines import Step
from edgedl.runtime.golden import Arrays


def open_model(inputs: Arrays, threads: int | None, file: str, delegate: str = "xnnpack") -> Step:
    """The interpreter of a `.tflite` file; `delegate` "none" leaves XNNPACK out."""
    kind = OpResolverType.AUTO
    if delegate == "none":
        kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    count = threads or len(os.sched_getaffinity(0))
    interpreter = Interpreter(file, num_threads=count, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    entries = {name: d["index"] for name, d in runner.get_input_details().items()}
    exits = {name: d["index"] for name, d in runner.get_output_details().items()}

    def step(given: Arrays) -> Arrays:
        for name, index in entries.items():
            interpreter.set_tensor(index, given[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in exits.items()}

    return step

"""ExecuTorch: a `.pte` program lowered to XNNPACK."""

from __future__ import annotations

import os

import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime

from benchmarks.peers.engines import OUTPUTS, Step
from edgedl.runtime.golden import Arrays


def open_model(inputs: Arrays, threads: int | None, file: str) -> Step:
    """The program's `forward` method; tensors share the arrays' memory."""
    portable_lib._unsafe_reset_threadpool(threads or len(os.sched_getaffinity(0)))
    method = Runtime.get().load_program(file).load_method("forward")
    exits = OUTPUTS[next(iter(inputs))]

    def step(given: Arrays) -> Arrays:
        values = method.execute([torch.from_numpy(array) for array in given.values()])
        return {name: value.numpy() for name, value in zip(exits, values, strict=True)}

    return step

"""Plain onnxruntime: `session.run` on a file, as its documentation shows it."""

from __future__ import annotations

import os

import numpy as np

from benchmarks.peers.engines import Step
from edgedl.runtime.golden import Arrays


def open_model(inputs: Arrays, threads: int | None, file: str, how: str = "run") -> Step:
    """`run` with default options but for the threads, or with `how` "bound" the bare binding.

    The bare binding is `run_with_iobinding` and nothing else: what any caller pays at least.
    Its inputs are bound to the arrays given here and are not copied.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    if how == "bound":  # as edgedl opens it
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    if how == "bound":
        return _bound(session, inputs, names)
    return lambda given: dict(zip(names, session.run(names, given), strict=True))


def _bound(session: object, inputs: Arrays, names: list[str]) -> Step:
    import onnxruntime as ort

    binding = session.io_binding()  # type: ignore[attr-defined]
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    outputs = [np.zeros_like(a) for a in session.run(names, inputs)]  # type: ignore[attr-defined]
    for name, array in zip(names, outputs, strict=True):
        binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
    run, answer = session.run_with_iobinding, dict(zip(names, outputs, strict=True))  # type: ignore[attr-defined]

    def step(given: Arrays) -> Arrays:
        run(binding)
        return answer

    return step

"""Plain onnxruntime, and edgedl over it, as subjects of a benchmark; see `benchmarks.frameworks`.

Each takes the bundle, the variant and its file, so that both sides read the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime as ort

from edgedl import runtime
from edgedl.runtime.session import check_inputs

Arrays = dict[str, np.ndarray]


def _session(file: str, threads: int | None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def engine_run(
    inputs: Arrays, threads: int | None, bundle: str, variant: str, file: str
) -> Callable[[], Arrays]:
    """`session.run`, as onnxruntime's documentation shows it."""
    session = _session(file, threads)
    names = [output.name for output in session.get_outputs()]
    return lambda: dict(zip(names, session.run(names, inputs), strict=True))


def engine_bound(
    inputs: Arrays, threads: int | None, bundle: str, variant: str, file: str
) -> Callable[[], Arrays]:
    """`run_with_iobinding`, everything bound beforehand."""
    session = _session(file, threads)
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, inputs), strict=True))
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    for name, array in outputs.items():
        binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))

    def run() -> Arrays:
        session.run_with_iobinding(binding)
        return outputs

    return run


def edgedl_run(
    inputs: Arrays, threads: int | None, bundle: str, variant: str, file: str
) -> Callable[[], Arrays]:
    """`model.run`."""
    model = runtime.load(bundle, variant, threads=threads, tuned=False)
    return lambda: model.run(**inputs)


def edgedl_bound(
    inputs: Arrays, threads: int | None, bundle: str, variant: str, file: str
) -> Callable[[], Arrays]:
    """A call from `model.bind`."""
    model = runtime.load(bundle, variant, threads=threads, tuned=False)
    call = model.bind(**check_inputs(model.inputs, inputs))
    for name, array in inputs.items():
        call.inputs[name][...] = array
    return call


def engine_load(
    inputs: Arrays, threads: int | None, bundle: str, variant: str, file: str
) -> Callable[[], None]:
    """`InferenceSession(file)`."""

    def load() -> None:
        _session(file, threads)

    return load


def edgedl_load(
    inputs: Arrays, threads: int | None, bundle: str, variant: str, file: str
) -> Callable[[], None]:
    """`runtime.load`, hashes and manifest verified."""

    def load() -> None:
        runtime.load(bundle, variant, threads=threads, tuned=False)

    return load

"""What calibration takes in memory: onnxruntime's own calibrators beside ours.

    python -m benchmarks.calibration

Each runs in a process of its own on a small CNN; printed is how far the peak resident set
rises over what it was before, in MiB. docs/recipes.md quotes the table.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgedl.export.quiet import quiet
from edgedl.export.recipes.calibration import open_activations, ranges
from edgedl.export.samples import Samples
from edgedl.runtime.golden import Arrays
from edgedl.runtime.manifest import TensorSpec
from edgedl.runtime.start import peak_resident_bytes

COUNTS = (256, 1024, 4096)
METHODS = ("minmax", "percentile", "entropy")
SPEC = TensorSpec("image", "float32", ("batch", 1, 28, 28))
BATCH = 32


def network() -> onnx.ModelProto:
    """Image -> Conv 16 -> Relu -> Conv 16 -> Relu -> scores: 64,000 floats a sample."""
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.standard_normal((16, 1, 3, 3)).astype(np.float32),
        "second": rng.standard_normal((16, 16, 3, 3)).astype(np.float32) / 12,
        "head": rng.standard_normal((16, 10)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "head"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(SPEC.shape))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batches(count: int) -> Iterator[Arrays]:
    """Samples a batch at a time, none kept."""
    rng = np.random.default_rng(1)
    for _ in range(count // BATCH):
        yield {"image": rng.random((BATCH, 1, 28, 28), np.float32)}


def run_theirs(method: str, count: int) -> None:
    """Onnxruntime's calibrator."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        create_calibrator,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._parts = batches(count)

        def get_next(self) -> Arrays | None:
            return next(self._parts, None)

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    with tempfile.TemporaryDirectory() as folder, quiet():
        file = Path(folder) / "cnn.onnx"
        onnx.save_model(network(), file)
        calibrator = create_calibrator(
            file,
            augmented_model_path=str(file.with_name("augmented.onnx")),
            calibrate_method=methods[method],
        )
        calibrator.collect_data(Reader())
        calibrator.compute_data()


def run_ours(method: str, count: int) -> None:
    """edgedl's; the samples themselves are in memory here, as in an export."""
    images = np.concatenate([part["image"] for part in batches(count)])
    samples = Samples({"image": images}, (SPEC,), "made up", "")
    ranges(open_activations(network()), samples, method)  # type: ignore[arg-type]


def measure(who: str, method: str, count: int) -> str:
    """MiB by which the peak rises in a fresh process, or why it failed."""
    command = [sys.executable, "-m", "benchmarks.calibration", who, method, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else f"failed ({done.returncode})"


def main() -> None:
    """Print the table, or run one cell of it."""
    if len(sys.argv) > 1:
        who, method, count = sys.argv[1:]
        before = peak_resident_bytes() or 0
        {"onnxruntime": run_theirs, "edgedl": run_ours}[who](method, int(count))
        print(((peak_resident_bytes() or 0) - before) // 2**20)
        return
    print("| samples | method | onnxruntime | edgedl |\n| --- | --- | --- | --- |")
    for method in METHODS:
        for count in COUNTS:
            theirs, ours = (measure(who, method, count) for who in ("onnxruntime", "edgedl"))
            print(f"| {count:,} | {method} | {theirs} MiB | {ours} MiB |", flush=True)


if __name__ == "__main__":
    main()

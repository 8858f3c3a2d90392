"""ncnn: pnnx reads the ONNX file that edgedl exported, in float32."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.peers.conversions import Wanted, wanted

SIGNATURES = {
    "digits": ({"image": [28, 28, 1]}, {"probabilities": [1, 10]}),
    "step": (
        {"tokens": [1], "h": [2, 256], "c": [2, 256]},
        {"logits": [1, 1, 100], "h_out": [2, 1, 256], "c_out": [2, 1, 256]},
    ),
}


def main() -> None:
    """`OUT.json` says what the numbered blobs are called and shaped."""
    asked = wanted()
    stem = asked.file.with_suffix("")
    inputs, outputs = _signature(asked)
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(asked.demo / f"{asked.model}.bundle" / "fp32.onnx", folder)
        # pnnx writes beside its input, and fp16=0 keeps the weights in float32.
        command = [_pnnx(), copy, f"inputshape={_shapes(asked)}", "fp16=0"]
        done = subprocess.run(command, check=False, stdout=sys.stderr)
        if done.returncode != 0:
            sys.exit(f"pnnx ended with status {done.returncode}")
        for part in ("param", "bin"):
            shutil.move(Path(folder) / f"fp32.ncnn.{part}", f"{stem}.ncnn.{part}")
    whole = asked.model == "text"
    asked.file.write_text(json.dumps({"inputs": inputs, "outputs": outputs, "whole": whole}))


def _pnnx() -> str:
    """The wheel's program; its Python module is only a wrapper, and wants torch."""
    module = importlib.util.find_spec("pnnx")
    if module is None or module.origin is None:
        sys.exit("there is no pnnx")
    return str(Path(module.origin).parent / "pnnx")


def _shapes(asked: Wanted) -> str:
    shapes = asked.shapes
    if asked.model == "digits":
        shapes = {"image": [1, 28, 28, 1]}
    kinds = {"tokens": "i64"}
    return ",".join(f"[{','.join(map(str, s))}]{kinds.get(n, 'f32')}" for n, s in shapes.items())


def _signature(asked: Wanted) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    inputs, outputs = SIGNATURES["digits" if asked.model == "digits" else "step"]
    if asked.name == "prefill":
        time = asked.shapes["tokens"][1]
        return {**inputs, "tokens": [time]}, {**outputs, "logits": [1, time, 100]}
    return inputs, outputs


if __name__ == "__main__":
    main()

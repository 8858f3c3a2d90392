"""onnxsim, in a child process with a time limit: it is native code that may crash or spin.

python -m edgedl.export.passes.simplify IN.onnx OUT.onnx
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgedl.devices.child import run_child
from edgedl.export.quiet import quiet

TIME_LIMIT_S = 120.0
LOG = "onnxsim."


@dataclass(frozen=True)
class Simplified:
    """The simplified model, or None and the reason why there is none."""

    model: onnx.ModelProto | None
    reason: str = ""


def simplify(model: onnx.ModelProto, scratch: Path, limit_s: float = TIME_LIMIT_S) -> Simplified:
    """Simplify a copy of the model; the caller checks that it still answers the same.

    Args:
        model: Left as it is.
        scratch: A directory for two temporary files.
        limit_s: Seconds after which the child is killed.
    """
    before, after = scratch / "before.onnx", scratch / "simplified.onnx"
    onnx.save_model(model, before)
    command = [sys.executable, "-m", __name__, str(before), str(after)]
    try:
        child = run_child(command, limit_s=limit_s)
    except subprocess.TimeoutExpired:
        return Simplified(None, f"onnxsim did not finish in {limit_s:g} s")
    if child.returncode != 0 or not after.is_file():
        words = child.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        return Simplified(None, f"onnxsim failed ({child.returncode}): {words[-1][:200]}")
    return Simplified(onnx.load_model(after))


def main(before: str, after: str) -> None:
    """What the child does."""
    with quiet():
        import onnxsim

        model, _ = onnxsim.simplify(onnx.load_model(before))
    # onnxsim's log: as long as what it removed, and in another order in every process.
    kept = [p for p in model.metadata_props if not p.key.startswith(LOG)]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save_model(model, after)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""MNN: its converter on the ONNX file that edgedl exported. Kinds: `float`, `int8` weights.

The converter's command line isn't used: it installs a logging package into whatever `pip`
comes first on the path, and reports each conversion to its vendor. This calls what it calls.
"""

from __future__ import annotations

import _tools

from benchmarks.peers.conversions import wanted


def main() -> None:
    """Convert one file."""
    asked = wanted()
    source = asked.demo / f"{asked.model}.bundle" / "fp32.onnx"
    quantised = ["--weightQuantBits", "8"] if asked.kind == "int8" else []
    _tools.mnnconvert(
        ["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(asked.file),
         "--bizCode", "edgedl", *quantised]
    )  # fmt: skip


if __name__ == "__main__":
    main()

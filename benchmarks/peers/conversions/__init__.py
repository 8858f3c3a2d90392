"""Both trained models in each peer's own format: one file per format, one file made per call.

    python -m benchmarks.peers.conversions.FORMAT DEMO OUT_FILE NAME KIND

NAME is one of `cnn-1`, `cnn-32`, `step`, `prefill`. A conversion that fails ends its process
with a message, which becomes the peer's row.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

TIME = {"step": 1, "prefill": 64}
BATCH = {"cnn-1": 1, "cnn-32": 32}


@dataclass(frozen=True)
class Wanted:
    """What a conversion is asked for."""

    demo: Path
    file: Path
    name: str
    kind: str

    @property
    def model(self) -> str:
        """`digits` or `text`."""
        return "digits" if self.name in BATCH else "text"

    @property
    def shapes(self) -> dict[str, list[int]]:
        """The inputs' shapes."""
        if self.model == "digits":
            return {"image": [BATCH[self.name], 28, 28, 1]}
        return {"tokens": [1, TIME[self.name]], "h": [2, 1, 256], "c": [2, 1, 256]}


def wanted() -> Wanted:
    """From the command line."""
    demo, file, name, kind = sys.argv[1:]
    return Wanted(Path(demo), Path(file), name, kind)

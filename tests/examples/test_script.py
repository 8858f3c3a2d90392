"""The ten-line script answers what the model says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from edgedl import runtime

ROOT = Path(__file__).parents[2]


def test_the_script_prints_the_label_of_a_picture(classifier_bundle: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (4, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    script = ROOT / "examples" / "script.py"
    done = subprocess.run(
        [sys.executable, script, classifier_bundle, tmp_path / "picture.png"],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = runtime.load(classifier_bundle).classifier().classify(pixels)
    assert done.stdout == f"{expected.label} ({expected.score:.1%})\n"
    assert len(script.read_text().split('"""')[2].split("\n\n", 1)[1].splitlines()) <= 10

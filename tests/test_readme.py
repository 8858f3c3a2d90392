"""What the README tells a new user to type works, on a short demo."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.demo_clone import DEMO, run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EDGEDL = [sys.executable, "-m", "edgedl"]

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch, pytest.mark.demo]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]


@pytest.fixture
def place(demo_clone: Path) -> Path:
    return demo_clone


def test_the_demo_leaves_what_the_readme_says(place: Path) -> None:
    demo = place / "build" / "demo"
    for name in (
        "digits.bundle/manifest.json", "text.bundle/manifest.json", "table.md", "table.jsonl",
        "digits/curves.png", "text/curves.png", "logs/train-text.log", "logs/export-digits.log",
    ):  # fmt: skip
        assert (demo / name).stat().st_size > 0, name
    printed = (place / "demo-printed.txt").read_text()
    for row in ("digits fp32", "digits int8-static", "digits Keras predict", "digits Keras call",
                "text int8-dynamic", "text torch eager"):  # fmt: skip
        assert row in printed
    assert "wrong answer" not in printed
    assert "failed" not in printed


def test_a_second_demo_is_quick_and_shows_the_same_table(place: Path) -> None:
    before = (place / "build/demo/digits.bundle/manifest.json").stat().st_mtime_ns
    done = run(DEMO, place)
    assert done.returncode == 0
    assert done.stderr.count("nothing changed") == 5
    assert "digits Keras call" in done.stdout
    assert (place / "build/demo/digits.bundle/manifest.json").stat().st_mtime_ns == before


def test_every_edgedl_command_runs(place: Path) -> None:
    digit = np.load(place / "build/demo/digits/eval.npz")["image"][0, ..., 0]
    write_png(place / "digit.png", (digit * 255).round().astype(np.uint8))
    ours = [c for c in commands() if c.startswith(".venv/bin/edgedl")]
    assert len(ours) >= 7
    for command in ours:
        done = run([*EDGEDL, *shlex.split(command, comments=True)[1:]], place)
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr
        assert done.stdout.strip(), command


def test_the_embedding_example_runs(place: Path) -> None:
    (example,) = blocks("python")
    prelude = "import numpy as np\nimage = np.zeros((1, 28, 28, 1), np.float32)\n"
    done = run([sys.executable, "-c", prelude + example], place)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) >= 200


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`?make (\w+)", README))
    assert {"demo", "test", "lint"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def write_png(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels, "L").save(path)

"""A part that isn't installed is named with the command that installs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Python, assert_one_error

WITHOUT = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

missing = sys.argv[1]
sys.meta_path.insert(0, NotInstalled())
sys.argv = ["edgedl", *sys.argv[2:]]
from edgedl.cli import main
main()
"""


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_command_lines_parts(python: Python, missing: str) -> None:
    done = python("-c", WITHOUT, missing, "--help")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_error(done.stderr, missing, hint="pip install 'edgedl[cli]'")


def test_without_onnxruntime(python: Python, classifier_bundle: Path) -> None:
    done = python("-c", WITHOUT, "onnxruntime", "run", classifier_bundle, "--prompt", "a")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_error(done.stderr, "onnxruntime", hint="pip install 'edgedl[cpu]'")


def test_without_onnxruntime_a_bundle_can_be_read(python: Python, classifier_bundle: Path) -> None:
    done = python("-c", WITHOUT, "onnxruntime", "inspect", classifier_bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert "probabilities" in done.stdout


def test_embedding_without_onnxruntime(python: Python) -> None:
    program = """
import sys
sys.modules["onnxruntime"] = None
from edgedl import runtime
try:
    runtime.load("nowhere.bundle")
except runtime.MissingExtraError as error:
    print(error.message)
    print(error.hint)
"""
    done = python("-c", program)
    assert (done.returncode, done.stderr) == (0, "")
    assert "onnxruntime" in done.stdout
    assert "pip install 'edgedl[cpu]'" in done.stdout


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_export_without_its_parts(python: Python, tmp_path: Path, missing: str) -> None:
    done = python("-c", WITHOUT, missing, "export", "m.keras", "-o", tmp_path / "b")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_error(done.stderr, missing, hint="pip install 'edgedl[")


def test_a_framework_that_is_missing(python: Python, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("import torch\n\ndef build(): return torch.nn.ReLU()\n")
    source = f"{tmp_path / 'm.py'}:build"
    done = python("-c", WITHOUT, "torch", "export", source, "-o", tmp_path / "b")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_error(done.stderr, "torch")


@pytest.mark.parametrize("verb", ["inspect", "parity"])
def test_the_device_needs_no_exporter(python: Python, classifier_bundle: Path, verb: str) -> None:
    done = python("-c", WITHOUT, "onnx", verb, classifier_bundle)
    assert (done.returncode, done.stderr) == (0, "")

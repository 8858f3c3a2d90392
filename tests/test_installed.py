"""The built wheel, installed with as little as a device has."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from edgedl.deploy.wheel import write_runtime_wheel
from tests.graphs import write_classifier_bundle

ROOT = Path(__file__).parents[1]
FRAMEWORKS = ("torch", "tensorflow", "keras", "onnx", "onnxsim", "tf2onnx")

pytestmark = pytest.mark.install

# What is installed is what is tested, not what lies on the path of whoever runs this.
ALONE = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole package's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder), str(ROOT)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(folder.glob("edgedl-*.whl"))


def test_the_wheel_holds_the_package_only(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgedl"}


def test_a_device_needs_the_runtime_and_nothing_else(tmp_path: Path) -> None:
    wheel = write_runtime_wheel(tmp_path)
    bundle = write_classifier_bundle(tmp_path / "tiny.bundle")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    constraints = ROOT / "tests" / "constraints.txt"
    install = [python, "-m", "pip", "install", "-c", constraints, f"{wheel}[cpu,cli]"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    probe = f"import importlib.util as u; print([m for m in {FRAMEWORKS} if u.find_spec(m)])"
    found = subprocess.run(
        [python, "-c", probe], capture_output=True, text=True, env=ALONE, check=True
    )
    assert found.stdout.strip() == "[]"
    edgedl = tmp_path / "env" / "bin" / "edgedl"
    parity = subprocess.run(
        [edgedl, "parity", bundle],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=ALONE,
        check=False,
    )
    assert parity.returncode == 0, parity.stderr
    assert "ok" in parity.stdout
    for words in (["export", "model.keras", "-o", "x.bundle"], ["bench", str(bundle)]):
        done = subprocess.run(
            [edgedl, *words], capture_output=True, text=True, cwd=tmp_path, env=ALONE, check=False
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "this is a device's edgedl" in done.stderr
        assert "pip install" in done.stderr

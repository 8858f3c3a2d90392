"""The built wheel, installed with as little as a device has."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.graphs import write_classifier_bundle

ROOT = Path(__file__).parents[1]
FRAMEWORKS = ("torch", "tensorflow", "keras", "onnx", "onnxsim", "tf2onnx")

pytestmark = pytest.mark.install


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder), str(ROOT)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(folder.glob("edgedl-*.whl"))


def test_the_wheel_is_small_and_holds_the_package_only(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel).infolist()
    # The exporter stays behind on the machine that trains; a device reads the rest.
    on_a_device = [f for f in files if not f.filename.startswith("edgedl/export/")]
    assert sum(f.compress_size for f in on_a_device) < 100_000
    assert wheel.stat().st_size < 300_000
    tops = {f.filename.split("/")[0] for f in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgedl"}


def test_a_device_needs_the_runtime_and_nothing_else(wheel: Path, tmp_path: Path) -> None:
    bundle = write_classifier_bundle(tmp_path / "tiny.bundle")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    constraints = ROOT / "tests" / "constraints.txt"
    install = [python, "-m", "pip", "install", "-c", constraints, f"{wheel}[cpu,cli]"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    probe = f"import importlib.util as u; print([m for m in {FRAMEWORKS} if u.find_spec(m)])"
    found = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    edgedl = tmp_path / "env" / "bin" / "edgedl"
    parity = subprocess.run(
        [edgedl, "parity", bundle], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert parity.returncode == 0, parity.stderr
    assert "ok" in parity.stdout
    export = subprocess.run(
        [edgedl, "export", "model.keras", "-o", "x.bundle"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert export.returncode == 1
    assert "Traceback" not in export.stderr
    assert "pip install" in export.stderr

"""The device's wheel: small, whole, without the exporter, and the same each time."""

from __future__ import annotations

import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest

import edgedl
from edgedl.deploy.wheel import write_runtime_wheel

MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runtime_wheel(tmp_path_factory.mktemp("wheels") / "dist")


def test_it_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES


def test_it_holds_what_a_device_does_by_itself(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"edgedl/cli/parity.py", "edgedl/cli/run.py", "edgedl/runtime/worker.py"} <= names
    runtime = {path.name for path in (Path(edgedl.__file__).parent / "runtime").glob("*.py")}
    assert {f"edgedl/runtime/{name}" for name in runtime} <= names
    left_out = ("edgedl/export/", "edgedl/deploy/", "edgedl/cli/export", "edgedl/cli/bench")
    assert not [name for name in names if name.startswith(left_out)]


def test_its_metadata_asks_for_what_a_device_needs(wheel: Path) -> None:
    info = f"edgedl-{edgedl.__version__}+runtime.dist-info"
    archive = zipfile.ZipFile(wheel)
    told = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    whole = metadata.metadata("edgedl")
    assert told["Version"] == f"{edgedl.__version__}+runtime"
    assert told["Requires-Python"] == whole["Requires-Python"]
    assert set(told.get_all("Provides-Extra", [])) == {"cpu", "gpu", "cli", "image"}
    needs = " ".join(told.get_all("Requires-Dist", []))
    assert all(name in needs for name in ("numpy", "msgspec", "onnxruntime", "click"))
    assert not any(name in needs for name in ("torch", "tensorflow", "onnxsim", "pytest"))


def test_equal_code_gives_equal_bytes(wheel: Path, tmp_path: Path) -> None:
    assert write_runtime_wheel(tmp_path).read_bytes() == wheel.read_bytes()

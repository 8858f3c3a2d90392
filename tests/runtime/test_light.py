"""The runtime is light: what importing it pulls in, and what it offers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgedl import runtime
from tests.graphs import write_classifier_bundle

HEAVY = {"torch", "tensorflow", "keras", "onnx", "click", "rich", "PIL"}


def modules_after(code: str) -> set[str]:
    """The top-level modules of a fresh interpreter that ran the code."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    return {name.partition(".")[0] for name in json.loads(printed)}


@pytest.mark.parametrize(
    "code",
    [
        "from edgedl.runtime import *",
        "import edgedl.runtime.session, edgedl.runtime.stream, edgedl.runtime.worker",
        "import edgedl.bench.plan, edgedl.bench.report, edgedl.devices",
    ],
)
def test_no_framework_and_no_command_line_is_imported(code: str) -> None:
    assert modules_after(code) & HEAVY == set()


def test_a_manifest_is_read_without_an_engine() -> None:
    loaded = modules_after("import edgedl.runtime\nedgedl.runtime.open_bundle")
    assert "msgspec" in loaded
    assert loaded & (HEAVY | {"onnxruntime"}) == set()


def test_every_public_name_is_there() -> None:
    assert [name for name in runtime.__all__ if getattr(runtime, name).__name__ != name] == []
    assert len(set(runtime.__all__)) == len(runtime.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = runtime.nothing


def _run(code: str, home: Path, **more: str) -> str:
    places = {"HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    suppressing = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "GITHUB_ACTIONS")
    kept = {k: v for k, v in os.environ.items() if k not in suppressing}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **places, **more},
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


def test_loading_a_bundle_reports_to_nobody(tmp_path: Path) -> None:
    path, home = write_classifier_bundle(tmp_path / "a.bundle"), tmp_path / "home"
    home.mkdir()
    _run(f"from edgedl import runtime; runtime.load({str(path)!r})", home)
    # onnxruntime's telemetry keeps a device's identifier and what it has not sent yet.
    assert list(home.rglob("*")) == []


def test_who_wants_telemetry_may_have_it(tmp_path: Path) -> None:
    code = "import edgedl.runtime, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert _run(code, tmp_path, ORT_DISABLE_TELEMETRY="0").strip() == "0"


def test_importing_the_runtime_brings_few_modules() -> None:
    engine = modules_after("import numpy, onnxruntime")
    added = modules_after("import numpy, onnxruntime, edgedl.runtime.session") - engine
    # Each of these costs milliseconds, and loading a bundle needs none of them.
    assert added & {"zipfile", "dataclasses", "concurrent", "asyncio", "platform", "json"} == set()

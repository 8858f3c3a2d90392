"""The runtime is light: what importing it pulls in, and what it offers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edgedl import runtime

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

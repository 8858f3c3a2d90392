"""Exports of fake sources, and what an export must not leave behind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedl.export import pipeline
from edgedl.export.request import ExportRequest
from edgedl.export.stages import StageReport
from edgedl.runtime.bundle import Bundle
from tests.export.fake_source import FakeSource

Export = Callable[..., Bundle]


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, watched."""
    root = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    return root


@pytest.fixture
def stages() -> list[StageReport]:
    """What the last export told of its stages."""
    return []


@pytest.fixture
def export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch: Path, stages: list[StageReport]
) -> Export:
    """Export a fake source to tmp_path/m.bundle, without onnxsim unless asked for."""

    def run(
        source: FakeSource,
        /,
        tell: Any = stages.append,
        now: Any = lambda text: None,
        **request: Any,
    ) -> Bundle:
        monkeypatch.setattr(pipeline, "open_source", lambda given, weights: source)
        settings = {"source": "model.fake", "output": tmp_path / "m.bundle", "simplify": False}
        return pipeline.export(ExportRequest(**{**settings, **request}), tell, now)

    return run


@pytest.fixture
def nothing_written(tmp_path: Path, scratch: Path) -> Callable[[], bool]:
    """Whether tmp_path is as it was, and no temporary file is left."""
    before = _snapshot(tmp_path)
    return lambda: _snapshot(tmp_path) == before and not list(scratch.iterdir())


def _snapshot(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }

"""Factories: how a source is found and called, whatever its framework."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgedl.export.errors import SourceError
from edgedl.export.sources import call_factory, load_factory, open_source


@pytest.fixture(autouse=True)
def _own_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A factory's directory stays on the path; not past the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def _write(tmp_path: Path, text: str, name: str = "factory.py") -> str:
    (tmp_path / name).write_text(text)
    return f"{tmp_path / name}:build"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.onnx", "is missing"),
        ("nowhere.keras", "missing"),
        ("nowhere.py:build", "missing"),
        ("no_such_module:build", "No module named 'no_such_module'"),
        ("json:no_such_function", "no callable 'no_such_function'"),
        ("json:decoder", "no callable 'decoder'"),
        ("", "not a source"),
        (".", "no SavedModel"),
        ("/dev/null", "another file"),
    ],
)
def test_a_source_that_is_not_there_is_one_line(source: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_source(source)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 1


def test_a_factory_that_returns_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="returned a dict"):
        open_source(_write(tmp_path, "def build():\n    return {}\n"))


@pytest.mark.parametrize(
    "text",
    ["def build():\n    raise RuntimeError('first\\nsecond')\n", "raise RuntimeError('a\\nb')\n",
     "def build(:\n", "import no_such_module\n"],
)  # fmt: skip
def test_what_a_factory_raises_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match=r"factory\.py.* raised ") as caught:
        open_source(_write(tmp_path, text))
    assert "\n" not in caught.value.message


def test_weights_go_with_a_factory_only(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--weights goes with a factory"):
        open_source("model.keras", tmp_path / "model.pt")
    with pytest.raises(SourceError, match="holds its own"):
        open_source(str(tmp_path), tmp_path / "model.pt")


def test_a_factory_is_called_by_module_name() -> None:
    assert call_factory(load_factory("string:capwords"), "string:capwords", "a b") == "A B"


def test_a_factory_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_at_once.py").write_text("answer = 42\n")
    text = "from neighbour_at_once import answer\ndef build():\n    return answer\n"
    source = _write(tmp_path, text)
    assert call_factory(load_factory(source), source) == 42


def test_a_factory_may_import_its_neighbours_when_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "neighbour_later.py").write_text("answer = 42\n")
    text = "def build():\n    from neighbour_later import answer\n    return answer\n"
    source = _write(tmp_path, text)
    assert call_factory(load_factory(source), source) == 42


def test_a_factory_file_may_hold_dataclasses(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Config:\n"
        "    width: int = 3\n"
        "def build():\n"
        "    return Config().width\n"
    )
    source = _write(tmp_path, text, "configured.py")
    assert call_factory(load_factory(source), source) == 3

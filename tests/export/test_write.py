"""A bundle is there whole or not at all."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedl.export import write as writing
from edgedl.export.errors import WriteError
from edgedl.export.write import write_bundle
from edgedl.runtime.bundle import open_bundle
from tests.export.conftest import Export
from tests.export.fake_source import dense_source

OLD = {"manifest.json": b'{"schema_version": 1, "name": "old"}', "fp32.onnx": b"old weights"}
NEW = {"manifest.json": b"new"}


def _content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def _listing(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    bundle = tmp_path / "m.bundle"
    write_bundle(bundle, OLD, force=False)
    return bundle


def test_an_existing_bundle_is_kept_without_force(
    export: Export, tmp_path: Path, old: Path
) -> None:
    with pytest.raises(WriteError, match="already exists; it is kept") as caught:
        export(dense_source())
    assert "--force" in caught.value.hint
    assert _content(old) == OLD


def test_an_existing_bundle_is_replaced_with_force(
    export: Export, tmp_path: Path, old: Path
) -> None:
    export(dense_source(), force=True, recipes=("fp32",))
    open_bundle(old).verify()
    assert _listing(tmp_path) == ["m.bundle"]
    assert _listing(old) == ["fp32.onnx", "golden.npz", "manifest.json"]


def test_a_bundle_is_readable_by_others(old: Path) -> None:
    assert old.stat().st_mode & 0o777 == 0o755


def _directory(target: Path) -> None:
    target.mkdir()
    (target / "thesis.tex").write_text("years of work")


def _file(target: Path) -> None:
    target.write_text("years of work")


def _link(target: Path) -> None:
    elsewhere = target.with_name("elsewhere")
    write_bundle(elsewhere, OLD, force=False)
    target.symlink_to(elsewhere)


def _web_app(target: Path) -> None:
    """Other programs' manifests have that name too."""
    target.mkdir()
    (target / "manifest.json").write_text('{"manifest_version": 3, "name": "An app"}')
    (target / "app.js").write_text("years of work")


@pytest.mark.parametrize("make", [_directory, _file, _link, _web_app])
def test_what_is_no_bundle_is_never_replaced(
    export: Export, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "m.bundle")
    before = _content(tmp_path)
    with pytest.raises(WriteError, match="not replaced"):
        export(dense_source(), force=True)
    assert _content(tmp_path) == before


def _full(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_bundle_and_nothing_else(
    export: Export, tmp_path: Path, scratch: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(WriteError, match=r"m\.bundle can't be written: No space") as caught:
        export(dense_source(), force=True, recipes=("fp32",))
    assert caught.value.exit_code == 1
    assert "space" in caught.value.hint
    assert _listing(tmp_path) == ["m.bundle"]
    assert _content(old) == OLD
    assert not list(scratch.iterdir())


def test_an_interrupt_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "m.bundle", NEW, force=False)
    assert _listing(tmp_path) == []


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("failure", [OSError(errno.EBUSY, "busy"), KeyboardInterrupt()])
def test_a_replacement_that_fails_half_way_keeps_the_old_bundle(
    tmp_path: Path,
    old: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: int,
    failure: BaseException,
) -> None:
    rename, calls = Path.rename, []

    def failing(self: Path, target: Any) -> Path:
        calls.append(target)
        if len(calls) == call:
            raise failure
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    monkeypatch.setattr(writing, "_exchange", lambda one, other: False)  # as on other systems
    with pytest.raises((WriteError, KeyboardInterrupt)):
        write_bundle(old, NEW, force=True)
    assert _content(tmp_path) == {f"m.bundle/{name}": content for name, content in OLD.items()}
    assert _listing(tmp_path) == ["m.bundle"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux'")
def test_there_is_no_moment_without_a_bundle(
    tmp_path: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed anywhere, the process leaves the old bundle or the new one under its name."""

    def refused(self: Path, target: Any) -> Path:
        raise AssertionError("the old bundle stepped aside")

    monkeypatch.setattr(Path, "rename", refused)
    write_bundle(old, NEW, force=True)
    assert _content(tmp_path) == {f"m.bundle/{name}": content for name, content in NEW.items()}
    assert _listing(tmp_path) == ["m.bundle"]


def test_a_place_that_is_no_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="can't be written") as caught:
        write_bundle(tmp_path / "file" / "m.bundle", NEW, force=False)
    assert "\n" not in caught.value.message


def test_missing_parents_are_made(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a" / "b" / "m.bundle", NEW, force=False)
    assert _content(tmp_path / "a" / "b" / "m.bundle") == NEW

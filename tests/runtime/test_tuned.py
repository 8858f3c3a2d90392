"""What a benchmark found best is used by load, on the machine it was found on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from edgedl import runtime
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.errors import BundleError
from edgedl.runtime.settings import Settings
from edgedl.runtime.tuned import Tuned, read_tuned, store_tuned, this_machine, tuned_file
from tests.graphs import change_manifest, write_classifier_bundle

FOUND = Settings(threads=1, spinning=True, arena=False)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of its own, `fp32` the default variant."""
    return write_classifier_bundle(tmp_path / "a.bundle")


def found_for(bundle: Path, **changes: Any) -> Tuned:
    """That `rounded` was the fastest."""
    seal = open_bundle(bundle).manifest.seal
    tuned = Tuned(seal, "cpu", this_machine(), "rounded", FOUND, 10, 20)
    return structs.replace(tuned, **changes)


def test_load_takes_what_was_found_best(bundle: Path) -> None:
    assert runtime.load(bundle).variant.name == "fp32"
    file = store_tuned(bundle, found_for(bundle))
    assert file == bundle.parent / "a.bundle.tuned.json"
    model = runtime.load(bundle)
    assert (model.variant.name, model.settings) == ("rounded", FOUND)
    open_bundle(bundle).verify()


def test_what_is_asked_for_goes_first(bundle: Path) -> None:
    store_tuned(bundle, found_for(bundle))
    model = runtime.load(bundle, threads=2, arena=True)
    assert model.settings == Settings(threads=2, spinning=True, arena=True)
    other = runtime.load(bundle, "fp32")
    assert (other.variant.name, other.settings) == ("fp32", Settings().resolved())
    untuned = runtime.load(bundle, tuned=False)
    assert (untuned.variant.name, untuned.settings) == ("fp32", Settings().resolved())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: structs.replace(t, bundle="0" * 64), "exported again"),
        (lambda t: _elsewhere(t, processor="Z80"), "processor Z80"),
        (lambda t: _elsewhere(t, cpus=999), "cpus 999"),
        (lambda t: _elsewhere(t, onnxruntime="0.1"), "onnxruntime 0.1"),
        (lambda t: structs.replace(t, device="cuda"), "not tuned here"),
        (lambda t: structs.replace(t, variant="gone"), "'gone'"),
        (lambda t: structs.replace(t, settings=Settings(threads=0)), "not tuned here"),
        (lambda t: structs.replace(t, settings=Settings(threads=10**6)), "not tuned here"),
    ],
)
def test_what_was_found_elsewhere_says_nothing_here(
    bundle: Path, spoil: Callable[[Tuned], Tuned], reason: str
) -> None:
    store_tuned(bundle, spoil(found_for(bundle)))
    tuned, why = read_tuned(open_bundle(bundle), "cpu")
    assert tuned is None
    assert reason in why
    assert runtime.load(bundle).variant.name == "fp32"


def _elsewhere(tuned: Tuned, **machine: Any) -> Tuned:
    return structs.replace(tuned, machine=structs.replace(tuned.machine, **machine))


def test_every_device_has_its_own(bundle: Path) -> None:
    store_tuned(bundle, found_for(bundle, device="cuda"))
    store_tuned(bundle, found_for(bundle, median_ns=9))
    store_tuned(bundle, found_for(bundle, median_ns=8))
    found = [read_tuned(open_bundle(bundle), device)[0] for device in ("cpu", "cuda")]
    assert [t and (t.device, t.median_ns) for t in found] == [("cpu", 8), ("cuda", 10)]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[{"bundle": 1}]', b"\xff\xfe"])
def test_a_damaged_file_is_as_none(bundle: Path, content: bytes) -> None:
    tuned_file(bundle).write_bytes(content)
    assert runtime.load(bundle).variant.name == "fp32"
    store_tuned(bundle, found_for(bundle))
    assert runtime.load(bundle).variant.name == "rounded"


def test_a_bundle_named_from_inside_has_it_too(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)
    assert store_tuned(Path("."), found_for(bundle)) == bundle.parent / "a.bundle.tuned.json"
    assert runtime.load(".").variant.name == "rounded"


def test_where_nothing_can_be_written_it_is_said(bundle: Path) -> None:
    tuned_file(bundle).mkdir()  # as root, a folder that may not be written to can't be had
    with pytest.raises(BundleError, match="can't be written"):
        store_tuned(bundle, found_for(bundle))
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["a.bundle", "a.bundle.tuned.json"]


def test_a_bundle_changed_since_is_not_tuned(bundle: Path) -> None:
    store_tuned(bundle, found_for(bundle))
    change_manifest(bundle, name="another")
    assert runtime.load(bundle).variant.name == "fp32"

"""NumPy archives: plain arrays come back, anything else is refused by name."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.errors import BundleError
from edgedl.runtime.golden import (
    pack_golden,
    read_evaluation,
    read_golden,
    read_npz,
    write_npz,
)
from tests.graphs import (
    change_manifest,
    classifier_golden,
    replace_golden,
    write_classifier_bundle,
)

PLAIN = write_npz({"x": np.arange(6.0).reshape(2, 3), "y": np.array(3)})


class Trap:
    """Creates a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_arrays_come_back_as_they_were_written() -> None:
    arrays = read_npz(PLAIN, "x.npz")
    assert arrays.keys() == {"x", "y"}
    np.testing.assert_array_equal(arrays["x"], [[0, 1, 2], [3, 4, 5]])
    assert arrays["y"].shape == ()


def test_a_pickled_array_is_refused_and_never_run(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "trap.bundle")
    buffer = io.BytesIO()
    np.savez(buffer, **{"batch1/image": np.array([Trap(tmp_path / "ran")], object)})
    replace_golden(path, buffer.getvalue())
    with pytest.raises(BundleError, match=r"golden\.npz holds pickled objects"):
        read_golden(open_bundle(path))
    assert not (tmp_path / "ran").exists()


def test_a_missing_golden_array_is_named(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "lacks.bundle")
    arrays = pack_golden(classifier_golden())
    del arrays["batch2/probabilities"]
    replace_golden(path, write_npz(arrays))
    with pytest.raises(BundleError, match=r"golden\.npz lacks batch2/probabilities"):
        read_golden(open_bundle(path))


def test_a_bundle_may_carry_no_labelled_samples(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "bare.bundle")
    change_manifest(path, evaluation=None)
    assert read_evaluation(open_bundle(path)) is None


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"\x93NUMPY\x01\x00v\x00{'descr'", b"not a zip", PLAIN[:-30]]
)
def test_what_is_no_archive_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"x\.npz"):
        read_npz(content, "x.npz")


def test_a_lone_npy_file_is_refused_by_name() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    with pytest.raises(BundleError, match=r"x\.npz"):
        read_npz(buffer.getvalue(), "x.npz")


def test_an_archive_that_holds_something_else_is_refused_by_name() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(BundleError, match=r"x\.npz"):
        read_npz(buffer.getvalue(), "x.npz")


def is_read_or_refused(content: bytes) -> bool:
    """Whether it gives arrays, or is refused by the file's name; anything else raises."""
    try:
        return all(isinstance(a, np.ndarray) for a in read_npz(content, "x.npz").values())
    except BundleError as error:
        return "x.npz" in str(error)


@pytest.mark.parametrize(
    ("field", "value"), [(8, 1), (10, 99)], ids=["encrypted", "unknown compression"]
)
def test_an_archive_that_can_not_be_unpacked_is_refused_by_name(field: int, value: int) -> None:
    content = bytearray(PLAIN)
    content[content.index(b"PK\x01\x02") + field] = value
    with pytest.raises(BundleError, match=r"x\.npz"):
        read_npz(bytes(content), "x.npz")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(PLAIN) - 1), st.integers(1, 255))
def test_a_damaged_archive_is_arrays_or_a_bundle_error(position: int, flip: int) -> None:
    content = PLAIN[:position] + bytes([PLAIN[position] ^ flip]) + PLAIN[position + 1 :]
    assert is_read_or_refused(content)

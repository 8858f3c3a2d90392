"""Files dropped from the page cache, or the reason why they weren't."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgedl.runtime.page_cache import evict


def test_a_file_that_was_dropped_is_read_from_the_disk_again(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(1 << 16))
    reason = evict([file])
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
        cached = True
    except OSError:
        cached = False
    finally:
        os.close(descriptor)
    assert cached == bool(reason)


def test_a_file_system_in_memory_says_so() -> None:
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        pytest.skip("no /dev/shm here")
    file = shm / f"edgedl-test-{os.getpid()}"
    try:
        file.write_bytes(bytes(1 << 16))
        assert "stay" in evict([file])
    finally:
        file.unlink(missing_ok=True)


def test_a_file_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    assert "No such file" in evict([tmp_path / "nothing"])

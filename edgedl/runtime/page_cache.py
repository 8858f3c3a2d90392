"""Files dropped from the system's page cache, so that the next read comes from the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def evict(files: Iterable[Path]) -> str:
    """Drop files from the page cache, and look whether they are gone.

    Only this system's cache: a disk, or the host of a virtual machine, has its own.

    Returns:
        Why a file may still be cached, on one line; empty where none is.
    """
    if not hasattr(os, "posix_fadvise") or not hasattr(os, "RWF_NOWAIT"):
        return "this system can't be told to drop a file from its cache"
    return next(filter(None, map(_evict, files)), "")


def _evict(path: Path) -> str:
    """Drop one file; see `evict`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        return f"{path.name}: {error.strerror}"
    try:
        os.fsync(descriptor)  # pages that aren't written yet can't be dropped
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        # A read that may not wait for the disk succeeds only from the cache.
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return ""
    except OSError as error:
        return f"{path.name} may stay in the cache: {error.strerror}"
    finally:
        os.close(descriptor)
    return f"{path.name} stays in the cache: in use, or its file system is memory"

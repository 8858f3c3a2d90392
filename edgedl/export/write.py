"""A bundle is there whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgedl.export.errors import WriteError
from edgedl.runtime.bundle import MANIFEST_FILE

# From Linux' fcntl.h and fs.h.
AT_FDCWD = -100
RENAME_EXCHANGE = 2
# Bytes: file systems take 255, and the directory is written under a longer, hidden name first.
LONGEST_NAME = 200


def check_target(target: Path, force: bool) -> None:
    """Refuse early what could not be written in the end.

    Raises:
        WriteError: Something is there that must not be replaced, or the place isn't one.
    """
    absolute = target.absolute()
    if len(os.fsencode(absolute.name)) > LONGEST_NAME:
        raise WriteError(f"{absolute.name[:40]}... is too long a name", "choose another -o")
    try:
        there = target.exists() or target.is_symlink()
        place = next(p for p in (*absolute.parents, absolute) if p.exists())
    except OSError as error:
        raise _cannot_write(target, error) from None
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise WriteError(
            f"{target} can't be written: {place} is no writable directory", "choose another -o"
        )
    if there:
        if not force:
            raise WriteError(f"{target} already exists; it is kept", "replace it with --force")
        # --force replaces a bundle; a person's directory is none.
        if not target.is_dir() or target.is_symlink():
            raise WriteError(f"{target} is not a directory: not replaced", "choose another -o")
        if any(target.iterdir()) and not _is_bundle(target):
            raise WriteError(f"{target} is not a bundle: not replaced", "choose another -o")


def _is_bundle(folder: Path) -> bool:
    """Whether its manifest is one of ours, damaged or not: other programs write that name too."""
    try:
        return b'"schema_version"' in (folder / MANIFEST_FILE).read_bytes()
    except OSError:
        return False


def write_bundle(target: Path, files: Mapping[str, bytes], force: bool) -> None:
    """Write the files beside the target, flush them, and rename the directory into place.

    Args:
        target: The bundle's directory.
        files: Content by file name.
        force: Replace a bundle that is there.

    Raises:
        WriteError: The disk is full, or the place can't be written. Nothing is left behind,
            and a bundle that was there is still there.
    """
    check_target(target, force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise _cannot_write(target, error) from error
    try:
        for name, content in files.items():
            _write_synced(scratch / name, content)
        scratch.chmod(0o755)
        _put_in_place(scratch, target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(scratch: Path, target: Path) -> None:
    """Rename; a directory that is there changes places with the new one.

    Where the system can't do that in one step, it steps aside first and comes back on
    failure: killed between the two, the process leaves it under a hidden name.
    """
    if not target.exists():
        scratch.rename(target)
        return
    if _exchange(scratch, target):
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        target.rename(aside)
        scratch.rename(target)
    except BaseException:
        if target.exists():
            aside.rmdir()
        else:
            aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two directories change places in one step; False where it can't be done.

    Linux' renameat2, which Python doesn't have; not every file system knows it.
    """
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    here = ctypes.c_int(AT_FDCWD)
    paths = os.fsencode(one), os.fsencode(other)
    return bool(rename(here, paths[0], here, paths[1], ctypes.c_uint(RENAME_EXCHANGE)) == 0)


def _cannot_write(target: Path, error: OSError) -> WriteError:
    hint = "free some space" if error.errno == errno.ENOSPC else "choose another -o"
    return WriteError(f"{target} can't be written: {error.strerror or error}", hint)

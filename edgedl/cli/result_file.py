"""A file of results: known to be writable before anything is measured, and not lost after."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from edgedl.runtime.errors import EdgedlError

LEAST_FREE = 1 << 20  # bytes: a few cases' raw samples


def check_writable(file: str | None) -> None:
    """Find out now, not after minutes of measuring, that a file can't be written.

    Args:
        file: The file; None and `-` need none.

    Raises:
        OSError: Its directory isn't there, or it, or the file, may not be written.
        EdgedlError: The disk is full.
    """
    if file is None or file == "-":
        return
    path = Path(file)
    new = not path.exists()
    path.open("ab").close()
    if new:
        path.unlink()
    if (new or path.is_file()) and shutil.disk_usage(path.parent).free < LEAST_FREE:
        raise EdgedlError(
            f"{file}: {os.strerror(errno.ENOSPC)}", "free a MiB at least, or choose another disk"
        )


def write_result(file: str, content: bytes) -> None:
    """Write the file, whole or not at all; where that fails, keep the content elsewhere.

    Raises:
        EdgedlError: It had to be kept elsewhere, or nowhere.
    """
    try:
        _replace(Path(file).resolve(), content)
    except OSError as error:
        why = f"{file} can't be written: {error.strerror}"
        raise EdgedlError(why, _keep(content, Path(file).suffix)) from None


def _replace(path: Path, content: bytes) -> None:
    """Put the content in the file's place; straight into what is no plain file, a pipe say."""
    if path.exists() and not (path.is_file() and os.access(path.parent, os.W_OK)):
        path.write_bytes(content)
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(content)
        if path.exists():
            shutil.copymode(path, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _keep(content: bytes, suffix: str) -> str:
    """Where the content is now."""
    try:
        with tempfile.NamedTemporaryFile(prefix="edgedl-", suffix=suffix, delete=False) as kept:
            kept.write(content)
    except OSError as error:
        return f"the table above is all there is: no temporary file either ({error.strerror})"
    return f"what it would hold is in {kept.name}"

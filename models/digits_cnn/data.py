"""MNIST, the real one: found, verified, cleaned and ready for the network.

The four canonical IDX files come from a folder that the person names, else from the cache, else
from one of the places in `download.py`. Whichever it was, their SHA-256 decides.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.digits_cnn import download
from models.saving import sha256, write_bytes
from models.training import TrainingError, say

# Of the uncompressed files.
DIGESTS: Mapping[str, str] = MappingProxyType(
    {
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    }
)
UNSIGNED_BYTE = 8  # IDX's code for the one element type that MNIST has
SIDE, CLASSES = 28, 10
SCALE = 1 / 255  # a pixel becomes pixel * SCALE

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Examples:
    """Images (n, 28, 28, 1) between 0 and 1, and labels (n,) between 0 and 9."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, which: slice | NDArray[np.int64]) -> Examples:
        """Some of them."""
        return Examples(self.images[which], self.labels[which])


@dataclass(frozen=True)
class Digits:
    """The two canonical splits and where they came from."""

    train: Examples
    test: Examples
    origin: str
    sha256: Mapping[str, str]


def load(
    folder: Path | None = None,
    cache: Path | None = None,
    sources: Sequence[download.Source] = download.SOURCES,
    digests: Mapping[str, str] = DIGESTS,
) -> Digits:
    """Read MNIST.

    Args:
        folder: Holds the four files, raw or as .gz; nothing else is tried then.
        cache: Where fetched files are kept; the user's cache folder by default.
        sources: Tried in order where neither has them.
        digests: SHA-256 that each uncompressed file must have.

    Raises:
        TrainingError: The files can't be had, or aren't MNIST.
    """
    if folder is not None:
        files, origin = read_folder(folder, digests), str(folder)
    else:
        files, origin = obtain(cache or cache_folder(), sources, digests)
    return Digits(
        train=_examples(files, "train"),
        test=_examples(files, "t10k"),
        origin=origin,
        sha256={name: sha256(content) for name, content in files.items()},
    )


def cache_folder() -> Path:
    """The user's cache, by the XDG base directory specification (relative paths don't count)."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if os.path.isabs(named) else Path("~/.cache").expanduser()
    return base / "edgedl" / "mnist"


def obtain(
    cache: Path, sources: Sequence[download.Source], digests: Mapping[str, str]
) -> tuple[Files, str]:
    """The files from the cache, or from the first source that has them, and which it was.

    Raises:
        TrainingError: Nothing worked; names what was tried, each with its reason.
    """
    failures: list[str] = []
    if cache.exists():
        try:
            return read_folder(cache, digests), f"cache {cache}"
        except TrainingError as error:
            failures.append(f"cache: {error.message}")
    for source in sources:
        say(f"fetching MNIST from {source.name}")
        try:
            files = verified(source.fetch(tuple(digests)), digests)
        except TrainingError as error:
            failures.append(f"{source.name}: {error.message}")
            continue
        _keep(cache, files)
        return files, source.name
    raise TrainingError(
        f"MNIST can't be had ({'; '.join(failures)})",
        f"put {', '.join(digests)} (raw or .gz) into a folder and name it with --data-dir",
    )


def read_folder(folder: Path, digests: Mapping[str, str]) -> Files:
    """Every file of a folder, uncompressed and verified.

    Raises:
        TrainingError: One is missing, can't be read or isn't what it should be.
    """
    return verified({name: _read(folder, name) for name in digests}, digests)


def verified(files: Files, digests: Mapping[str, str]) -> Files:
    """The same files, if each is what its SHA-256 says.

    Raises:
        TrainingError: Names the file that isn't.
    """
    for name, digest in digests.items():
        found = sha256(files[name])
        if found != digest:
            raise TrainingError(
                f"{name} isn't MNIST's: SHA-256 {found[:12]}... instead of {digest[:12]}...",
                "replace it with the canonical file",
            )
    return files


def parse_idx(content: bytes, name: str) -> NDArray[np.uint8]:
    """The array of an IDX file: magic number, big-endian dimensions, bytes.

    Raises:
        TrainingError: The header is wrong or doesn't fit the content.
    """
    if len(content) < 4 or content[:3] != bytes((0, 0, UNSIGNED_BYTE)):
        raise TrainingError(f"{name} isn't an IDX file of bytes", "replace it")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise TrainingError(f"{name} ends inside its header", "replace it")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != np.prod(shape, dtype=np.int64):
        raise TrainingError(
            f"{name} holds {values.size} bytes where its header says {shape}", "replace it"
        )
    return values.reshape(shape)


def clean(pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Examples:
    """Raw arrays as the network takes them.

    Raises:
        TrainingError: Shapes, counts or labels can't be those of digits.
    """
    if pixels.shape != (len(labels), SIDE, SIDE) or labels.ndim != 1:
        raise TrainingError(
            f"images {pixels.shape} and labels {labels.shape} don't fit together", "replace them"
        )
    if labels.size and labels.max() >= CLASSES:
        raise TrainingError(f"a label is {labels.max()}, not a digit", "replace the label file")
    images = pixels[..., np.newaxis].astype(np.float32) * np.float32(SCALE)
    return Examples(images, labels.astype(np.int64))


def _examples(files: Files, split: str) -> Examples:
    images, labels = f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"
    return clean(parse_idx(files[images], images), parse_idx(files[labels], labels))


def _read(folder: Path, name: str) -> bytes:
    raw, compressed = folder / name, folder / f"{name}.gz"
    try:
        if raw.exists():
            return raw.read_bytes()
        return gzip.decompress(compressed.read_bytes())
    except FileNotFoundError:
        raise TrainingError(
            f"{folder} has neither {name} nor {name}.gz", "put the four MNIST files there"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TrainingError(f"{compressed} is damaged: {error}", "replace it") from None
    except OSError as error:
        raise TrainingError(
            f"{error.filename or folder} can't be read: {error.strerror or error}",
            "check the path and its permissions",
        ) from None


def _keep(cache: Path, files: Files) -> None:
    """Cache the files, one whole file at a time: two runs at once write the same bytes."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_bytes(cache / name, content)
    except (OSError, TrainingError) as error:
        say(f"note: not cached, the next run fetches again: {error}")

"""A bundle on disk: its manifest, read and validated, and its files, verified.

A bundle is a flat directory. `manifest.json` names every other file with its
SHA-256, and is sealed by a hash of its own bytes, so that one changed byte anywhere
is found and named. Nothing is ever unpickled, and no file name may leave the
directory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from edgedl.runtime.errors import (
    BundleError,
    BundleNotFoundError,
    IntegrityError,
    SchemaError,
)
from edgedl.runtime.manifest import (
    UNSEALED,
    Evaluation,
    Golden,
    Manifest,
    TextGeneration,
    Tolerance,
    Variant,
)

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
# Starting a thread and waiting for it takes as long as hashing about this many bytes.
HASHED_FIRST = 1 << 20

# The seal is the SHA-256 of the manifest's bytes with the seal itself zeroed.
_SEAL = re.compile(rb'"seal": ?"([0-9a-f]{64})"')

Used = TypeVar("Used")


class _Schema(Struct):
    schema_version: int


class Bundle(Struct, frozen=True):
    """A bundle's directory and its validated manifest."""

    path: Path
    manifest: Manifest

    def read(self, ref: Variant | Golden | Evaluation) -> bytes:
        """The content of one of the bundle's files, its hash verified.

        Raises:
            BundleNotFoundError: The file is missing.
            IntegrityError: The content is not what the manifest says.
        """
        return self.read_into(ref, lambda content: content)

    def read_into(self, ref: Variant | Golden | Evaluation, use: Callable[[bytes], Used]) -> Used:
        """What `use` makes of a file's content, once its hash is verified.

        Hashing a large file takes half of the time that ONNX Runtime needs to load the same
        bytes: it is done meanwhile, in a thread of its own. What `use` returns, or raises, is
        let out only when the content has turned out to be what the manifest says.

        Raises:
            BundleNotFoundError: The file is missing.
            IntegrityError: The content is not what the manifest says.
        """
        path = self.locate(ref.file)
        content = _read_bytes(path)
        if len(content) < HASHED_FIRST:
            _check_hash(hashlib.sha256(content), ref, path)
            return use(content)
        from threading import Thread  # half a millisecond that few files need

        digest = hashlib.sha256()
        hashing = Thread(target=digest.update, args=(content,))
        hashing.start()
        try:
            return use(content)
        finally:
            hashing.join()
            _check_hash(digest, ref, path)

    def locate(self, file: str) -> Path:
        """The path of a file of the bundle; refuses one that leaves the directory."""
        path = self.path / file
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise BundleError(
                f"{path} leaves the bundle (it points to {path.resolve()})",
                "a bundle holds its own files: replace the link by the file",
            )
        return path

    def verify(self) -> None:
        """Read every file of the bundle and verify its hash."""
        for ref in self.manifest.files():
            self.read(ref)


def _check_hash(digest: hashlib._Hash, ref: Variant | Golden | Evaluation, path: Path) -> None:
    if digest.hexdigest() != ref.sha256:
        raise IntegrityError(
            f"{path} is damaged: its SHA-256 is not the one in {MANIFEST_FILE}",
            "copy the bundle again, or export it again",
        )


def open_bundle(path: str | Path) -> Bundle:
    """Read and validate a bundle's manifest; the other files are verified when read.

    Args:
        path: The bundle's directory.

    Raises:
        BundleNotFoundError: There is no such directory, or no manifest in it.
        SchemaError: The manifest is not valid, or of a newer schema.
        IntegrityError: The manifest was changed after it was written.
    """
    root = Path(path)
    if not root.is_dir():
        why = "it is a file" if root.exists() else "there is no such directory"
        raise BundleNotFoundError(
            f"{root} is not a bundle: {why}",
            "give the directory that `edgedl export -o` wrote",
        )
    file = root / MANIFEST_FILE
    return Bundle(root, parse_manifest(_read_bytes(file), str(file)))


def parse_manifest(content: bytes, where: str = MANIFEST_FILE) -> Manifest:
    """Decode a manifest's bytes; `where` is the file to name in errors."""
    try:
        version = msgspec.json.decode(content, type=_Schema).schema_version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(
            f"{where} is not a manifest: {error}", "export the bundle again"
        ) from None
    if version < 1:
        raise SchemaError(f"{where} has schema {version}, which never existed")
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"{where} has schema {version}; this edgedl reads up to {SCHEMA_VERSION}",
            "upgrade edgedl on this machine",
        )
    _check_seal(content, where)
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(f"{where} is not valid: {error}", "export the bundle again") from None
    _check_consistent(manifest, where)
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as sealed, indented JSON."""
    unsealed = msgspec.structs.replace(manifest, seal=UNSEALED)
    content = msgspec.json.format(msgspec.json.encode(unsealed), indent=2) + b"\n"
    seal = hashlib.sha256(content).hexdigest().encode()
    match = _last_seal(content)
    assert match is not None
    return content[: match.start(1)] + seal + content[match.end(1) :]


def _last_seal(content: bytes) -> re.Match[bytes] | None:
    matches = list(_SEAL.finditer(content))
    return matches[-1] if matches else None


def _check_seal(content: bytes, where: str) -> None:
    match = _last_seal(content)
    unsealed = (
        b""
        if match is None
        else (content[: match.start(1)] + UNSEALED.encode() + content[match.end(1) :])
    )
    if match is None or hashlib.sha256(unsealed).hexdigest().encode() != match.group(1):
        raise IntegrityError(
            f"{where} is damaged: its content does not match its seal",
            "copy the bundle again, or export it again; a manifest is not edited by hand",
        )


def _check_consistent(manifest: Manifest, where: str) -> None:
    """What the types can't say: names are unique and refer to something."""

    def require(condition: bool, problem: str) -> None:
        if not condition:
            raise SchemaError(f"{where} contradicts itself: {problem}", "export the bundle again")

    variants = [v.name for v in manifest.variants]
    require(len(set(variants)) == len(variants), "two variants have one name")
    require(manifest.default_variant in variants, "the default variant is not among the variants")
    files = [ref.file for ref in manifest.files()]
    require(len({*files, MANIFEST_FILE}) == len(files) + 1, "two files have one name")
    inputs = {t.name for t in manifest.inputs}
    outputs = {t.name for t in manifest.outputs}
    require(len(inputs) == len(manifest.inputs), "two inputs have one name")
    require(len(outputs) == len(manifest.outputs), "two outputs have one name")
    held = all(any(limit is not None for limit in _limits(v.tolerance)) for v in manifest.variants)
    require(held, "a variant has no tolerance: its parity could not fail")
    for pair in manifest.state:
        require(pair.input in inputs and pair.output in outputs, f"state {pair} is no tensor")
    if manifest.search is not None:
        won = [c.recipe for c in manifest.search.candidates if c.verdict == "winner"]
        require(won == [manifest.default_variant], "the default variant did not win the search")
    decided = {decision.output for decision in manifest.decisions}
    require(decided <= outputs, "an output that gives classes doesn't exist")
    task = manifest.task
    if task is None:
        return
    require(task.input in inputs and task.output in outputs, "the task's tensors don't exist")
    if task.output in decided:
        return
    scores = next(t for t in manifest.outputs if t.name == task.output).shape
    classes = scores[-1] if scores else 1
    count, kind = len(task.classes), "labels"
    if isinstance(task, TextGeneration):
        kind = "tokens in the vocabulary"
        require(task.vocabulary.unknown < count, "the unknown token is not in the vocabulary")
    fits = classes == count or isinstance(classes, str)
    require(fits, f"{count} {kind}, but {classes} scores in {task.output!r}")


def _limits(tolerance: Tolerance) -> tuple[float | None, ...]:
    return tolerance.atol, tolerance.rtol, tolerance.min_sqnr_db, tolerance.max_drop


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleNotFoundError(
            f"{path} is missing", "copy the bundle again, or export it again"
        ) from None
    except OSError as error:
        raise BundleError(f"{path} can't be read: {error.strerror}") from None

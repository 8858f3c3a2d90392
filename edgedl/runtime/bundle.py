"""A bundle on disk: its manifest, read and validated, and its files, verified.

A bundle is a flat directory. `manifest.json` names every other file with its
SHA-256, and is sealed by a hash of its own bytes, so that one changed byte anywhere
is found and named. Nothing is ever unpickled, and no file name may leave the
directory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from edgedl.runtime.errors import (
    BundleError,
    BundleNotFoundError,
    IntegrityError,
    SchemaError,
)

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"

# The seal is the SHA-256 of the manifest's bytes with the seal itself zeroed.
_SEAL = re.compile(rb'"seal": ?"([0-9a-f]{64})"')
_UNSEALED = "0" * 64

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\Z", max_length=120)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Dimension = Annotated[int, Meta(ge=0)] | Name
Count = Annotated[int, Meta(ge=0)]


class TensorSpec(Struct, frozen=True):
    """A tensor's name, NumPy dtype name and shape; dynamic axes are strings."""

    name: Name
    dtype: Name
    shape: tuple[Dimension, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(str(d) for d in self.shape)}]"


def dynamic_axes(specs: Iterable[TensorSpec]) -> tuple[str, ...]:
    """The names of the tensors' dynamic axes, in order of appearance."""
    return tuple(dict.fromkeys(d for t in specs for d in t.shape if isinstance(d, str)))


class StatePair(Struct, frozen=True):
    """An output that is fed back to an input at the next step."""

    input: Name
    output: Name


class Tolerance(Struct, frozen=True):
    """How far a variant may be from the source framework.

    A float variant is held element by element: |a - b| <= atol + rtol * |b|, with b
    the source's value. A quantised one can't be; it is held to a least
    signal-to-quantisation-noise ratio in dB and to a largest loss of quality (or,
    without labels, of top-1 agreement) in percent.
    """

    atol: float | None = None
    rtol: float | None = None
    min_sqnr_db: float | None = None
    max_drop: float | None = None


class OutputParity(Struct, frozen=True):
    """One output compared with the golden vectors: the worst errors of any case.

    `sqnr_db`, `cosine` and `top1` are over all cases together. `sqnr_db` is None where there is no
    noise to divide by: the values are equal. `top1` is the share of
    positions whose largest element is the same, None where an output has no such meaning.
    """

    output: str
    passed: bool
    max_abs: float
    max_rel: float
    worst_case: str
    sqnr_db: float | None = None
    cosine: float | None = None
    top1: float | None = None
    reason: str = ""


class Quality(Struct, frozen=True):
    """A variant's quality on labelled samples, beside the source framework's.

    `metric` is `accuracy` (a share, more is better), `nats` (cross-entropy in nats per
    character, less is better) or, where there are no labels, `agreement` (the share of
    samples on which the source's class is chosen). `drop` is the loss in percentage points,
    or in percent of the source's nats; negative is a gain. `top1` is the share of
    positions where variant and source choose the same class.
    """

    metric: Literal["accuracy", "nats", "agreement"]
    value: float
    source: float
    top1: float
    samples: Count

    @property
    def drop(self) -> float:
        """Loss of quality: points of accuracy, or percent of the source's nats."""
        if self.metric == "nats":
            return 100.0 * (self.value - self.source) / self.source
        return 100.0 * (self.source - self.value)


class Variant(Struct, frozen=True):
    """One .onnx file, how it was made and the evidence it was held to."""

    name: Name
    file: FileName
    sha256: Sha256
    bytes: Count
    recipe: Name
    tolerance: Tolerance
    opset: Count
    ir_version: Count
    min_onnxruntime: str
    operators: dict[str, int]
    parity: tuple[OutputParity, ...] = ()
    quality: Quality | None = None
    eval_quality: Quality | None = None
    settings: dict[str, Any] = {}


class GoldenCase(Struct, frozen=True):
    """One set of golden vectors: the sizes of the dynamic axes and the steps fed back."""

    name: Name
    sizes: dict[str, int]
    steps: Annotated[int, Meta(ge=1)] = 1


class Golden(Struct, frozen=True):
    """The file that holds the golden vectors and the cases in it."""

    file: FileName
    sha256: Sha256
    bytes: Count
    cases: Annotated[tuple[GoldenCase, ...], Meta(min_length=1)]


class Evaluation(Struct, frozen=True):
    """The file of labelled samples that travels, and how many it holds."""

    file: FileName
    sha256: Sha256
    bytes: Count
    samples: Count


class ImageClassification(Struct, frozen=True, tag="image-classification", tag_field="kind"):
    """An image in, a score per label out; pixel * scale + offset is what the input wants."""

    input: Name
    output: Name
    labels: tuple[str, ...]
    scale: float = 1.0
    offset: float = 0.0
    layout: Literal["NHWC", "NCHW"] = "NHWC"

    @property
    def classes(self) -> tuple[str, ...]:
        """What the output's last axis scores, in its order: the labels."""
        return self.labels


class Vocabulary(Struct, frozen=True):
    """Token number to text; `unknown` is the token of whatever is not in the list."""

    tokens: tuple[str, ...]
    unknown: Count


class TextGeneration(Struct, frozen=True, tag="text-generation", tag_field="kind"):
    """Tokens in, the next token's logits out at every position."""

    input: Name
    output: Name
    vocabulary: Vocabulary

    @property
    def classes(self) -> tuple[str, ...]:
        """What the output's last axis scores, in its order: the tokens."""
        return self.vocabulary.tokens


Task = ImageClassification | TextGeneration


class Manifest(Struct, frozen=True, kw_only=True):
    """Everything a device must know about a bundle. Field order is file order."""

    schema_version: int
    name: Name
    task: Task | None = None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[StatePair, ...] = ()
    default_variant: Name
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1)]
    golden: Golden
    evaluation: Evaluation | None = None
    provenance: dict[str, Any] = {}
    seal: Sha256 = _UNSEALED

    def variant(self, name: str | None = None) -> Variant:
        """The variant of that name; the default one for None."""
        wanted = self.default_variant if name is None else name
        for variant in self.variants:
            if variant.name == wanted:
                return variant
        names = ", ".join(v.name for v in self.variants)
        raise BundleError(f"bundle {self.name!r} has no variant {wanted!r}", f"it has: {names}")

    def files(self) -> Iterator[Variant | Golden | Evaluation]:
        """Every file the manifest vouches for."""
        yield from self.variants
        yield self.golden
        if self.evaluation is not None:
            yield self.evaluation


class _Schema(Struct):
    schema_version: int


@dataclass(frozen=True)
class Bundle:
    """A bundle's directory and its validated manifest."""

    path: Path
    manifest: Manifest

    def read(self, ref: Variant | Golden | Evaluation) -> bytes:
        """The content of one of the bundle's files, its hash verified.

        Raises:
            BundleNotFoundError: The file is missing.
            IntegrityError: The content is not what the manifest says.
        """
        path = self.locate(ref.file)
        content = _read_bytes(path)
        if hashlib.sha256(content).hexdigest() != ref.sha256:
            raise IntegrityError(
                f"{path} is damaged: its SHA-256 is not the one in {MANIFEST_FILE}",
                "copy the bundle again, or export it again",
            )
        return content

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
    unsealed = msgspec.structs.replace(manifest, seal=_UNSEALED)
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
        else (content[: match.start(1)] + _UNSEALED.encode() + content[match.end(1) :])
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
    task = manifest.task
    if task is None:
        return
    require(task.input in inputs and task.output in outputs, "the task's tensors don't exist")
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

"""Manifests read back as they were written; whatever is damaged is found and named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedl.runtime.bundle import (
    HASHED_FIRST,
    MANIFEST_FILE,
    SCHEMA_VERSION,
    encode_manifest,
    open_bundle,
    parse_manifest,
)
from edgedl.runtime.errors import (
    BundleError,
    BundleNotFoundError,
    IntegrityError,
    SchemaError,
)
from edgedl.runtime.host import describe_host
from edgedl.runtime.manifest import (
    Candidate,
    Manifest,
    Search,
    StatePair,
    TextGeneration,
    Vocabulary,
)
from edgedl.runtime.protocol import Failure, ParityRequest
from edgedl.runtime.worker import answer
from tests.graphs import (
    change_manifest,
    change_variant,
    replace_variant,
    write_classifier_bundle,
    write_text_bundle,
)

WRITERS: dict[str, Callable[[Path], Path]] = {
    "classifier": write_classifier_bundle,
    "text": write_text_bundle,
}
FILES = (MANIFEST_FILE, "fp32.onnx", "rounded.onnx", "golden.npz", "eval.npz")


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A valid manifest's bytes."""
    path = write_text_bundle(tmp_path_factory.mktemp("manifests") / "letters.bundle")
    return (path / MANIFEST_FILE).read_bytes()


def seal(fields: dict[str, Any]) -> bytes:
    """Any JSON object, sealed as a manifest is."""
    content = json.dumps({**fields, "seal": "0" * 64}).encode()
    return content.replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode())


def is_read_or_refused(content: bytes) -> bool:
    """Whether a manifest is read, or refused by the file's name; anything else raises."""
    try:
        return isinstance(parse_manifest(content), Manifest)
    except BundleError as error:
        return MANIFEST_FILE in str(error)


def test_a_manifest_reads_back_as_it_was_written(valid: bytes) -> None:
    manifest = parse_manifest(valid)
    changed = msgspec.structs.replace(
        manifest, name='q"uoted \u00fc', provenance={"seal": "f" * 64, "tools": {"numpy": "2"}}
    )
    read = parse_manifest(encode_manifest(changed))
    assert msgspec.structs.replace(read, seal=changed.seal) == changed
    assert encode_manifest(read) == encode_manifest(changed)


def test_a_manifest_is_written_for_people_too(valid: bytes) -> None:
    fields = json.loads(valid)
    assert fields["schema_version"] == SCHEMA_VERSION
    assert fields["inputs"][0] == {"name": "tokens", "dtype": "int64", "shape": ["batch", "time"]}
    assert valid.count(b"\n") > 20


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_manifest_or_a_bundle_error(content: bytes) -> None:
    assert is_read_or_refused(content)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_changed_byte_of_a_manifest_is_found(valid: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(valid) - 1))
    flip = data.draw(st.integers(1, 255))
    content = valid[:position] + bytes([valid[position] ^ flip]) + valid[position + 1 :]
    with pytest.raises(BundleError, match=r"manifest\.json"):
        parse_manifest(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_sealed_manifest_with_any_field_replaced_is_valid_or_refused(
    valid: bytes, data: st.DataObject
) -> None:
    fields = json.loads(valid)
    holder = fields
    field = data.draw(st.sampled_from(sorted(fields)))
    while isinstance(holder[field], dict | list) and holder[field] and data.draw(st.booleans()):
        holder = holder[field]
        keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        field = data.draw(st.sampled_from(list(keys)))
    holder[field] = data.draw(JSON)
    assert is_read_or_refused(seal(fields))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", WRITERS)
def test_one_changed_byte_in_any_file_is_found_and_named(
    tmp_path: Path, kind: str, file: str
) -> None:
    path = WRITERS[kind](tmp_path / "damaged.bundle")
    content = bytearray((path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (path / file).write_bytes(content)
    # A byte of a manifest's own punctuation leaves no JSON at all.
    with pytest.raises((IntegrityError, SchemaError)) as caught:
        open_bundle(path).verify()
    assert str(path / file) in str(caught.value)
    reply = answer(ParityRequest(str(path)))
    assert isinstance(reply, Failure)
    assert str(path / file) in reply.message
    assert reply.exit_code == 1


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    path = write_classifier_bundle(tmp_path / "partial.bundle")
    (path / file).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        open_bundle(path).verify()
    assert isinstance(caught.value, BundleNotFoundError)
    assert str(path / file) in str(caught.value)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "short.bundle")
    content = (path / "fp32.onnx").read_bytes()
    (path / "fp32.onnx").write_bytes(content[:-1])
    with pytest.raises(IntegrityError, match=r"fp32\.onnx"):
        open_bundle(path).verify()


def test_what_is_no_directory_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="no such directory"):
        open_bundle(tmp_path / "nowhere")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleNotFoundError, match="it is a file"):
        open_bundle(tmp_path / "model.onnx")


def test_a_newer_schema_says_upgrade(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "new.bundle")
    change_manifest(path, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(SchemaError, match=f"schema {SCHEMA_VERSION + 1}") as caught:
        open_bundle(path)
    assert "upgrade edgedl" in caught.value.hint


def test_a_newer_schema_says_upgrade_whatever_else_it_holds() -> None:
    with pytest.raises(SchemaError) as caught:
        parse_manifest(b'{"schema_version": 99, "models": []}')
    assert "upgrade edgedl" in caught.value.hint


@pytest.mark.parametrize(
    "file", ["../fp32.onnx", "/etc/passwd", "a/b.onnx", "..", "", "a\\b", "a\n"]
)
def test_a_file_name_that_leaves_the_bundle_is_refused(tmp_path: Path, file: str) -> None:
    path = write_classifier_bundle(tmp_path / "escape.bundle")
    change_variant(path, "fp32", file=file)
    with pytest.raises(SchemaError, match="file"):
        open_bundle(path)


def test_a_link_that_leaves_the_bundle_is_refused(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "link.bundle")
    shutil.move(path / "fp32.onnx", tmp_path / "outside.onnx")
    (path / "fp32.onnx").symlink_to(tmp_path / "outside.onnx")
    with pytest.raises(BundleError, match="leaves the bundle"):
        open_bundle(path).verify()


def test_a_bundle_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(write_classifier_bundle(tmp_path / "v1.bundle"))
    open_bundle(tmp_path / "current").verify()


CONTRADICTIONS: dict[str, Callable[[Manifest], dict[str, Any]]] = {
    "two variants": lambda m: {"variants": (m.variants[0], m.variants[0])},
    "default variant": lambda m: {"default_variant": "int4"},
    "did not win": lambda m: {
        "search": Search(
            "cpu", describe_host(), 1.0, "fp32", (1, 1), (Candidate("rounded", "winner"),), 1.0
        )
    },
    "two files": lambda m: {
        "variants": (m.variants[0], msgspec.structs.replace(m.variants[1], file="golden.npz"))
    },
    "two inputs": lambda m: {"inputs": (m.inputs[0], m.inputs[0], m.inputs[1])},
    "two outputs": lambda m: {"outputs": (m.outputs[0], *m.outputs)},
    "state": lambda m: {"state": (StatePair("h", "nothing"),)},
    "task's tensors": lambda m: {"task": msgspec.structs.replace(m.task, input="image")},
    "unknown token": lambda m: {
        "task": TextGeneration("tokens", "logits", Vocabulary(("a", "b"), 2))
    },
}


@pytest.mark.parametrize("problem", CONTRADICTIONS)
def test_a_manifest_that_contradicts_itself_is_refused(valid: bytes, problem: str) -> None:
    manifest = parse_manifest(valid)
    changed = msgspec.structs.replace(manifest, **CONTRADICTIONS[problem](manifest))
    with pytest.raises(SchemaError, match=problem):
        parse_manifest(encode_manifest(changed))


def test_fields_of_a_later_edgedl_are_no_obstacle(valid: bytes) -> None:
    fields = json.loads(valid)
    fields["variants"][0]["speed"] = "great"
    assert parse_manifest(seal({**fields, "later": [1]})) == msgspec.structs.replace(
        parse_manifest(valid), seal=json.loads(seal({**fields, "later": [1]}))["seal"]
    )


def test_an_unknown_variant_is_answered_with_the_known_ones(classifier_bundle: Path) -> None:
    with pytest.raises(BundleError, match="int4") as caught:
        open_bundle(classifier_bundle).manifest.variant("int4")
    assert caught.value.hint == "it has: fp32, rounded"


@pytest.mark.parametrize("size", [1000, HASHED_FIRST + 1])
def test_what_is_made_of_a_damaged_file_is_not_let_out(tmp_path: Path, size: int) -> None:
    path = write_classifier_bundle(tmp_path / "a.bundle")
    replace_variant(path, "fp32", bytes(size))
    bundle = open_bundle(path)
    variant = bundle.manifest.variant("fp32")
    assert bundle.read_into(variant, len) == size
    (path / variant.file).write_bytes(bytes(size - 1) + b"x")

    def fail(content: bytes) -> None:
        raise ValueError("what the engine says of damaged bytes")

    for use in (len, fail):
        with pytest.raises(IntegrityError, match="is damaged"):
            bundle.read_into(variant, use)

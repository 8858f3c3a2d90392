"""Tiny ONNX graphs and whole bundles of them, made without a framework.

The golden outputs are computed here in plain NumPy, so that parity is a real check of
what ONNX Runtime answers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgedl.runtime.bundle import MANIFEST_FILE, SCHEMA_VERSION, encode_manifest, open_bundle
from edgedl.runtime.golden import Array, Arrays, GoldenVectors, pack_golden, write_npz
from edgedl.runtime.manifest import (
    Chunks,
    Evaluation,
    Golden,
    GoldenCase,
    ImageClassification,
    Manifest,
    Quality,
    StatePair,
    TensorSpec,
    TextGeneration,
    Tolerance,
    Variant,
    Vocabulary,
)

OPSET = 17
IR_VERSION = 8
EXACT = Tolerance(atol=1e-5, rtol=1e-4)
ROUGH = Tolerance(min_sqnr_db=10.0, max_drop=60.0)

LABELS = ("cat", "dog", "bird")
IMAGE = TensorSpec("image", "float32", ("batch", 4, 4, 1))
PROBABILITIES = TensorSpec("probabilities", "float32", ("batch", 3))

TOKENS = ("\ufffd", "a", "b", "c", "d", "e", " ", "\n")
UNKNOWN = 0
HIDDEN = 5
TOKENS_IN = TensorSpec("tokens", "int64", ("batch", "time"))
H_IN = TensorSpec("h", "float32", (1, "batch", HIDDEN))
LOGITS = TensorSpec("logits", "float32", ("batch", "time", len(TOKENS)))
H_OUT = TensorSpec("h_out", "float32", (1, "batch", HIDDEN))


@dataclass(frozen=True)
class ClassifierWeights:
    """A dense layer: kernel (16, 3), bias (3,)."""

    kernel: Array
    bias: Array


@dataclass(frozen=True)
class TextWeights:
    """An Elman RNN: embedding (V, 4), in_hidden (5, 4), hidden (5, 5), bias (5,), out (5, V)."""

    embedding: Array
    in_hidden: Array
    hidden: Array
    bias: Array
    out: Array


def classifier_weights() -> ClassifierWeights:
    rng = np.random.default_rng(7)
    return ClassifierWeights(_normal(rng, 16, 3), _normal(rng, 3))


def text_weights() -> TextWeights:
    rng = np.random.default_rng(11)
    size = len(TOKENS)
    return TextWeights(
        embedding=_normal(rng, size, 4),
        in_hidden=_normal(rng, HIDDEN, 4),
        hidden=_normal(rng, HIDDEN, HIDDEN) * np.float32(0.5),
        bias=_normal(rng, HIDDEN) * np.float32(0.1),
        out=_normal(rng, HIDDEN, size),
    )


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def rounded(weights: Any) -> Any:
    """The same weights on a grid of 1/8: close to the source, but not it."""
    return type(weights)(
        **{
            name: (np.round(array * 8) / 8).astype(np.float32)
            for name, array in vars(weights).items()
        }
    )


def classifier_answer(weights: ClassifierWeights, image: Array) -> Array:
    """Probabilities, (batch, 3)."""
    scores = image.reshape(len(image), -1) @ weights.kernel + weights.bias
    grown = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(grown / grown.sum(-1, keepdims=True), np.float32)


def text_answer(weights: TextWeights, tokens: Array, h: Array) -> tuple[Array, Array]:
    """Logits, (batch, time, V), and the state afterwards, (1, batch, 5)."""
    state, logits = h[0], []
    for step in range(tokens.shape[1]):
        embedded = weights.embedding[tokens[:, step]]
        state = np.tanh(embedded @ weights.in_hidden.T + state @ weights.hidden.T + weights.bias)
        logits.append(state @ weights.out)
    return np.stack(logits, 1).astype(np.float32), state[None].astype(np.float32)


def classifier_graph(weights: ClassifierWeights) -> onnx.ModelProto:
    """image -> Flatten -> MatMul -> Add -> Softmax -> probabilities."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "kernel"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
    ]
    return _model(nodes, [IMAGE], [PROBABILITIES], vars(weights))


def text_graph(weights: TextWeights) -> onnx.ModelProto:
    """tokens -> Gather -> RNN over time, from h to h_out -> MatMul -> logits."""
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["embedded"], axis=0),
        helper.make_node("Transpose", ["embedded"], ["by_time"], perm=[1, 0, 2]),
        helper.make_node(
            "RNN", ["by_time", "w", "r", "b", "", "h"], ["states", "h_out"], hidden_size=HIDDEN
        ),
        helper.make_node("Squeeze", ["states", "direction"], ["squeezed"]),
        helper.make_node("Transpose", ["squeezed"], ["by_batch"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["by_batch", "out"], ["logits"]),
    ]
    constants = {
        "embedding": weights.embedding,
        "w": weights.in_hidden[None],
        "r": weights.hidden[None],
        "b": np.concatenate([weights.bias, np.zeros_like(weights.bias)])[None],
        "direction": np.array([1], np.int64),
        "out": weights.out,
    }
    return _model(nodes, [TOKENS_IN, H_IN], [LOGITS, H_OUT], constants)


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    constants: Mapping[str, Array],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [_value_info(spec) for spec in inputs],
        [_value_info(spec) for spec in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model)
    return model


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    return helper.make_tensor_value_info(spec.name, kinds[spec.dtype], list(spec.shape))


def classifier_images(count: int, seed: int = 0) -> Array:
    """Images, (count, 4, 4, 1)."""
    return _normal(np.random.default_rng(seed), count, 4, 4, 1)


def text_tokens(batch: int, time: int, seed: int = 0) -> Array:
    """Tokens, (batch, time)."""
    return np.random.default_rng(seed).integers(0, len(TOKENS), (batch, time))


def classifier_golden() -> list[GoldenVectors]:
    """Batches of 1, 2 and 5."""
    cases = []
    for batch in (1, 2, 5):
        image = classifier_images(batch, seed=batch)
        answer = classifier_answer(classifier_weights(), image)
        case = GoldenCase(f"batch{batch}", {"batch": batch})
        cases.append(GoldenVectors(case, {"image": image}, {"probabilities": answer}))
    return cases


def text_golden() -> list[GoldenVectors]:
    """Three sizes in one call each, one of them in parts too, and sequences of steps."""
    weights = text_weights()
    cases = []
    for batch, time in ((1, 1), (1, 6), (2, 3)):
        tokens = text_tokens(batch, time, seed=time)
        h = _normal(np.random.default_rng(time), 1, batch, HIDDEN)
        logits, h_out = text_answer(weights, tokens, h)
        parts = Chunks((1, 5), {"tokens": 1}, {"logits": 1}) if time == 6 else None
        sizes = {"batch": batch, "time": time}
        case = GoldenCase(f"batch{batch}-time{time}", sizes, chunks=parts)
        cases.append(
            GoldenVectors(case, {"tokens": tokens, "h": h}, {"logits": logits, "h_out": h_out})
        )
    return [
        *cases,
        _text_steps(weights, steps=4, batch=2),
        _text_forced(weights, steps=3, batch=2),
        _text_written(weights, steps=5),
    ]


def _text_forced(weights: TextWeights, steps: int, batch: int) -> GoldenVectors:
    """Single steps, each from another state."""
    tokens = text_tokens(steps * batch, 1, seed=11).reshape(steps, batch, 1)
    h = np.tanh(_normal(np.random.default_rng(11), steps, 1, batch, HIDDEN))
    answers = [text_answer(weights, *step) for step in zip(tokens, h, strict=True)]
    return GoldenVectors(
        GoldenCase("forced3", {"batch": batch, "time": 1}, steps, "forced"),
        {"tokens": tokens, "h": h},
        {
            "logits": np.stack([logits for logits, _ in answers]),
            "h_out": np.stack([h_out for _, h_out in answers]),
        },
    )


def _text_written(weights: TextWeights, steps: int) -> GoldenVectors:
    """A prompt of three tokens, and the likeliest token after it time and again."""
    text = text_tokens(1, 3, seed=12)
    zeros, best = np.zeros((1, 1, HIDDEN), np.float32), []
    for _ in range(steps):
        scores = text_answer(weights, text, zeros)[0][0, -1]
        best.append(np.sort(scores)[:-3:-1])
        text = np.append(text, [[np.argmax(scores)]], 1)
    return GoldenVectors(
        GoldenCase("text5", {"batch": 1, "time": 3}, steps, "text"),
        {"tokens": text, "h": zeros},
        {"logits": np.stack(best)},
    )


def _text_steps(weights: TextWeights, steps: int, batch: int) -> GoldenVectors:
    tokens = text_tokens(batch, steps, seed=9)
    h = np.zeros((1, batch, HIDDEN), np.float32)
    logits, h_out = text_answer(weights, tokens, h)
    return GoldenVectors(
        GoldenCase("steps4", {"batch": batch, "time": 1}, steps),
        {"tokens": tokens.T[:, :, None].copy(), "h": h},  # (steps, batch, 1)
        {"logits": logits.swapaxes(0, 1)[:, :, None].copy(), "h_out": h_out},
    )


def write_classifier_bundle(path: Path, name: str = "shapes") -> Path:
    """A bundle of an image classifier with the variants `fp32` and `rounded`.

    The source framework's accuracy on the samples that travel is 15 of 20.
    """
    weights = classifier_weights()
    image = classifier_images(20, seed=3)
    top1 = np.argmax(classifier_answer(weights, image), -1)
    labels = np.where(np.arange(20) % 4 == 0, (top1 + 1) % 3, top1)
    quality = Quality("accuracy", 0.75, 0.75, 1.0, 20)
    return _write_bundle(
        path,
        {"fp32": classifier_graph(weights), "rounded": classifier_graph(rounded(weights))},
        quality,
        classifier_golden(),
        {"image": image, "labels": labels, "source_top1": top1},
        name=name,
        task=ImageClassification("image", "probabilities", LABELS, scale=1 / 255),
        inputs=(IMAGE,),
        outputs=(PROBABILITIES,),
    )


def write_text_bundle(path: Path, name: str = "letters") -> Path:
    """A bundle of a stateful text generator with the variants `fp32` and `rounded`."""
    weights = text_weights()
    text = text_tokens(10, 6, seed=5)
    logits, _ = text_answer(weights, text[:, :-1], np.zeros((1, 10, HIDDEN), np.float32))
    labels = text[:, 1:]
    nats = cross_entropy(logits, labels)
    return _write_bundle(
        path,
        {"fp32": text_graph(weights), "rounded": text_graph(rounded(weights))},
        Quality("nats", nats, nats, 1.0, 10),
        text_golden(),
        {"tokens": text[:, :-1], "labels": labels, "source_top1": np.argmax(logits, -1)},
        name=name,
        task=TextGeneration("tokens", "logits", Vocabulary(TOKENS, UNKNOWN)),
        inputs=(TOKENS_IN, H_IN),
        outputs=(LOGITS, H_OUT),
        state=(StatePair("h", "h_out"),),
    )


def cross_entropy(logits: Array, labels: Array) -> float:
    """Mean nats of the labels, from the definition, one position at a time."""
    flat = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
    shares = [
        np.exp(row)[label] / np.exp(row).sum()
        for row, label in zip(flat, labels.ravel(), strict=True)
    ]
    return float(-np.mean(np.log(shares)))


def _write_bundle(
    path: Path,
    models: Mapping[str, onnx.ModelProto],
    quality: Quality,
    golden: Sequence[GoldenVectors],
    evaluation: Arrays,
    **manifest: Any,
) -> Path:
    path.mkdir(parents=True)
    variants = tuple(
        _variant(name, model, _store(path / f"{name}.onnx", model.SerializeToString()), quality)
        for name, model in models.items()
    )
    golden_ref = _store(path / "golden.npz", write_npz(pack_golden(golden)))
    eval_ref = _store(path / "eval.npz", write_npz(evaluation))
    content = encode_manifest(
        Manifest(
            schema_version=SCHEMA_VERSION,
            default_variant=next(iter(models)),
            variants=variants,
            golden=Golden(**golden_ref, cases=tuple(v.case for v in golden)),
            evaluation=Evaluation(**eval_ref, samples=len(evaluation["labels"])),
            provenance={"source": "tests"},
            **manifest,
        )
    )
    (path / MANIFEST_FILE).write_bytes(content)
    return path


def _variant(name: str, model: onnx.ModelProto, ref: dict[str, Any], quality: Quality) -> Variant:
    return Variant(
        name=name,
        **ref,
        recipe=name,
        tolerance=EXACT if name == "fp32" else ROUGH,
        opset=OPSET,
        ir_version=IR_VERSION,
        min_onnxruntime="1.17",
        operators=dict(Counter(node.op_type for node in model.graph.node)),
        quality=quality,
        eval_quality=quality,
    )


def _store(file: Path, content: bytes) -> dict[str, Any]:
    """Write a file; what a manifest says about it."""
    file.write_bytes(content)
    return {
        "file": file.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }


def change_manifest(path: Path, **changes: Any) -> None:
    """Replace fields of a bundle's manifest and seal it again."""
    manifest = msgspec.structs.replace(open_bundle(path).manifest, **changes)
    (path / MANIFEST_FILE).write_bytes(encode_manifest(manifest))


def change_variant(path: Path, name: str, **changes: Any) -> None:
    """Replace fields of one variant in a bundle's manifest."""
    variants = open_bundle(path).manifest.variants
    change_manifest(
        path,
        variants=tuple(
            msgspec.structs.replace(v, **changes) if v.name == name else v for v in variants
        ),
    )


def replace_variant(path: Path, name: str, content: bytes) -> None:
    """Put other bytes in a variant's file, hashes and seal right."""
    file = open_bundle(path).manifest.variant(name).file
    change_variant(path, name, **_store(path / file, content))


def replace_golden(path: Path, content: bytes) -> None:
    """Put other bytes in the golden vectors' file, hashes and seal right."""
    golden = open_bundle(path).manifest.golden
    change_manifest(
        path, golden=msgspec.structs.replace(golden, **_store(path / golden.file, content))
    )

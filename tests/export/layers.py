"""Small graphs for the recipes, and the material that a recipe works from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from edgedl.export.evidence import agreement
from edgedl.export.interface import Interface
from edgedl.export.judgement import FLIP_MARGIN, Judge, Judgement
from edgedl.export.recipes import Material
from edgedl.export.samples import Samples
from edgedl.export.stages import Reference, runner
from edgedl.export.surgery import prepared
from edgedl.export.target import Target
from edgedl.runtime.golden import Array, Arrays, GoldenVectors
from edgedl.runtime.manifest import GoldenCase, TensorSpec
from tests.export.fake_source import model, normal

ROWS, WIDE, RANK, OUT = 256, 96, 6, 64
VECTOR = TensorSpec("x", "float32", ("batch", WIDE))
SCORES = TensorSpec("y", "float32", ("batch", OUT))
SEQUENCE = TensorSpec("x", "float32", ("batch", "time", 16))
STATES = TensorSpec("y", "float32", ("batch", "time", 24))


def thin(rank: int = RANK, noise: float = 1e-3) -> Array:
    """A matrix (WIDE, OUT) that all but has this rank."""
    product = normal(1, WIDE, rank) @ normal(2, rank, OUT) / np.sqrt(WIDE * rank)
    return np.asarray(product + noise * normal(3, WIDE, OUT), np.float32)


def dense(weight: Array, operator: str = "MatMul") -> onnx.ModelProto:
    """x -> MatMul or Gemm (transposed, with a bias) -> y."""
    constants = {"weight": weight}
    inputs = ["x", "weight"]
    attributes = {}
    if operator == "Gemm":
        constants = {"weight": np.ascontiguousarray(weight.T), "bias": normal(4, weight.shape[1])}
        inputs, attributes = ["x", "weight", "bias"], {"transB": 1}
    node = helper.make_node(operator, inputs, ["y"], name="dense", **attributes)
    return model([node], {"x": VECTOR.shape}, {"y": ["batch", weight.shape[1]]}, constants)


def recurrent(operator: str = "LSTM") -> onnx.ModelProto:
    """x -> a recurrent layer over time, batch first outside -> y."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    nodes = [
        helper.make_node("Transpose", ["x"], ["by_time"], name="in", perm=[1, 0, 2]),
        helper.make_node(operator, ["by_time", "w", "r"], ["states"], name="layer", hidden_size=24),
        helper.make_node("Squeeze", ["states", "one"], ["squeezed"], name="squeeze"),
        helper.make_node("Transpose", ["squeezed"], ["y"], name="out", perm=[1, 0, 2]),
    ]
    constants = {
        "w": normal(5, 1, gates * 24, 16) / 4,
        "r": normal(6, 1, gates * 24, 24) / 5,
        "one": np.array([1], np.int64),
    }
    return model(nodes, {"x": SEQUENCE.shape}, {"y": STATES.shape}, constants)


def material(
    graph: onnx.ModelProto,
    specs: tuple[TensorSpec, TensorSpec],
    samples: Array,
    scratch: Path,
    max_drop: float = 1.0,
    **settings: object,
) -> Material:
    """What a recipe works from; half of the samples calibrate, the model is its own source."""
    interface = Interface((specs[0],), (specs[1],), ())
    half = len(samples) // 2
    given = Samples({"x": samples[:half]}, (specs[0],), "a test", "")
    held = Samples({"x": samples[half:]}, (specs[0],), "a test", "")
    run = runner(graph, interface)
    feeds: Arrays = {"x": samples[half:]}
    golden = GoldenVectors(GoldenCase("all", {}), feeds, run(feeds))
    judge = Judge(agreement=agreement(held, interface, run, FLIP_MARGIN))
    judgement = Judgement(Reference(interface, [golden]), judge, max_drop)
    return Material(prepared(graph), given, scratch, Target(), judgement, **settings)  # type: ignore[arg-type]


def run(graph: onnx.ModelProto, of: Material, samples: Array) -> Array:
    """A model's answer."""
    return runner(graph, of.judgement.interface)({"x": samples})["y"]


def sqnr_db(actual: Array, expected: Array) -> float:
    """Signal to noise in dB, from the definition."""
    noise = float(np.sum((actual - expected).astype(np.float64) ** 2))
    return float(10 * np.log10(float(np.sum(expected.astype(np.float64) ** 2)) / noise))

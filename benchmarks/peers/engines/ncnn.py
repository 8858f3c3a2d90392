"""ncnn: what pnnx made of an ONNX file. It knows no batch axis: a batch is a loop."""

from __future__ import annotations

import json
import os
from pathlib import Path

import ncnn
import numpy as np

from benchmarks.peers.engines import Step
from edgedl.runtime.golden import Arrays


def open_model(inputs: Arrays, threads: int | None, stem: str, precision: str = "f32") -> Step:
    """An extractor per run, as ncnn wants it.

    Args:
        inputs: Their sizes.
        threads: Of ncnn's own pool.
        stem: `stem.ncnn.param`, `stem.ncnn.bin` and `stem.json`, which names what goes in and
            out and the outputs' shapes, the batch axis first in all.
        precision: "f32", or "bf16" for storage in bf16.
    """
    net = ncnn.Net()
    net.opt.num_threads = threads or len(os.sched_getaffinity(0))
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = precision == "bf16"
    net.load_param(f"{stem}.ncnn.param")
    net.load_model(f"{stem}.ncnn.bin")
    signature = json.loads(Path(f"{stem}.json").read_text())
    entries, exits = signature["inputs"], signature["outputs"]

    def one(given: Arrays) -> Arrays:
        extractor = net.create_extractor()
        for i, name in enumerate(entries):
            array = given[name]
            array = array.astype(np.int32) if array.dtype == np.int64 else array
            extractor.input(f"in{i}", ncnn.Mat(array))
        return {
            name: np.array(extractor.extract(f"out{i}")[1]).reshape(shape)
            for i, (name, shape) in enumerate(exits.items())
        }

    if signature["whole"]:
        return lambda given: one({n: _without_batch(n, a, signature) for n, a in given.items()})

    def each(given: Arrays) -> Arrays:
        (name,) = entries
        answers = [one({name: row}) for row in given[name]]
        return {exit: np.concatenate([a[exit] for a in answers]) for exit in exits}

    return each


def _without_batch(
    name: str, array: np.ndarray, signature: dict[str, dict[str, list[int]]]
) -> np.ndarray:
    return np.ascontiguousarray(array.reshape(signature["inputs"][name]))

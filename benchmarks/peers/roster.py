"""Who is measured, on what: the literal tables of this benchmark.

Arguments may name `{demo}`, `{models}` (the converted ones), `{file}` (the workload's file
name), `{winner}`, `{lossless}`, `{unshown}` (variants of the searched bundles) and `{bundle}`.
"""

from __future__ import annotations

from dataclasses import dataclass

DIGITS, TEXT = "digits", "text"


@dataclass(frozen=True)
class Workload:
    """One thing that a model is asked for. `file` is what converted models for it are called."""

    name: str
    model: str
    sizes: dict[str, int]
    file: str
    factory: str = "once"


WORKLOADS = (
    Workload("CNN, batch 1", DIGITS, {"batch": 1}, "cnn-1"),
    Workload("CNN, batch 32", DIGITS, {"batch": 32}, "cnn-32"),
    Workload("LSTM, one step", TEXT, {"batch": 1, "time": 1}, "step"),
    Workload("LSTM, 64-step prefill", TEXT, {"batch": 1, "time": 64}, "prefill"),
    Workload("LSTM, 200 tokens", TEXT, {"batch": 1, "time": 1}, "step", "generate"),
)


@dataclass(frozen=True)
class Conversion:
    """How a peer's files are made: `benchmarks.peers.conversions.FORMAT`, and where it runs.

    A file is called after its workload, with the suffix.
    """

    format: str
    kind: str
    suffix: str
    environment: str = ""


@dataclass(frozen=True)
class Peer:
    """One engine with one kind of file.

    `environment` is one of `build/peers/`, or "" for edgedl's own. An `exact` one is held to
    the float tolerance, any other to a quantised variant's. `only` names the workloads' files
    that it is measured on, single calls, where that isn't all. A `single` one has one thread,
    whatever it is given.
    """

    name: str
    engine: str
    arguments: tuple[str, ...]
    models: tuple[str, ...] = (DIGITS, TEXT)
    environment: str = ""
    exact: bool = True
    conversion: Conversion | None = None
    only: tuple[str, ...] = ()
    single: bool = False

    def takes(self, workload: Workload) -> bool:
        """Whether it is measured on this workload."""
        if self.only:
            return workload.file in self.only and workload.factory == "once"
        return workload.model in self.models


OURS, LOSSLESS, UNSHOWN = "edgedl", "edgedl, nothing lost", "edgedl, no loss shown"
KEPT = "edgedl bound call"
RUN_FP32, RUN_WINNER, BARE = "ORT run fp32", "ORT run, our winner", "ORT run_with_iobinding"
EAGER = "torch eager"
FP32 = "{demo}/{model}.bundle/fp32.onnx"
WINNER = "{bundle}/{winner}.onnx"
CONVERTED = "{models}/{engine}/{file}"
SINGLE_CALLS = ("cnn-1", "step")


def _litert(name: str, kind: str, exact: bool, only: tuple[str, ...] = ()) -> Peer:
    how = ("none",) if only else ()
    return Peer(
        name, "litert", (f"{CONVERTED}-{kind}.tflite", *how), environment="litert", exact=exact,
        conversion=Conversion("litert", kind, f"-{kind}.tflite"), only=only,
    )  # fmt: skip


def _converted(name: str, engine: str, kind: str, ending: str, exact: bool) -> Peer:
    suffix = f"-{kind}.{ending}"
    return Peer(
        name, engine, (CONVERTED + suffix,), environment=engine, exact=exact,
        conversion=Conversion(engine, kind, suffix, engine),
    )  # fmt: skip


PEERS = (
    Peer(OURS, "edgedl", ("{bundle}", "{winner}"), exact=False),
    Peer(LOSSLESS, "edgedl", ("{bundle}", "{lossless}"), exact=False),
    Peer(UNSHOWN, "edgedl", ("{bundle}", "{unshown}"), (DIGITS,), exact=False),
    Peer(KEPT, "edgedl", ("{bundle}", "{winner}", "kept"), exact=False, only=SINGLE_CALLS),
    Peer(BARE, "ort", (WINNER, "bound"), exact=False, only=SINGLE_CALLS),
    Peer(RUN_WINNER, "ort", (WINNER,), exact=False),
    Peer(RUN_FP32, "ort", (FP32,)),
    _litert("LiteRT float", "float", exact=True),
    _litert("LiteRT float, no XNNPACK", "float", exact=True, only=SINGLE_CALLS),
    _litert("LiteRT dynamic-range", "dynamic", exact=False),
    _litert("LiteRT full int8", "int8", exact=False),
    Peer("OpenVINO", "openvino", (FP32,), environment="openvino"),
    Peer("OpenVINO bf16", "openvino", (FP32, "bf16"), environment="openvino", exact=False),
    Peer("tract", "tract", (FP32,), environment="tract", single=True),
    Peer(
        "ncnn", "ncnn", (CONVERTED,), environment="ncnn",
        conversion=Conversion("ncnn", "float", ".json", "ncnn"),
    ),
    _converted("MNN", "mnn", "float", "mnn", exact=True),
    _converted("MNN int8 weights", "mnn", "int8", "mnn", exact=False),
    _converted("ExecuTorch", "executorch", "float", "pte", exact=True),
    _converted("ExecuTorch int8", "executorch", "int8", "pte", exact=False),
    Peer("Keras predict", "keras", ("{demo}/digits/model.keras", "predict"), (DIGITS,)),
    Peer("Keras call", "keras", ("{demo}/digits/model.keras", "call"), (DIGITS,)),
    Peer(EAGER, "pytorch", ("{torch}", "eager")),
    Peer("torch.compile", "pytorch", ("{torch}", "compile")),
    Peer("torch int8", "pytorch", ("{torch}", "int8"), exact=False),
)  # fmt: skip

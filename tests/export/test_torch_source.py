"""PyTorch modules through the whole export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl import runtime
from edgedl.export import graph
from edgedl.export.errors import SamplesError, SourceError
from edgedl.export.interface import Interface, parse_dynamic
from edgedl.export.pipeline import export
from edgedl.export.request import ExportRequest
from edgedl.export.sources import load_factory, open_source
from edgedl.export.sources.torch import TorchSource
from edgedl.export.stages import runner
from edgedl.runtime.bundle import Bundle
from edgedl.runtime.errors import ParityError
from edgedl.runtime.manifest import TensorSpec
from tests.export.fake_source import normal

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

TOKENS, HIDDEN = 11, 12
LSTM = """
from typing import NamedTuple

import torch
from torch import nn


class Step(NamedTuple):
    logits: torch.Tensor
    h: torch.Tensor
    c: torch.Tensor


class Tiny(nn.Module):
    def __init__(self, hidden=12):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.lstm = nn.LSTM(8, hidden, 2, batch_first=True)
        self.linear = nn.Linear(hidden, 11)

    def forward(self, tokens, h, c):
        features, (h, c) = self.lstm(self.embedding(tokens), (h, c))
        return Step(self.linear(features), h, c)


def build():
    torch.manual_seed(0)
    return Tiny()


def from_checkpoint(checkpoint):
    model = Tiny(checkpoint["hidden"])
    model.load_state_dict(checkpoint["state_dict"])
    return model


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, x):
        return self.layers(x)


class Dropping(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, training=True)


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 4)

    def forward(self, x):
        return self.lstm(x)[0]


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 4, batch_first=True)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
        return self.gru(packed)[1][-1]


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, x):
        return self.encoder(x, src_key_padding_mask=x[..., 0] < -5)


class Nested(nn.Module):
    def forward(self, x):
        return {"logits": x, "state": (x, x + 1), "nothing": None, "count": x.argmax(-1)}


class Branching(nn.Module):
    def forward(self, x):
        return x if x.shape[1] == 9 else 2 * x


class Sized(nn.Module):
    def forward(self, x):
        return {"x": x, "size": len(x)}


def raising():
    raise ValueError("no such size")
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("torch") / "tiny.py"
    path.write_text(LSTM)
    return str(path)


def _text_request(source: str, root: Path, **changes: Any) -> ExportRequest:
    rng = np.random.default_rng(0)
    samples = root / "samples.npz"
    np.savez(
        samples,
        tokens=rng.integers(0, TOKENS, (16, 9)),
        h=normal(1, 2, 16, HIDDEN),
        c=normal(2, 2, 16, HIDDEN),
    )
    axes = ("tokens:0=batch", "tokens:1=time", "h:1=batch", "c:1=batch")
    settings = {
        "samples": samples,
        "dynamic": tuple(parse_dynamic(axis) for axis in axes),
        "recipes": ("fp32", "int8-dynamic"),
        "max_drop": 20.0,
    }
    return ExportRequest(source, root / "m.bundle", **{**settings, **changes})


@pytest.fixture(scope="module")
def text(file: str, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(_text_request(f"{file}:build", tmp_path_factory.mktemp("text")))


def test_a_stateful_module_has_public_names_and_state(text: Bundle) -> None:
    manifest = text.manifest
    assert [t.name for t in manifest.outputs] == ["logits", "h_out", "c_out"]
    assert [(p.output, p.input) for p in manifest.state] == [("h_out", "h"), ("c_out", "c")]
    assert manifest.inputs[0].shape == ("batch", "time")
    assert manifest.outputs[0].shape == ("batch", "time", TOKENS)
    assert manifest.provenance["conversion"]["path"] == "torch.onnx.export(dynamo=False)"
    assert {"torch", "onnxscript"} <= manifest.provenance["tools"].keys()


@pytest.mark.parametrize(("variant", "atol"), [("fp32", 1e-5), ("int8-dynamic", 0.1)])
def test_every_variant_runs_at_other_sizes(
    text: Bundle, file: str, variant: str, atol: float
) -> None:
    module = load_factory(f"{file}:build")().eval()
    with runtime.load(text.path, variant) as loaded:
        for batch, time in ((1, 1), (1, 64), (4, 7), (4, 64)):
            tokens = np.random.default_rng(time).integers(0, TOKENS, (batch, time))
            h, c = normal(1, 2, batch, HIDDEN), normal(2, 2, batch, HIDDEN)
            with torch.inference_mode():
                expected = module(*(torch.from_numpy(a) for a in (tokens, h, c)))
            answers = loaded.run(tokens=tokens, h=h, c=c)
            np.testing.assert_allclose(answers["logits"], expected.logits, rtol=0, atol=atol)
            # A cell's state is not bounded as logits are: its error may be larger.
            np.testing.assert_allclose(answers["h_out"], expected.h, rtol=0, atol=3 * atol)
            np.testing.assert_allclose(answers["c_out"], expected.c, rtol=0, atol=3 * atol)


def test_a_feed_forward_module_goes_by_the_current_exporter(
    file: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    samples = tmp_path / "samples.npz"
    x = normal(0, 20, 6)
    np.savez(samples, x=x)
    bundle = export(
        ExportRequest(
            f"{file}:Dense",
            tmp_path / "m.bundle",
            samples=samples,
            dynamic=(parse_dynamic("x:0=batch"),),
            recipes=("fp32",),
        )
    )
    assert capfd.readouterr() == ("", "")
    assert bundle.manifest.provenance["conversion"]["path"] == "torch.onnx.export(dynamo=True)"
    with torch.inference_mode():
        expected = load_factory(f"{file}:Dense")().eval()(torch.from_numpy(x)).numpy()
    answered = runtime.load(bundle.path).run(x=x)["output"]
    np.testing.assert_allclose(answered, expected, 1e-4, 1e-5)


def _saved(root: Path, content: object) -> Path:
    path = root / "model.pt"
    torch.save(content, path)
    return path


def test_weights_reach_the_module(file: str, tmp_path: Path) -> None:
    trained = load_factory(f"{file}:build")()
    torch.nn.init.constant_(trained.linear.bias, 7.0)
    weights = _saved(tmp_path, trained.state_dict())
    source: Any = open_source(f"{file}:build", weights)
    assert (source.module.linear.bias == 7.0).all()
    checkpoint = _saved(tmp_path, {"hidden": HIDDEN, "state_dict": trained.state_dict()})
    source = open_source(f"{file}:from_checkpoint", checkpoint)
    assert (source.module.linear.bias == 7.0).all()
    assert not source.module.training


def test_the_weights_are_in_the_manifest(file: str, tmp_path: Path) -> None:
    weights = _saved(tmp_path, load_factory(f"{file}:build")().state_dict())
    request = _text_request(
        f"{file}:build", tmp_path, weights=weights, recipes=("fp32",), simplify=False
    )
    recorded = export(request).manifest.provenance["source"]
    assert recorded["given"] == f"{file}:build"
    assert {len(recorded["file_sha256"]), len(recorded["weights_sha256"])} == {64}


def test_a_pickled_module_is_refused(file: str, tmp_path: Path) -> None:
    # Any class would do; torch's own is there when the file is read.
    weights = _saved(tmp_path, torch.nn.Linear(2, 2))
    with pytest.raises(SourceError, match="holds code, not just weights: refused") as caught:
        open_source(f"{file}:build", weights)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 not a whole zip"])
def test_a_file_that_holds_no_weights_is_refused(file: str, tmp_path: Path, content: bytes) -> None:
    weights = tmp_path / "model.pt"
    weights.write_bytes(content)
    with pytest.raises(SourceError, match=r"model\.pt") as caught:
        open_source(f"{file}:build", weights)
    assert "\n" not in caught.value.message


def test_weights_that_are_missing_are_named(file: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.pt"):
        open_source(f"{file}:build", tmp_path / "gone.pt")


@pytest.mark.parametrize("content", [{"other": torch.zeros(2)}, [1, 2], torch.zeros(3)])
def test_weights_of_another_model_are_refused(file: str, tmp_path: Path, content: object) -> None:
    with pytest.raises(SourceError, match=r"tiny\.py:build") as caught:
        open_source(f"{file}:build", _saved(tmp_path, content))
    assert "\n" not in caught.value.message


def test_a_factory_that_needs_weights_says_so(file: str) -> None:
    with pytest.raises(SourceError, match="needs an argument") as caught:
        open_source(f"{file}:from_checkpoint")
    assert "--weights" in caught.value.hint


def test_a_factory_that_raises_is_one_line(file: str) -> None:
    with pytest.raises(SourceError, match="raised ValueError: no such size"):
        open_source(f"{file}:raising")


def test_dropout_left_on_is_refused(file: str, tmp_path: Path) -> None:
    samples = tmp_path / "samples.npz"
    np.savez(samples, x=normal(0, 20, 6))
    request = ExportRequest(f"{file}:Dropping", tmp_path / "m.bundle", samples=samples)
    with pytest.raises(SourceError, match="differs from run to run"):
        export(request)
    assert not (tmp_path / "m.bundle").exists()


def test_the_batch_needs_no_flag(file: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", x=normal(0, 20, 6))
    source: Any = open_source(f"{file}:Dense")
    (spec,) = source.input_specs({"x": normal(0, 20, 6)}, ())
    assert spec.shape == ("batch", 6)
    tokens = np.random.default_rng(0).integers(0, TOKENS, (4, 9))
    state = {"h": normal(1, 2, 4, HIDDEN), "c": normal(2, 2, 4, HIDDEN)}
    specs = open_source(f"{file}:build").input_specs({"tokens": tokens, **state}, ())
    assert [s.shape for s in specs] == [("batch", 9), (2, "batch", 12), (2, "batch", 12)]


def test_the_first_axis_of_a_time_first_module_is_no_batch(file: str) -> None:
    (spec,) = open_source(f"{file}:TimeFirst").input_specs({"x": normal(0, 8, 5, 6)}, ())
    assert spec.shape == (8, 5, 6)


@pytest.mark.parametrize(
    ("save", "message", "hint"),
    [
        (lambda m, f: torch.save(m, f), "pickled module, which would run code", "torch.export"),
        (lambda m, f: torch.jit.script(m).save(f), "TorchScript archive", "--weights"),
        (lambda m, f: torch.save(m.state_dict(), f), "holds weights", "file.py:factory --weights"),
        (lambda m, f: f.write_bytes(b"PK"), "is damaged or a pickled", "--weights"),
        (lambda m, f: None, "is missing", "--weights"),
    ],
)
def test_a_file_of_torchs_is_no_source(tmp_path: Path, save: Any, message: str, hint: str) -> None:
    path = tmp_path / "model.pt"
    save(torch.nn.Linear(2, 2), path)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(str(path))
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint


def _ways(source: Any, samples: dict[str, Any], *axes: str) -> Any:
    """A source's conversions by name, and the interface and example to call them with."""
    specs = source.input_specs(samples, [parse_dynamic(axis) for axis in axes])
    names, outputs = source.run(samples)
    blank = tuple(TensorSpec(n, str(o.dtype), o.shape) for n, o in zip(names, outputs, strict=True))
    interface = Interface(specs, blank, ())
    return {way.name: way for way in source.conversions()}, interface, samples


@pytest.mark.parametrize(
    "layer",
    ["LSTM(6, 5, 2, bidirectional=True)", "LSTM(6, 5, bias=False, batch_first=True)",
     "GRU(6, 5, 2, batch_first=True, bidirectional=True)", "RNN(6, 5, nonlinearity='relu')",
     "RNN(6, 5, 2, batch_first=True)"],
)  # fmt: skip
def test_our_translation_keeps_a_recurrent_layers_length_free(layer: str) -> None:
    torch.manual_seed(0)
    source = TorchSource(eval(f"torch.nn.{layer}"))
    axes = ("input:0=a", "input:1=b")
    ways, interface, example = _ways(source, {"input": normal(0, 4, 9, 6)}, *axes)
    way = ways["torch.onnx.export(dynamo=True, custom_translation_table)"]
    model = graph.conform(way.convert(interface, example, None), interface)
    assert layer[: layer.index("(")] in graph.operators(model)
    run = runner(model, interface)
    for shape in ((4, 9, 6), (1, 1, 6), (3, 12, 6)):
        x = normal(1, *shape)
        for name, expected in zip(*source.run({"input": x}), strict=True):
            np.testing.assert_allclose(run({"input": x})[name], expected, 1e-4, 1e-5)


def test_an_axis_that_no_exporter_can_free_is_named(file: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", x=normal(0, 8, 9, 6))
    axes = ("x:0=batch", "x:1=time")
    request = ExportRequest(
        f"{file}:Branching",
        tmp_path / "m.bundle",
        samples=tmp_path / "samples.npz",
        dynamic=tuple(parse_dynamic(axis) for axis in axes),
    )
    with pytest.raises(ParityError, match="axis 'time' can't move") as caught:
        export(request)
    for path in ("(dynamo=True): it pins 'time'", "(dynamo=False): it pins 'time'"):
        assert path in caught.value.message
    assert caught.value.hint.startswith("leave out --dynamic x:1=time, or")
    assert not (tmp_path / "m.bundle").exists()


def test_a_packed_sequence_whose_last_state_is_used_is_converted(file: str) -> None:
    source = open_source(f"{file}:Packed")
    x, lengths = normal(0, 4, 9, 6), np.array([9, 3, 5, 1])
    axes = ("x:0=batch", "x:1=time", "lengths:0=batch")
    ways, interface, example = _ways(source, {"x": x, "lengths": lengths}, *axes)
    way = ways["torch.onnx.export(dynamo=False)"]
    model = graph.conform(way.convert(interface, example, None), interface)
    run = runner(model, interface)
    for feeds in ({"x": x, "lengths": lengths}, {"x": x[:2, :4], "lengths": np.array([2, 4])}):
        np.testing.assert_allclose(
            run(feeds)["output"], source.run(feeds)[1][0], rtol=1e-4, atol=1e-5
        )


def test_attention_goes_without_its_fast_path(file: str) -> None:
    source = open_source(f"{file}:Encoder")
    ways, interface, example = _ways(source, {"x": normal(0, 3, 7, 8)}, "x:0=batch", "x:1=time")
    model = ways["torch.onnx.export(dynamo=True)"].convert(interface, example, None)
    run = runner(graph.conform(model, interface), interface)
    x = normal(1, 2, 4, 8)
    x[:, 2:, 0] = -9.0  # hidden
    expected = source.run({"x": x})[1][0]
    assert expected[:, 2:].any()
    np.testing.assert_allclose(run({"x": x})["output"], expected, 1e-4, 1e-5)


def test_nested_outputs_are_named_and_none_is_left_out(file: str) -> None:
    names, values = open_source(f"{file}:Nested").run({"x": normal(0, 2, 3)})
    assert names == ("logits", "state", "state_1", "count")
    assert values[3].dtype == np.int64


def test_an_output_that_is_no_tensor_is_named(file: str) -> None:
    with pytest.raises(SourceError, match="output 'size' is a int, not a tensor"):
        open_source(f"{file}:Sized").run({"x": normal(0, 2, 3)})


@pytest.mark.parametrize("arrays", [None, {"tokens": np.zeros((2, 3), np.int64)}])
def test_samples_must_cover_what_forward_takes(file: str, tmp_path: Path, arrays: Any) -> None:
    samples = None if arrays is None else tmp_path / "samples.npz"
    if samples is not None:
        np.savez(samples, **arrays)
    request = ExportRequest(f"{file}:build", tmp_path / "m.bundle", samples=samples)
    with pytest.raises(SamplesError) as caught:
        export(request)
    assert "tokens, h, c" in caught.value.hint


def test_an_argument_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "scaled.py").write_text(
        "import torch\n"
        "class Scaled(torch.nn.Module):\n"
        "    def forward(self, x, scale=2.0):\n"
        "        return {'doubled': x * scale}\n"
    )
    samples = tmp_path / "samples.npz"
    np.savez(samples, x=normal(0, 8, 3))
    bundle = export(
        ExportRequest(
            f"{tmp_path / 'scaled.py'}:Scaled", tmp_path / "m.bundle", samples=samples,
            recipes=("fp32",), simplify=False,
        )
    )  # fmt: skip
    x = normal(1, 8, 3)
    np.testing.assert_allclose(runtime.load(bundle.path).run(x=x)["doubled"], 2 * x, rtol=1e-6)

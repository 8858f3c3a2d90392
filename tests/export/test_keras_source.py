"""Keras models through the whole export. One process imports TensorFlow once."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgedl import runtime
from edgedl.export.errors import ConversionError, SamplesError, SourceError
from edgedl.export.pipeline import export
from edgedl.export.request import ExportRequest
from edgedl.export.sources import open_source
from edgedl.runtime.manifest import Manifest
from tests.export.fake_source import normal

pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

FACTORY = """
import keras

def build():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((6,), name="pixels"), keras.layers.Dense(3, name="scores")], name="tiny"
    )

def build_unfed():
    return keras.Sequential([keras.layers.Dense(3)])

class Sum(keras.Model):
    def call(self, left, right):
        return left + right

def build_subclassed():
    return Sum()

def build_lanczos():
    resized = keras.layers.UpSampling2D(2, interpolation="lanczos3", name="sharper")
    return keras.Sequential([keras.Input((4, 4, 1)), resized])
"""


@pytest.fixture
def factory(tmp_path: Path) -> str:
    (tmp_path / "tiny.py").write_text(FACTORY)
    return f"{tmp_path / 'tiny.py'}:build"


@pytest.fixture(scope="module")
def keras() -> Any:
    from edgedl.export.sources.keras import import_keras

    return import_keras()


@pytest.fixture(scope="module")
def saved(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CNN in a .keras file."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(5, activation="softmax", name="probabilities"),
        ]
    )
    file = tmp_path_factory.mktemp("keras") / "cnn.keras"
    model.save(file)
    return file


def _assert_clean(file: Path) -> None:
    graph = onnx.load(file).graph
    text = str([*graph.input, *graph.output, *graph.value_info])
    assert ":" not in " ".join(v.name for v in (*graph.input, *graph.output))
    assert "unk__" not in text


# Stands first: TensorFlow is talkative when it is imported.
def test_nothing_is_printed(
    factory: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = export(ExportRequest(factory, tmp_path / "m.bundle", recipes=("fp32",)))
    assert capfd.readouterr() == ("", "")
    assert bundle.manifest.provenance["source"]["framework"] == "keras"
    assert {"keras", "tensorflow", "tf2onnx"} <= bundle.manifest.provenance["tools"].keys()
    assert [t.name for t in (*bundle.manifest.inputs, *bundle.manifest.outputs)] == [
        "pixels",
        "scores",
    ]


def test_a_sequential_cnn_in_every_variant(keras: Any, saved: Path, tmp_path: Path) -> None:
    samples = tmp_path / "samples.npz"
    np.savez(samples, image=normal(0, 48, 8, 8, 1))
    request = ExportRequest(str(saved), tmp_path / "m.bundle", samples=samples, max_drop=30.0)
    manifest = export(request).manifest
    assert [str(s) for s in manifest.inputs] == ["image: float32[batch, 8, 8, 1]"]
    assert [str(s) for s in manifest.outputs] == ["probabilities: float32[batch, 5]"]
    assert [v.name for v in manifest.variants] == ["fp32", "int8-dynamic", "int8-static"]
    image = normal(1, 9, 8, 8, 1)
    expected = np.asarray(keras.models.load_model(saved)(image, training=False))
    for variant, atol in (("fp32", 1e-5), ("int8-dynamic", 0.05), ("int8-static", 0.05)):
        _assert_clean(tmp_path / "m.bundle" / f"{variant}.onnx")
        with runtime.load(tmp_path / "m.bundle", variant) as loaded:
            answered = loaded.run(image=image)["probabilities"]
        np.testing.assert_allclose(answered, expected, rtol=0, atol=atol)


def test_a_functional_model_with_two_inputs_and_two_outputs(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = layers.Concatenate()([left, right])
    outputs = [layers.Dense(2, name="first")(joined), layers.Dense(3, name="second")(joined)]
    model = keras.Model([left, right], outputs)
    file = tmp_path / "two.keras"
    model.save(file)
    export(ExportRequest(str(file), tmp_path / "m.bundle", recipes=("fp32",)))
    _assert_clean(tmp_path / "m.bundle" / "fp32.onnx")
    x, y = normal(0, 5, 4), normal(1, 5, 3)
    with runtime.load(tmp_path / "m.bundle") as loaded:
        assert [t.name for t in loaded.inputs] == ["left", "right"]
        answers = loaded.run(left=x, right=y)
    assert list(answers) == ["first", "second"]
    for answer, expected in zip(answers.values(), model([x, y], training=False), strict=True):
        np.testing.assert_allclose(answer, np.asarray(expected), 1e-4, 1e-5)


def _text(whole: bytes) -> bytes:
    return b"not a zip"


def _truncated(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _one_byte(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]


@pytest.mark.parametrize("damage", [_text, _truncated, _one_byte])
def test_a_damaged_file_is_one_line(saved: Path, tmp_path: Path, damage: Any) -> None:
    file = tmp_path / "damaged.keras"
    file.write_bytes(damage(saved.read_bytes()))
    with pytest.raises(SourceError, match=r"damaged\.keras") as caught:
        open_source(str(file))
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_zip_that_is_no_model_is_one_line(keras: Any, tmp_path: Path) -> None:
    file = tmp_path / "other.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(SourceError, match=r"other\.keras can't be loaded") as caught:
        open_source(str(file))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir])
def test_a_file_that_is_missing_is_one_line(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "gone.keras")
    with pytest.raises(SourceError, match=r"gone\.keras is missing"):
        open_source(str(tmp_path / "gone.keras"))


def test_a_model_without_inputs_asks_for_samples(keras: Any, factory: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no inputs yet") as caught:
        export(ExportRequest(f"{factory}_unfed", tmp_path / "m.bundle"))
    assert "--samples" in caught.value.hint
    samples = tmp_path / "samples.npz"
    np.savez(samples, anything=normal(0, 8, 5))
    request = ExportRequest(
        f"{factory}_unfed",
        tmp_path / "m.bundle",
        recipes=("fp32",),
        samples=samples,
        simplify=False,
    )
    assert [str(s) for s in export(request).manifest.inputs] == ["anything: float32[batch, 5]"]


def test_samples_are_named_after_the_arguments_of_call(factory: str, tmp_path: Path) -> None:
    samples = tmp_path / "samples.npz"
    np.savez(samples, left=normal(0, 8, 4), other=normal(1, 8, 4))
    request = ExportRequest(f"{factory}_subclassed", tmp_path / "m.bundle", samples=samples)
    with pytest.raises(SamplesError, match="no array 'right'") as caught:
        export(request)
    assert "left, right" in caught.value.hint


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_custom_layer_without_its_code_is_named(keras: Any, tmp_path: Path, suffix: str) -> None:
    class Doubled(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return 2 * x

    file = tmp_path / f"custom.{suffix}"
    keras.Sequential([keras.Input((3,)), Doubled(name="twice")]).save(file)
    with pytest.raises(SourceError, match=r"custom.*(twice|Doubled).*not Keras' own") as caught:
        open_source(str(file))
    assert "\n" not in caught.value.message
    assert "file.py:factory" in caught.value.hint


def test_an_operator_without_translation_is_blamed_on_its_layer(
    factory: str, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match="layer 'sharper' needs TensorFlow's") as caught:
        export(ExportRequest(f"{factory}_lanczos", tmp_path / "m.bundle"))
    assert "\n" not in caught.value.message
    assert not (tmp_path / "m.bundle").exists()


def _export_entry(name: str, folder: Path) -> Manifest:
    """A model of the matrix, in float."""
    from tests.matrix.keras_models import ENTRIES

    entry = next(e for e in ENTRIES if e.name == f"keras {name}")
    entry.write_samples(folder / "samples.npz")
    if entry.prepare is not None:
        entry.prepare(folder)
    request = ExportRequest(
        entry.source.format(models=folder),
        folder / "m.bundle",
        recipes=("fp32",),
        samples=folder / "samples.npz",
        dynamic=entry.dynamic,
        simplify=False,
    )
    manifest = export(request).manifest
    expected = {name: i.dtype for name, i in entry.inputs.items()}
    assert {s.name: s.dtype for s in manifest.inputs} == expected
    return manifest


# What tf2onnx, or Keras' tracing, gets wrong unless it is helped; and the plain ways to build.
# The export itself compares the result with Keras at every size.
@pytest.mark.parametrize(
    "name",
    ["normalization", "argmax", "grouped", "rescaling", "time distributed", "upsampling",
     "subclassed ranker", "custom layer", "dicts and a nested model", "hdf5 file"],
)  # fmt: skip
def test_models_of_the_matrix(keras: Any, tmp_path: Path, name: str) -> None:
    assert _export_entry(name, tmp_path).golden.cases


@pytest.mark.parametrize(
    ("name", "operator"),
    [("gru", "GRU"), ("gru reset before", "GRU"), ("simple rnn", "RNN"), ("lstm", "LSTM")],
)
def test_a_recurrent_layer_is_one_operator(
    keras: Any, tmp_path: Path, name: str, operator: str
) -> None:
    operators = _export_entry(name, tmp_path).variants[0].operators
    assert operator in operators
    assert "Loop" not in operators

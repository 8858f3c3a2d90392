"""Bad input: one line that names the cause, a hint, exit code 1, and nothing left anywhere."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.cli.conftest import Edgedl, assert_one_error, left_in, listing
from tests.export.fake_source import FEATURES, KERNEL, X, dense_graph, model, normal

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(60)
HALF = 0.5


@pytest.fixture(autouse=True)
def _own_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A factory's directory stays on the path; not past the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@dataclass(frozen=True)
class Case:
    """What is put into a folder, the arguments after `export`, and what is said of it."""

    name: str
    make: Callable[[Path], list[object]]
    message: str
    hint: str | None = ""
    exit_code: int = 1


def check(case: Case, edgedl: Edgedl, folder: Path, temporary: Path) -> None:
    """One line, the right exit code, nothing written."""
    arguments = case.make(folder)
    before = listing(folder)
    result = edgedl("export", *arguments, "-o", folder / "m.bundle")
    assert (result.exit_code, result.stdout) == (case.exit_code, ""), result.stderr
    assert_one_error(result.stderr, case.message, hint=case.hint)
    assert listing(folder) == before
    assert not left_in(temporary)


def parametrised(*cases: Case) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[c.name for c in cases])


def file(name: str, content: bytes) -> Callable[[Path], list[object]]:
    """A source of these bytes."""

    def make(folder: Path) -> list[object]:
        (folder / name).write_bytes(content)
        return [folder / name]

    return make


def saved(graph: onnx.ModelProto, keep: float = 1.0) -> Callable[[Path], list[object]]:
    """An .onnx file, or the first part of one."""
    content = graph.SerializeToString()
    return file("m.onnx", content[: int(len(content) * keep)])


def _nan_kernel() -> onnx.ModelProto:
    kernel = KERNEL.copy()
    kernel[0, 0] = np.nan
    return dense_graph(kernel=kernel)


def _noisy() -> onnx.ModelProto:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    return model(nodes, {"x": X.shape}, {"y": X.shape}, {})


def _unknown_operator() -> onnx.ModelProto:
    graph = dense_graph()
    graph.graph.node[0].op_type = "Frobnicate"
    graph.graph.node[0].name = "encoder/frob"
    return graph


def _no_inputs() -> onnx.ModelProto:
    return model([helper.make_node("Identity", ["k"], ["y"])], {}, {"y": [2]}, {"k": normal(0, 2)})


@parametrised(
    Case("text", file("m.onnx", b"this is no model\n" * 40), "is not an ONNX model"),
    Case("picture", file("m.onnx", PNG), "is not an ONNX model"),
    Case("empty", file("m.onnx", b""), "holds no ONNX graph"),
    Case("zip", file("m.onnx", b"PK\x03\x04" + bytes(99)), "is not an ONNX model"),
    Case("cut off", saved(dense_graph(), HALF), "is not an ONNX model, or is cut off"),
    Case("NaN weights", saved(_nan_kernel()), "weight 'kernel' holds NaN"),
    Case("operator", saved(_unknown_operator()), "Frobnicate", "operators"),
    Case("no inputs", saved(_no_inputs()), "has no inputs"),
    Case("random", saved(_noisy()), "differs from run to run", "dropout"),
    Case("missing", lambda folder: [folder / "m.onnx"], "is missing"),
    Case("directory", lambda folder: [folder], "no SavedModel", None),
    Case("suffix", file("m.tflite", b"TFL3"), "not a source"),
)
def test_onnx_files(case: Case, edgedl: Edgedl, tmp_path: Path, temporary: Path) -> None:
    check(case, edgedl, tmp_path, temporary)


def with_samples(
    write: Callable[[Path], object], option: str = "--samples"
) -> Callable[[Path], list[object]]:
    """A good model, and another file beside it."""

    def make(folder: Path) -> list[object]:
        source = saved(dense_graph())(folder)
        write(folder / "s.npz")
        return [*source, option, folder / "s.npz"]

    return make


def arrays(**given: Any) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **given)


ROWS = normal(0, 40, FEATURES)
HURT_ROWS = ROWS.copy()
HURT_ROWS[3, 3] = np.nan


def _changed(path: Path, change: Callable[[bytes], bytes]) -> None:
    np.savez(path, x=ROWS)
    path.write_bytes(change(path.read_bytes()))


def _flip_middle(content: bytes) -> bytes:
    middle = len(content) // 2
    return (
        content[:middle]
        + bytes(b ^ 0xFF for b in content[middle : middle + 8])
        + content[middle + 8 :]
    )


@parametrised(
    Case("text", with_samples(lambda p: p.write_text("1, 2, 3")), "is not an .npz file"),
    Case("picture", with_samples(lambda p: p.write_bytes(PNG)), "is not an .npz file"),
    Case("cut off", with_samples(lambda p: _changed(p, lambda c: c[: len(c) // 2])), ".npz file"),
    Case("flipped bytes", with_samples(lambda p: _changed(p, _flip_middle)), "not a readable .npz"),
    Case("pickles", with_samples(arrays(x=np.array([{}], object))), "pickled objects"),
    Case("missing", with_samples(lambda p: None), "can't be read", None),
    Case("name", with_samples(arrays(y=ROWS)), "'y' that is no input", "inputs: x"),
    Case("another name", with_samples(arrays(x=ROWS, z=ROWS)), "'z' that is no input", "inputs: x"),
    Case("shape", with_samples(arrays(x=ROWS[:, :3])), "float32[40, 3]", "expected x: float32"),
    Case("axes", with_samples(arrays(x=ROWS[0])), "float32[6]", "expected x: float32"),
    Case("dtype", with_samples(arrays(x=ROWS.astype("f8"))), "float64[40, 6]", "expected x"),
    Case("NaN", with_samples(arrays(x=HURT_ROWS)), "holds NaN", None),
    Case("none", with_samples(arrays(x=ROWS[:0])), "float32[0, 6]", "expected x: float32"),
    Case("no labels", with_samples(arrays(x=ROWS), "--eval"), "no integer array 'labels'"),
    Case("cut off labels", with_samples(lambda p: _changed(p, lambda c: c[:99]), "--eval"), ".npz"),
)  # fmt: skip
def test_samples(case: Case, edgedl: Edgedl, tmp_path: Path, temporary: Path) -> None:
    check(case, edgedl, tmp_path, temporary)


def factory(text: str) -> Callable[[Path], list[object]]:
    """A factory's file."""

    def make(folder: Path) -> list[object]:
        (folder / "made.py").write_text(text)
        return [f"{folder / 'made.py'}:build"]

    return make


def _empty_zip(name: str) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("nothing.txt", "")
        return [folder / name]

    return make


@parametrised(
    Case("picture", file("m.keras", PNG), "is not a Keras archive", "model.save"),
    Case("cut off zip", file("m.keras", b"PK\x03\x04" + bytes(500)), "is not a Keras archive"),
    Case("raises", factory("def build():\n    raise ValueError('no\\nweights')\n"),
         "raised ValueError: no weights", "call it in Python"),
    Case("syntax", factory("def build(:\n"), "raised SyntaxError"),
    Case("import", factory("import no_such_module\n"), "No module named 'no_such_module'"),
    Case("exits", factory("import sys\ndef build():\n    sys.exit(7)\n"), "raised SystemExit"),
    Case("no model", factory("def build():\n    return 5\n"), "returned a int"),
    Case("argument", factory("def build(w):\n    return 5\n"), "needs an argument", "--weights"),
)  # fmt: skip
def test_without_a_framework(case: Case, edgedl: Edgedl, tmp_path: Path, temporary: Path) -> None:
    check(case, edgedl, tmp_path, temporary)


KERAS = """
import keras, numpy as np

def build():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6,), name="x"), keras.layers.Dense(3, name="y")])

def build_nan():
    model = build()
    model.set_weights([np.full((6, 3), np.nan), np.zeros(3)])
    return model

class Restless(keras.layers.Layer):
    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x))

def build_restless():
    return keras.Sequential([keras.Input((6,), name="x"), Restless()])

@keras.saving.register_keras_serializable("bad-input")
class Own(keras.layers.Layer):
    def call(self, x):
        return x * 2

def build_own():
    return keras.Sequential([keras.Input((6,), name="x"), Own(name="mine")])
"""


def _saved_keras(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], list[object]]:
    """A .keras file of one of those models, changed."""

    def make(folder: Path) -> list[object]:
        from edgedl.export.sources import load_factory
        from edgedl.export.sources.keras import import_keras

        import_keras()
        (folder / "kerasmodels.py").write_text(KERAS)
        load_factory(f"{folder / 'kerasmodels.py'}:{name}")().save(folder / "m.keras")
        (folder / "m.keras").write_bytes(change((folder / "m.keras").read_bytes()))
        return [folder / "m.keras"]

    return make


def _keras_factory(name: str) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / "kerasmodels.py").write_text(KERAS)
        return [f"{folder / 'kerasmodels.py'}:{name}", "--no-simplify"]

    return make


@pytest.mark.tensorflow
@parametrised(
    Case("cut off", _saved_keras("build", lambda c: c[: len(c) // 2]), "is not a Keras archive"),
    Case("flipped bytes", _saved_keras("build", _flip_middle), "can't be loaded", None),
    Case("zip of nothing", _empty_zip("m.keras"), "m.keras", None),
    Case("NaN weights", _keras_factory("build_nan"), "holds NaN"),
    Case("restless", _keras_factory("build_restless"), "differs from run to run", "dropout"),
)
def test_keras(case: Case, edgedl: Edgedl, tmp_path: Path, temporary: Path) -> None:
    pytest.importorskip("keras")
    check(case, edgedl, tmp_path, temporary)


TORCH = """
import torch

class Nan(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((6, 3), float("nan")))
    def forward(self, x):
        return x @ self.weight

class Restless(torch.nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)

class Unsupported(torch.nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)

class NoInputs(torch.nn.Module):
    def forward(self, *tensors):
        return tensors[0]

class OnlyTrains(torch.nn.Module):
    def train(self, mode=True):
        raise ValueError("it only trains")
    def forward(self, x):
        return x

class Raises(torch.nn.Module):
    def forward(self, x):
        raise ValueError("first" + chr(10) + "second")
"""


def _torch_factory(name: str) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / "torchmodels.py").write_text(TORCH)
        np.savez(folder / "s.npz", x=ROWS)
        return [f"{folder / 'torchmodels.py'}:{name}", "--samples", folder / "s.npz"]

    return make


def _pickled(folder: Path) -> list[object]:
    import torch

    torch.save(torch.nn.Linear(2, 2), folder / "m.pt")
    return [folder / "m.pt"]


@pytest.mark.torch
@parametrised(
    Case("zip of nothing", _empty_zip("m.pt2"), "m.pt2", None),
    Case("text", file("m.pt2", b"no program"), "m.pt2", None),
    Case("pickled module", _pickled, "m.pt", None),
    Case("NaN weights", _torch_factory("Nan"), "holds NaN"),
    Case("restless", _torch_factory("Restless"), "differs from run to run", "dropout"),
    Case("operator", _torch_factory("Unsupported"), "bessel_j0", None),
    Case("no inputs", _torch_factory("NoInputs"), "forward names no inputs", "def forward"),
    Case("no eval mode", _torch_factory("OnlyTrains"), "raised ValueError: it only trains", None),
    Case("raises", _torch_factory("Raises"), "raised ValueError: first second", None),
)
def test_torch(case: Case, edgedl: Edgedl, tmp_path: Path, temporary: Path) -> None:
    pytest.importorskip("torch")
    check(case, edgedl, tmp_path, temporary)

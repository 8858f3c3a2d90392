"""Exported programs: what they know of themselves, and what a file may not hold."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl import runtime
from edgedl.export.errors import SourceError
from edgedl.export.interface import parse_dynamic
from edgedl.export.pipeline import export
from edgedl.export.request import ExportRequest
from edgedl.export.sources import open_source
from edgedl.export.sources.pt2_expressions import is_plain_guard, is_plain_size
from edgedl.runtime.manifest import TensorSpec
from tests.export.fake_source import normal

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


class Signal(torch.nn.Module):  # type: ignore[misc]
    """A batch of signals, an optional gain, and a dict of answers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv1d(2, 4, 3)

    def forward(self, signal: Any, gain: Any = None) -> Any:
        features = self.convolution(signal).relu()
        return {"peaks": features.amax(-1), "features": features}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time", min=4, max=50)
    exported = torch.export.export(
        Signal().eval(), (torch.zeros(2, 2, 9),), dynamic_shapes={"signal": {0: batch, 2: time}}
    )
    path = tmp_path_factory.mktemp("pt2") / "signal.pt2"
    torch.export.save(exported, path)
    return path


def test_a_program_needs_no_samples_and_no_flags(program: Path, tmp_path: Path) -> None:
    bundle = export(
        ExportRequest(str(program), tmp_path / "m.bundle", recipes=("fp32",), simplify=False)
    )
    manifest = bundle.manifest
    assert manifest.inputs == (TensorSpec("signal", "float32", ("batch", 2, "signal_2")),)
    assert [o.name for o in manifest.outputs] == ["peaks", "features"]
    assert manifest.outputs[0].shape == ("batch", 4)
    path = manifest.provenance["conversion"]["path"]
    assert path == "torch.onnx.export(ExportedProgram)"
    # A length of 1 is under the program's own minimum: it is left out, and said to be.
    refused = manifest.provenance["sizes_refused_by_source"]
    assert [r["sizes"] for r in refused] == [{"signal_2": 1}]
    assert {c.sizes["signal_2"] for c in manifest.golden.cases} >= {7, 9, 18}
    signal = normal(1, 5, 2, 30)
    with torch.inference_mode():
        expected = Signal()(torch.from_numpy(signal))["peaks"].numpy()
    answered = runtime.load(bundle.path).run(signal=signal)["peaks"]
    np.testing.assert_allclose(answered, expected, 1e-4, 1e-5)


def test_a_free_axis_is_renamed_and_a_fixed_one_stays(program: Path) -> None:
    source = open_source(str(program))
    (spec,) = source.input_specs(None, [parse_dynamic("signal:2=time")])
    assert spec.shape == ("batch", 2, "time")
    with pytest.raises(SourceError, match="the program fixes it at 2") as caught:
        source.input_specs(None, [parse_dynamic("signal:1=channels")])
    assert "leave this --dynamic out" in caught.value.hint


def test_the_leading_axis_is_no_batch_where_rows_mix(tmp_path: Path) -> None:
    class Centred(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x - x.mean(0)

    shapes = {"x": {0: torch.export.Dim("rows")}}
    exported = torch.export.export(Centred(), (torch.zeros(4, 3),), dynamic_shapes=shapes)
    torch.export.save(exported, tmp_path / "m.pt2")
    (spec,) = open_source(str(tmp_path / "m.pt2")).input_specs(None, ())
    assert spec.shape == ("x_0", 3)


@pytest.mark.parametrize("length", [0, 10, 2000])
def test_a_cut_or_empty_file_is_one_line(program: Path, tmp_path: Path, length: int) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(program.read_bytes()[:length])
    _refused(path, "not a whole .pt2 archive")


def test_another_zip_is_not_a_program(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", x=np.zeros(2))
    path = (tmp_path / "m.npz").rename(tmp_path / "m.pt2")
    _refused(path, "holds no exported program")


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    _refused(tmp_path / "gone.pt2", "can't be read")


def _refused(path: Path, match: str) -> SourceError:
    with pytest.raises(SourceError, match=match) as caught:
        open_source(str(path))
    assert "\n" not in caught.value.message
    assert caught.value.hint or "read" in match
    return caught.value


def _changed(program: Path, target: Path, change: Callable[[dict[str, bytes]], Any]) -> Path:
    with zipfile.ZipFile(program) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def _model(members: dict[str, bytes]) -> str:
    return next(name for name in members if "/models/" in name)


def _edit(change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def edit(members: dict[str, bytes]) -> None:
        document = json.loads(members[_model(members)])
        change(document)
        members[_model(members)] = json.dumps(document).encode()

    return edit


def _graph(document: Any) -> Any:
    return document["graph_module"]["graph"]


RUNS_CODE = "__import__('os').system('true')"


def _operator(document: Any) -> None:
    _graph(document)["nodes"][0]["target"] = "torch.os.system"


def _writing_operator(document: Any) -> None:
    _graph(document)["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def _size(document: Any) -> None:
    sizes = _graph(document)["tensor_values"]["signal"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = RUNS_CODE


def _guard(document: Any) -> None:
    document["guards_code"] = [RUNS_CODE]


def _name(document: Any) -> None:
    _graph(document)["nodes"][0]["name"] = "x\n    import os"


def _argument_name(document: Any) -> None:
    document["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = ["a=1"]


def _tree(document: Any) -> None:
    signature = document["graph_module"]["module_call_graph"][0]["signature"]
    context = json.dumps([{"__enum__": True, "fqn": "os:x", "name": "y"}])
    tree = {"type": "builtins.dict", "context": context, "children_spec": []}
    signature["out_spec"] = json.dumps([1, tree])


def _pickled_weight(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith("weights_config.json"))
    document = json.loads(members[name])
    next(iter(document["config"].values()))["use_pickle"] = True
    members[name] = json.dumps(document).encode()


def _pickled_example(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith(".pt"))
    buffer = io.BytesIO()
    torch.save((torch.nn.Linear(1, 1),), buffer)
    members[name] = buffer.getvalue()


def _library(members: dict[str, bytes]) -> None:
    root = _model(members).split("/")[0]
    members[f"{root}/data/aotinductor/model/model.so"] = b""


def _twice(members: dict[str, bytes]) -> None:
    members[_model(members).upper()] = b"{}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_edit(_operator), "the operator 'torch.os.system'"),
        (_edit(_writing_operator), "the operator 'torch.ops.aten.from_file"),
        (_edit(_size), 'the size "__import__'),
        (_edit(_guard), 'the guard "__import__'),
        (_edit(_name), "the name 'x"),
        (_edit(_argument_name), "the name 'a=1'"),
        (_edit(_tree), "names a Python class"),
        (_pickled_weight, "pickled tensors"),
        (_pickled_example, "not just tensors"),
        (_library, "aotinductor"),
        (_twice, "two members of one name"),
    ],
)
def test_a_program_that_could_run_code_is_refused(
    program: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], Any], message: str
) -> None:
    error = _refused(_changed(program, tmp_path / "m.pt2", change), message)
    assert "could run code" in error.message


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000])
def test_a_damaged_document_is_one_line(program: Path, tmp_path: Path, content: bytes) -> None:
    def spoil(members: dict[str, bytes]) -> None:
        members[_model(members)] = content

    _refused(_changed(program, tmp_path / "m.pt2", spoil), "is damaged")


def test_a_program_of_another_schema_is_one_line(program: Path, tmp_path: Path) -> None:
    def age(document: Any) -> None:
        document["schema_version"] = {"major": 99, "minor": 0}

    _refused(_changed(program, tmp_path / "m.pt2", _edit(age)), "can't be loaded by torch")


def test_sizes_and_guards_are_arithmetic() -> None:
    assert is_plain_size("Mul(Integer(2), Symbol('s42', positive=True, integer=True))")
    assert is_plain_guard("((-2) + L['x'].size()[2]) != 1")
    for text in (
        RUNS_CODE,
        "Symbol('__import__(1)')",
        "(lambda: 0)()",
        "s1.__class__",
        "[s1]",
        "(",
    ):
        assert not is_plain_size(text)
    for text in (RUNS_CODE, "L['x'].__class__", "exec('1')", "L['x'].size.__self__", "math.os"):
        assert not is_plain_guard(text)

"""SavedModel directories through the whole export, and what isn't one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl import runtime
from edgedl.export.errors import SourceError
from edgedl.export.pipeline import export
from edgedl.export.request import ExportRequest
from edgedl.export.sources import open_source
from tests.export.fake_source import normal

pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def tf() -> Any:
    from edgedl.export.sources.tensorflow import import_tensorflow

    return import_tensorflow()


@pytest.fixture
def doubling(tf: Any) -> Any:
    class Doubling(tf.Module):  # type: ignore[misc, name-defined]
        @tf.function  # type: ignore[untyped-decorator]
        def double(self, x: Any) -> dict[str, Any]:
            return {"twice": 2 * x}

    return Doubling()


def test_what_keras_exports_is_a_source(tf: Any, tmp_path: Path) -> None:
    import keras

    left, right = keras.Input((4,), name="left"), keras.Input((), name="kind", dtype="int64")
    joined = keras.layers.Concatenate()([left, keras.layers.Embedding(2, 3)(right)])
    model = keras.Model([left, right], keras.layers.Dense(3)(joined))
    model.export(tmp_path / "saved", verbose=False)
    export(
        ExportRequest(
            str(tmp_path / "saved"), tmp_path / "m.bundle", recipes=("fp32",), simplify=False
        )
    )
    x, kind = normal(0, 5, 4), np.array([0, 1, 1, 0, 1])
    with runtime.load(tmp_path / "m.bundle") as loaded:
        assert {str(s) for s in loaded.inputs} == {"left: float32[batch, 4]", "kind: int64[batch]"}
        (answer,) = loaded.run(left=x, kind=kind).values()
    np.testing.assert_allclose(answer, np.asarray(model([x, kind], training=False)), 1e-4, 1e-5)


def test_a_signature_of_ones_own_with_two_free_axes(tf: Any, doubling: Any, tmp_path: Path) -> None:
    signature = doubling.double.get_concrete_function(tf.TensorSpec([None, None, 2], name="x"))
    folder = tmp_path / "saved"
    tf.saved_model.save(doubling, str(folder), signatures={"mine": signature})
    request = ExportRequest(str(folder), tmp_path / "m.bundle", recipes=("fp32",), simplify=False)
    manifest = export(request).manifest
    assert [str(s) for s in manifest.inputs] == ["x: float32[batch, x_1, 2]"]
    assert [str(s) for s in manifest.outputs] == ["twice: float32[batch, x_1, 2]"]
    assert manifest.provenance["source"]["framework"] == "tensorflow"


def test_without_signatures_it_is_one_line(tf: Any, doubling: Any, tmp_path: Path) -> None:
    tf.saved_model.save(doubling, str(tmp_path))
    with pytest.raises(SourceError, match="has no signatures") as caught:
        open_source(str(tmp_path))
    assert "model.export" in caught.value.hint


def test_among_several_signatures_none_is_guessed(tf: Any, doubling: Any, tmp_path: Path) -> None:
    signature = doubling.double.get_concrete_function(tf.TensorSpec([None, 2], name="x"))
    tf.saved_model.save(doubling, str(tmp_path), signatures={"a": signature, "b": signature})
    with pytest.raises(SourceError, match="has signatures a, b only"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("content", [None, b"", b"not a SavedModel"])
def test_a_directory_that_is_none_is_one_line(
    tf: Any, tmp_path: Path, content: bytes | None
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if content is not None:
        (folder / "saved_model.pb").write_bytes(content)
    with pytest.raises(SourceError, match="folder") as caught:
        open_source(str(folder))
    assert "\n" not in caught.value.message
    assert caught.value.hint

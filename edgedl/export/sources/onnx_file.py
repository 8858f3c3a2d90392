"""An .onnx file read: external data included, nothing outside its folder touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from edgedl.export.errors import SourceError
from edgedl.export.nodes import graphs, subgraphs
from edgedl.runtime.errors import one_line

# A bundle's variant is one file, and a protobuf message ends here.
LARGEST_BYTES = (1 << 31) - 1


def read_onnx(path: Path) -> ModelProto:
    """The model with its external data, which must lie in the file's own folder.

    Raises:
        SourceError: It is missing, damaged, no ONNX model, too large for one file, or its
            external data is missing or elsewhere.
    """
    if not path.is_file():
        raise SourceError(f"{path} is missing", "give an .onnx file")
    _check_size(path, path.stat().st_size)
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        raise SourceError(
            f"{path} is not an ONNX model, or is cut off", "copy it again, or export it again"
        ) from None
    if not model.ir_version or not model.graph.node:
        raise SourceError(f"{path} holds no ONNX graph", "copy it again, or export it again")
    external = [t for t in _tensors(model) if t.data_location == TensorProto.EXTERNAL]
    if external:
        files = [_external_file(path, tensor) for tensor in external]
        _check_size(path, sum(file.stat().st_size for file in set(files)) + model.ByteSize())
        _load_external(path, model)
    _check_whole(path, model)
    return model


def _check_size(path: Path, size: int) -> None:
    if size > LARGEST_BYTES:
        raise SourceError(
            f"{path} is {size / (1 << 30):.1f} GiB with its data; a variant is a single file "
            "of less than 2 GiB",
            "export a smaller model, or one with float16 weights",
        )


def _external_file(path: Path, tensor: TensorProto) -> Path:
    """The file a tensor's data is in."""
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not file.is_relative_to(folder):
        raise SourceError(
            f"{path}: the data of {tensor.name!r} is at {location!r}, outside the file's folder: "
            "refused",
            "put the data beside the .onnx file, under a relative name",
        )
    if not file.is_file():
        raise SourceError(
            f"{path}: its external data {location!r} is missing", "copy it beside the .onnx file"
        )
    return file


def _load_external(path: Path, model: ModelProto) -> None:
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise SourceError(
            f"{path}: its external data can't be read: {one_line(error)}",
            "copy the .onnx file and its data again",
        ) from error


def _check_whole(path: Path, model: ModelProto) -> None:
    for tensor in _tensors(model):
        try:
            numpy_helper.to_array(tensor)
        except ValueError:
            raise SourceError(
                f"{path}: the data of {tensor.name!r} don't fill its shape {list(tensor.dims)}",
                "copy the .onnx file and its data again, or export it again",
            ) from None


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that is stored in the model."""
    own = [node for function in model.functions for node in function.node]
    parts = [*graphs(model.graph), *(g for node in own for s in subgraphs(node) for g in graphs(s))]
    for part in parts:
        yield from part.initializer
        for sparse in part.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in (*own, *(node for part in parts for node in part.node)):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors

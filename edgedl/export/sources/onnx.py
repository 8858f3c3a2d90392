"""ONNX files, as a source in their own right.

The golden vectors come from the file as it is, run with graph optimisations off. Where
`--dynamic` frees an axis that the file fixes, they come from the file with its inputs'
declared sizes left out and nothing else changed; a freed batch is first compared with the
untouched file, sample by sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper, inliner, version_converter

from edgedl.export import graph
from edgedl.export.axes import taken_sizes
from edgedl.export.engine import open_as_written
from edgedl.export.errors import ConversionError, SourceError
from edgedl.export.interface import DynamicAxis, Interface, with_dynamic
from edgedl.export.nodes import ONNX, copied, opset_version
from edgedl.export.quiet import quiet
from edgedl.export.samples import generate
from edgedl.export.sources import Conversion, describe_arrays
from edgedl.export.sources.onnx_file import read_onnx
from edgedl.export.sources.onnx_names import RawInput, name_specs, unique_names
from edgedl.runtime.engine import ENGINE_ERRORS
from edgedl.runtime.errors import one_line
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec, dynamic_axes
from edgedl.runtime.quality import BATCH
from edgedl.runtime.resize import resize_axes

# Per-channel DequantizeLinear came with opset 13: the quantisers need it.
LEAST_OPSET = 13
OLDEST_IR_THAT_CONVERTS = 8
FREED_BATCH = 3
# Two runs of one operator at another batch size may add up in another order.
PIECES_RTOL, PIECES_ATOL = 1e-4, 1e-5

NUMPY_DTYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
    "tensor(int8)": "int8", "tensor(int16)": "int16", "tensor(int32)": "int32",
    "tensor(int64)": "int64", "tensor(uint8)": "uint8", "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32", "tensor(uint64)": "uint64", "tensor(bool)": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class ZipMap:
    """An output that is a list of maps from class to score: the scores and their order."""

    scores: str
    classes: tuple[int | str, ...]

    def array(self, rows: Sequence[dict[int | str, float]]) -> Array:
        """The maps as scores, (samples, classes)."""
        return np.array([[row[c] for c in self.classes] for row in rows], np.float32)


def open_onnx(path: Path) -> OnnxSource:
    """Read an `.onnx` file and load it in ONNX Runtime.

    Raises:
        SourceError: It can't be read, onnxruntime can't load it, or its inputs or outputs
            are no arrays of numbers.
    """
    model = read_onnx(path)
    bad = graph.has_bad_weights(model)
    if bad:
        raise SourceError(
            f"{path}: weight {bad!r} holds NaN", "train the model again, or export it again"
        )
    return OnnxSource(path, model)


class OnnxSource:
    """A model in an .onnx file."""

    framework = "onnx"
    distributions: tuple[str, ...] = ("onnx", "onnxruntime")

    def __init__(self, path: Path, model: ModelProto) -> None:
        self.path = path
        self.model = model
        self._session = _open_plain(str(path), path)
        self._inputs = _raw_inputs(self._session, model, path)
        outputs = [o.name for o in self._session.get_outputs()]
        self._zip_maps = _zip_maps(model)
        _check_outputs(self._session, self._zip_maps, path)
        names = unique_names([*(i.name for i in self._inputs), *outputs])
        self._names, self._outputs = names[: len(self._inputs)], names[len(self._inputs) :]

    def input_specs(
        self, samples: Arrays | None, dynamic: Sequence[DynamicAxis]
    ) -> tuple[TensorSpec, ...]:
        """The file's inputs; axes that it fixes are dynamic where asked for.

        An axis that the file calls dynamic, but whose every other size it refuses, is fixed.

        Raises:
            SourceError: There is no such axis, or a freed batch mixes its samples.
        """
        own = name_specs(self._inputs, self._names)
        specs = with_dynamic(own, dynamic)
        freed = any(
            dim == BATCH and isinstance(before.shape[axis], int)
            for spec, before in zip(specs, own, strict=True)
            for axis, dim in enumerate(spec.shape)
        )
        usable = {s.name: a for s in specs if (a := (samples or {}).get(s.name)) is not None
                  and a.size and a.ndim == len(s.shape) and a.dtype == s.dtype}  # fmt: skip
        if freed:
            self._check_batch(specs, own, usable)
        return self._fix(specs, {a.name for a in dynamic}, usable)

    def _fix(
        self, specs: tuple[TensorSpec, ...], asked: set[str], arrays: Arrays
    ) -> tuple[TensorSpec, ...]:
        """Fix the axes that can't move; samples that don't fit are refused later."""
        if len(arrays) < len(specs):
            return specs
        if not self._takes(resize_axes(arrays, specs, {BATCH: 1})):
            return specs
        for axis in {*dynamic_axes(specs)} - asked:
            sizes = taken_sizes(axis, arrays, specs, self._takes)
            if len(sizes) == 1:  # never so of a batch of several samples: one alone is taken
                specs = tuple(_with_size(spec, axis, sizes[0]) for spec in specs)
        return specs

    def _takes(self, feeds: Arrays) -> bool:
        try:
            return any(output.size for output in self.run(feeds)[1])
        except SourceError:
            return False

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """The file's own outputs."""
        fits = all(
            all(not isinstance(d, int) or d == s for d, s in zip(i.shape, a.shape, strict=True))
            for i, a in ((i, feeds[name]) for i, name in self._by_name)
        )
        session = self._session if fits else self._freed
        raw = {i.name: np.asarray(feeds[name], order="C") for i, name in self._by_name}
        try:
            with quiet():
                values = session.run(None, raw)
        except ENGINE_ERRORS as error:
            raise SourceError(
                f"{self.path}, run on {describe_arrays(feeds)}, failed: {one_line(error)}",
                "check the samples; --dynamic names axes that must be of one size alike",
            ) from error
        found = [o.name for o in self._session.get_outputs()]
        return self._outputs, tuple(
            self._zip_maps[name].array(value) if name in self._zip_maps else np.asarray(value)
            for name, value in zip(found, values, strict=True)
        )

    def conversions(self) -> tuple[Conversion, ...]:
        """The file as it is, and its operators in another version."""
        own = self._opset
        as_is = Conversion("the file as it is", f"it has opset {own}", self._as_it_is)
        converted = Conversion(
            "onnx.version_converter",
            f"quantised operators need opset {LEAST_OPSET}; the file has {own}"
            if own < LEAST_OPSET
            else f"another opset than the file's {own} was asked for",
            self._converted,
        )
        return (converted, as_is) if own < LEAST_OPSET else (as_is, converted)

    @property
    def _by_name(self) -> list[tuple[RawInput, str]]:
        return list(zip(self._inputs, self._names, strict=True))

    @cached_property
    def _opset(self) -> int:
        return opset_version(self._plain())

    @cached_property
    def _freed(self) -> Any:
        """The file with no size declared at its inputs."""
        freed = copied(self.model)
        for value in freed.graph.input:
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()
        del freed.graph.value_info[:]
        for value in freed.graph.output:
            value.type.tensor_type.ClearField("shape")
        return _open_plain(freed.SerializeToString(), self.path)

    def _check_batch(
        self, specs: Sequence[TensorSpec], own: Sequence[TensorSpec], samples: Arrays
    ) -> None:
        """Hold a freed batch to the untouched file, which runs the samples one by one."""
        arrays = {**generate(specs), **samples}
        batched = {
            (s.name, axis, before.shape[axis])
            for s, before in zip(specs, own, strict=True)
            for axis, dim in enumerate(s.shape)
            if dim == BATCH
        }
        sizes = {size for _, _, size in batched if isinstance(size, int)}
        if sizes != {1}:
            raise SourceError(
                f"{self.path} has a batch of {max(sizes)} built in: it can't be freed",
                "export the model with a batch of 1, or with a dynamic one",
            )
        whole = resize_axes(arrays, specs, {BATCH: FREED_BATCH})
        together = self.run(whole)
        alone = [
            self.run(
                {
                    s.name: np.take(whole[s.name], [i], s.shape.index(BATCH))
                    if BATCH in s.shape
                    else whole[s.name]
                    for s in specs
                }
            )[1]
            for i in range(FREED_BATCH)
        ]
        for name, value, *parts in zip(*together, *alone, strict=True):
            if not _is_stacked(value, parts):
                raise SourceError(
                    f"output {name!r} of {self.path} mixes the samples of a batch larger than "
                    "the 1 it was exported with",
                    "leave its batch as it is, or export it with a dynamic one",
                )

    def _as_it_is(self, interface: Interface, example: Arrays, opset: int | None) -> ModelProto:
        del interface, example
        if opset not in (None, self._opset):
            raise ConversionError(f"its opset is {self._opset}, not {opset}")
        return self._plain()

    def _converted(self, interface: Interface, example: Arrays, opset: int | None) -> ModelProto:
        del interface, example
        target = opset or LEAST_OPSET
        if opset is None and self._opset >= LEAST_OPSET:
            raise ConversionError("no other opset was asked for")
        if target == self._opset:
            raise ConversionError(f"its opset is {target} already")
        plain = self._plain()
        plain.ir_version = max(plain.ir_version, OLDEST_IR_THAT_CONVERTS)
        try:
            with quiet():
                return version_converter.convert_version(plain, target)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ConversionError(
                f"from opset {self._opset} to {target}: {one_line(error)}"
            ) from error

    def _plain(self) -> ModelProto:
        """A copy without functions, maps, and inputs that have a constant value."""
        functions = self.model.functions
        plain = inliner.inline_local_functions(self.model) if functions else copied(self.model)
        for output in plain.graph.output:
            if output.name in self._zip_maps:
                scores = self._zip_maps[output.name].scores
                output.CopyFrom(helper.make_tensor_value_info(scores, onnx.TensorProto.FLOAT, None))
        kept = [node for node in plain.graph.node if not _is_zip_map(node)]
        if len(kept) < len(plain.graph.node):
            del plain.graph.node[:]
            plain.graph.node.extend(kept)
        constants = {i.name for i in plain.graph.initializer}
        inputs = [v for v in plain.graph.input if v.name not in constants]
        del plain.graph.input[:]
        plain.graph.input.extend(inputs)
        if all(o.domain not in ONNX for o in plain.opset_import):
            plain.opset_import.append(helper.make_opsetid("", LEAST_OPSET))
        return plain


def _with_size(spec: TensorSpec, axis: str, size: int) -> TensorSpec:
    shape = tuple(size if dim == axis else dim for dim in spec.shape)
    return TensorSpec(spec.name, spec.dtype, shape)


def _is_stacked(whole: Array, parts: Sequence[Array]) -> bool:
    """Whether an output for a batch is the samples' own outputs, laid along some axis."""
    for axis in range(whole.ndim):
        if parts[0].ndim == whole.ndim and parts[0].shape[axis] == 1:
            stacked = np.concatenate(parts, axis)
            if stacked.shape == whole.shape and np.allclose(
                whole, stacked, PIECES_RTOL, PIECES_ATOL, equal_nan=True
            ):
                return True
    return False


def _open_plain(model: str | bytes, path: Path) -> Any:
    """A session that runs the model node by node, as it is written."""
    try:
        with quiet():
            return open_as_written(model)
    except ENGINE_ERRORS as error:
        raise SourceError(
            f"onnxruntime {onnxruntime.__version__} can't load {path}: {one_line(error)}",
            "a bundle runs in onnxruntime: export the model with operators that it has",
        ) from error


def _raw_inputs(session: Any, model: ModelProto, path: Path) -> tuple[RawInput, ...]:
    """The inputs that have no constant value."""
    constants = {i.name for i in model.graph.initializer}
    inputs = []
    for value in session.get_inputs():
        if value.type not in NUMPY_DTYPES:
            raise SourceError(
                f"{path}: input {value.name!r} is {value.type}, no array of numbers",
                "move what makes numbers of it out of the model",
            )
        if value.name not in constants:
            shape = tuple(d if not isinstance(d, int) or d >= 0 else None for d in value.shape)
            inputs.append(RawInput(value.name, NUMPY_DTYPES[value.type], shape))
    if not inputs:
        raise SourceError(f"{path} has no inputs", "a model answers to something")
    return tuple(inputs)


def _is_zip_map(node: NodeProto) -> bool:
    return bool(node.op_type == "ZipMap" and node.domain == "ai.onnx.ml")


def _zip_maps(model: ModelProto) -> dict[str, ZipMap]:
    """The outputs that scikit-learn's converter makes maps of."""
    found = {}
    for node in model.graph.node:
        if _is_zip_map(node):
            classes = tuple(
                c.decode() if isinstance(c, bytes) else c
                for held in node.attribute
                for c in helper.get_attribute_value(held)
            )
            found[node.output[0]] = ZipMap(node.input[0], classes)
    return found


def _check_outputs(session: Any, zip_maps: dict[str, ZipMap], path: Path) -> None:
    for value in session.get_outputs():
        if value.type not in NUMPY_DTYPES and value.name not in zip_maps:
            raise SourceError(
                f"{path}: output {value.name!r} is {value.type}, no array of numbers",
                "keep the others: onnx.utils.extract_model(FILE, NEW, inputs, outputs)",
            )

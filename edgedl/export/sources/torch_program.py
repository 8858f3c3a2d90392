"""Exported PyTorch programs (`.pt2`): they know their inputs, and which axes are dynamic."""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedl.export.errors import SourceError
from edgedl.export.interface import DynamicAxis, Interface, with_dynamic
from edgedl.export.quiet import quiet
from edgedl.export.samples import generate
from edgedl.export.sources import Conversion
from edgedl.export.sources.batch import is_batch
from edgedl.export.sources.pt2_check import SAVE_AGAIN, check_pt2
from edgedl.export.sources.torch_onnx import ModuleExport, dynamo_options, export_onnx
from edgedl.export.sources.torch_recurrent import translations
from edgedl.export.sources.torch_run import Called, import_torch
from edgedl.runtime.errors import one_line
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec
from edgedl.runtime.quality import BATCH

if TYPE_CHECKING:
    import onnx


def open_program(path: Path) -> ProgramSource:
    """Load a program that `torch.export.save` wrote.

    Raises:
        SourceError: It can't be read, isn't a program, or could run code: see
            `edgedl.export.sources.pt2_check`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror or error}") from None
    torch = import_torch()
    check_pt2(content, path)
    try:
        with quiet():
            program = torch.export.load(io.BytesIO(content))
    except Exception as error:
        raise SourceError(
            f"{path} can't be loaded by torch {torch.__version__}: {one_line(error)}",
            "programs go with the torch that saved them; save it again with this one",
        ) from error
    return ProgramSource(program, path)


class ProgramSource:
    """A torch.export.ExportedProgram.

    Inputs are called after the program's own; an axis that the program leaves free is
    dynamic without asking. It is the batch where it leads the first input and the program's
    own outputs prove to be row by row on it; others are called `INPUT_AXIS`.
    """

    framework = "torch"
    distributions: tuple[str, ...] = ("torch", "onnxscript")

    def __init__(self, program: Any, path: Path) -> None:
        self._program = program
        self._inputs = _user_inputs(program, path)
        self._called = Called(_module(program), tuple(self._inputs), self._call)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Each free axis at the size it was exported with."""
        return {
            axis: size
            for spec in self._specs
            for axis, size in zip(spec.shape, self._exported_sizes(spec.name), strict=True)
            if isinstance(axis, str)
        }

    @functools.cached_property
    def _specs(self) -> tuple[TensorSpec, ...]:
        """The inputs with the batch found."""
        plain = tuple(_named_specs(self._inputs, {}))
        axis = plain[0].shape[0] if plain[0].shape else 0
        if not isinstance(axis, str):
            return plain
        sizes = {
            name: size
            for spec in plain
            for name, size in zip(spec.shape, self._exported_sizes(spec.name), strict=True)
            if isinstance(name, str)
        }
        example = generate(plain, sizes)
        if not is_batch(lambda feeds: self.run(feeds)[1], plain, axis, example):
            return plain
        first = next(iter(self._inputs.values())).shape[0]
        return tuple(_named_specs(self._inputs, {str(first): BATCH}))

    def _exported_sizes(self, name: str) -> tuple[int, ...]:
        shape = self._inputs[name].shape
        return tuple(d if isinstance(d, int) else int(d.node.hint) for d in shape)

    def input_specs(
        self, samples: Arrays | None, dynamic: Sequence[DynamicAxis]
    ) -> tuple[TensorSpec, ...]:
        """The program's own inputs; `dynamic` renames an axis that it leaves free.

        Raises:
            SourceError: `dynamic` names an axis that the program fixes.
        """
        del samples
        specs = self._specs
        renamed: dict[int | str, str] = {}
        for axis in dynamic:
            with_dynamic(specs, [axis])  # there is such an input and axis
            old = next(s for s in specs if s.name == axis.input).shape[axis.axis]
            if isinstance(old, int):
                option = f"--dynamic {axis.input}:{axis.axis}={axis.name}"
                raise SourceError(
                    f"{option}: the program fixes it at {old}",
                    "export it with dynamic_shapes, or leave this --dynamic out",
                )
            renamed[old] = axis.name
        return tuple(
            TensorSpec(s.name, s.dtype, tuple(renamed.get(d, d) for d in s.shape)) for s in specs
        )

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """The program's own outputs."""
        return self._called.run(feeds)

    def conversions(self) -> tuple[Conversion, ...]:
        """The program itself, then its module by the other paths."""
        direct = Conversion(
            "torch.onnx.export(ExportedProgram)",
            "the program as it was saved; recurrent layers translated by edgedl",
            self._direct,
        )
        return (direct, *ModuleExport(self._called, recurrent=False).conversions())

    def _direct(self, interface: Interface, example: Arrays, opset: int | None) -> onnx.ModelProto:
        del interface, example
        table = {"custom_translation_table": translations()}
        return export_onnx(self._program, (), {**dynamo_options(opset), **table})

    def _call(self, module: Any, tensors: Sequence[Any]) -> Any:
        torch = import_torch()
        given = iter(tensors)
        leaves = [
            next(given) if arg.name in self._inputs else arg.value
            for arg in _user_arguments(self._program)
        ]
        args, kwargs = torch.utils._pytree.tree_unflatten(leaves, self._program.call_spec.in_spec)
        return module(*args, **kwargs)


def _named_specs(inputs: Mapping[str, Any], known: Mapping[str, str]) -> Iterator[TensorSpec]:
    """The inputs' specs; a symbolic size is called as `known` says, else after its place."""
    names = dict(known)
    for name, tensor in inputs.items():
        shape = tuple(
            d if isinstance(d, int) else names.setdefault(str(d), f"{name}_{axis}")
            for axis, d in enumerate(tensor.shape)
        )
        yield TensorSpec(name, str(tensor.dtype).removeprefix("torch."), shape)


def _module(program: Any) -> Any:
    """The program as a module that says in a line which size it can't run."""
    unchecked = "check_guards" in inspect.signature(program.module).parameters
    return program.module(check_guards=False) if unchecked else program.module()


def _user_arguments(program: Any) -> list[Any]:
    """The arguments of the call, laid flat: tensors, and constants with their values."""
    torch = import_torch()
    kind = torch.export.graph_signature.InputKind.USER_INPUT
    return [spec.arg for spec in program.graph_signature.input_specs if spec.kind == kind]


def _user_inputs(program: Any, path: Path) -> dict[str, Any]:
    """The tensors among the arguments, by name; fake ones, that know dtype and shape."""
    values = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    torch = import_torch()
    found = {}
    for argument in _user_arguments(program):
        value = values.get(argument.name)
        if isinstance(value, torch.Tensor):
            if value.dtype == torch.bfloat16 or value.is_complex():
                raise SourceError(f"{path}: input {argument.name!r} is {value.dtype}", SAVE_AGAIN)
            found[argument.name] = value
        elif not hasattr(argument, "value"):
            raise SourceError(f"{path}: input {argument.name!r} is no tensor", SAVE_AGAIN)
    if not found:
        raise SourceError(f"{path}: the program has no tensor inputs", SAVE_AGAIN)
    return found

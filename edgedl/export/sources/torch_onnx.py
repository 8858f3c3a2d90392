"""Ways from a torch module to ONNX, each through torch.onnx.export."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedl.export.errors import BakedAxisError, ConversionError
from edgedl.export.interface import Interface
from edgedl.export.quiet import quiet
from edgedl.export.request import DEFAULT_OPSET
from edgedl.export.sources import Conversion
from edgedl.export.sources.torch_layers import refused_layer
from edgedl.export.sources.torch_recurrent import (
    padded_again,
    recurrent_as_one,
    translations,
)
from edgedl.export.sources.torch_run import Called, import_torch, slow_attention
from edgedl.runtime.errors import one_line
from edgedl.runtime.golden import Arrays

if TYPE_CHECKING:
    import onnx

DYNAMO_LEAST_OPSET = 18
# torch.export's own words for an axis that the traced code pins to the example's size.
BAKED = re.compile(r"marked (\w+) as dynamic but your code specialized it to be a constant")
ANSI = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True)
class ModuleExport:
    """A module's ways to ONNX."""

    called: Called
    recurrent: bool

    def conversions(self) -> tuple[Conversion, ...]:
        """The most promising first; a module with a recurrent layer has one way more."""
        dynamo = Conversion(
            "torch.onnx.export(dynamo=True)", "torch's current exporter", self._dynamo
        )
        script = Conversion(
            "torch.onnx.export(dynamo=False)",
            "the TorchScript exporter maps a recurrent layer to one ONNX operator with a free "
            "sequence length; torch.export declares the example's length in its result",
            self._torchscript,
        )
        own = Conversion(
            "torch.onnx.export(dynamo=True, custom_translation_table)",
            "torch's current exporter, with recurrent layers kept whole and translated by edgedl: "
            "by itself it unrolls nn.RNN at the example's length",
            self._translated,
        )
        if is_scripted(self.called.module):
            return (script,)
        return (script, own, dynamo) if self.recurrent else (dynamo, script)

    def _dynamo(
        self,
        interface: Interface,
        example: Arrays,
        opset: int | None,
        table: dict[Any, Any] | None = None,
    ) -> onnx.ModelProto:
        told = dynamo_options(opset)
        torch = import_torch()
        dims = {axis: torch.export.Dim(axis) for axis in interface.axes}
        shapes = tuple(
            {i: dims[d] for i, d in enumerate(s.shape) if isinstance(d, str)}
            for s in interface.inputs
        )
        options = {"dynamic_shapes": (shapes,), "custom_translation_table": table}
        return self._export(interface, example, {**told, **options}, self.called.flat())

    def _translated(
        self, interface: Interface, example: Arrays, opset: int | None
    ) -> onnx.ModelProto:
        with recurrent_as_one():
            return self._dynamo(interface, example, opset, translations())

    def _torchscript(
        self, interface: Interface, example: Arrays, opset: int | None
    ) -> onnx.ModelProto:
        axes = {
            s.name: {i: d for i, d in enumerate(s.shape) if isinstance(d, str)}
            for s in interface.inputs
        }
        options = {
            "dynamo": False,
            "opset_version": opset or DEFAULT_OPSET,
            "dynamic_axes": axes,
        }
        if is_scripted(self.called.module):
            return self._export(interface, example, options, self.called.module)
        model = self._export(interface, example, options, self.called.flat(padded_again))
        del model.graph.output[len(interface.outputs) :]
        return model

    def _export(
        self, interface: Interface, example: Arrays, options: dict[str, Any], module: Any
    ) -> onnx.ModelProto:
        torch = import_torch()
        inputs = tuple(torch.from_numpy(example[s.name].copy()) for s in interface.inputs)
        names = {
            "input_names": [s.name for s in interface.inputs],
            "output_names": [s.name for s in interface.outputs],
        }
        try:
            return export_onnx(module, inputs, {**names, **options})
        except ConversionError as error:
            layer = refused_layer(self.called, example, error.message)
            if not layer:
                raise
            raise ConversionError(f"layer {layer!r}: {error.message}", error.hint) from error


def is_scripted(module: Any) -> bool:
    """Whether a module is TorchScript itself: it has no Python left to trace."""
    return isinstance(module, import_torch().jit.ScriptModule)


def dynamo_options(opset: int | None) -> dict[str, Any]:
    """What torch's current exporter is told.

    Raises:
        ConversionError: It doesn't write that opset.
    """
    if opset is not None and opset < DYNAMO_LEAST_OPSET:
        raise ConversionError(f"it writes opset {DYNAMO_LEAST_OPSET} or later, not {opset}")
    return {
        "dynamo": True,
        "opset_version": opset or DYNAMO_LEAST_OPSET,
        "external_data": False,
        "verbose": False,
    }


def export_onnx(model: Any, inputs: Any, options: dict[str, Any]) -> onnx.ModelProto:
    """torch.onnx.export of a module on inputs, or of an exported program.

    Raises:
        ConversionError: What it raised, in one line.
    """
    import onnx

    torch = import_torch()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        with quiet(), torch.no_grad(), slow_attention(torch), _as_conversion_error(torch):
            torch.onnx.export(model, inputs, str(file), **options)
        return onnx.load_model(io.BytesIO(file.read_bytes()))


@contextmanager
def _as_conversion_error(torch: Any) -> Iterator[None]:
    try:
        yield
    except (
        torch.onnx.errors.OnnxExporterError,
        torch.jit.Error,
        RuntimeError,
        ValueError,
        TypeError,
        NotImplementedError,
        ImportError,
        AttributeError,
        LookupError,
        AssertionError,
    ) as error:
        baked = BAKED.findall(str(error))
        if baked:
            raise BakedAxisError(tuple(dict.fromkeys(baked)), "torch.export says so") from error
        raise ConversionError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """What went wrong underneath: the exporter's own message is advice, in colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(Exception(ANSI.sub("", str(error) or type(error).__name__)))

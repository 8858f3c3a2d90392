"""PyTorch modules, through torch.onnx.

Inputs are called after `forward`'s arguments. Outputs are called after the fields of a
NamedTuple, the keys of a dict, or `output`, `output_1`, ... for plain tensors.
"""

from __future__ import annotations

import inspect
import io
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedl.export.errors import ConversionError, SamplesError, SourceError
from edgedl.export.interface import DynamicAxis, Interface, with_dynamic
from edgedl.export.quiet import quiet
from edgedl.export.request import DEFAULT_OPSET
from edgedl.export.sources import Conversion, call_factory, describe_arrays, required_parameters
from edgedl.runtime.errors import MissingExtraError, one_line
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec

if TYPE_CHECKING:
    import onnx

DYNAMO_LEAST_OPSET = 18
SMALL_INPUT = 4096  # elements


def build_torch(factory: Callable[..., Any], source: str, weights: Path) -> TorchSource:
    """Call a factory, with its weights.

    A factory with a required parameter is called with the loaded file (a dict of
    tensors and plain values); one without gets the file as its module's state dict.

    Raises:
        SourceError: The weights can't be loaded safely, or don't fit.
    """
    torch = import_torch()
    loaded = _load_weights(torch, weights)
    takes_weights = bool(required_parameters(factory))
    module = call_factory(factory, source, *([loaded] if takes_weights else []))
    if not isinstance(module, torch.nn.Module):
        raise SourceError(
            f"{source} returned a {type(module).__name__}, not an nn.Module",
            "--weights goes with a factory of a torch module",
        )
    if not takes_weights:
        call_factory(lambda: module.load_state_dict(loaded), f"{source}: {weights}")
    return TorchSource(module)


def import_torch() -> Any:
    """torch, or an error that names the extra."""
    try:
        with quiet():
            import torch
    except ImportError as error:
        raise MissingExtraError(f"torch ({error})", "torch") from error
    return torch


def _load_weights(torch: Any, weights: Path) -> Any:
    try:
        return torch.load(weights, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SourceError(f"{weights} can't be read: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{weights} is damaged or holds code, not just weights: refused",
            "save a state dict: torch.save(model.state_dict(), FILE)",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = one_line(error)
        raise SourceError(f"{weights} is not a file of torch weights: {reason}") from error


class TorchSource:
    """An nn.Module in eval mode."""

    framework = "torch"
    distributions: tuple[str, ...] = ("torch", "onnxscript")

    def __init__(self, module: Any) -> None:
        self.module = module.eval()
        signature = inspect.signature(self.module.forward)
        self._arguments = [
            name
            for name, p in signature.parameters.items()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]

    def input_specs(
        self, samples: Arrays | None, dynamic: Sequence[DynamicAxis]
    ) -> tuple[TensorSpec, ...]:
        """The samples' dtypes and shapes; axes are dynamic where asked for."""
        if samples is None:
            raise SamplesError(
                "a torch module doesn't say what its inputs look like",
                f"give --samples FILE.npz with arrays {', '.join(self._arguments)}",
            )
        missing = [
            name
            for name, p in inspect.signature(self.module.forward).parameters.items()
            if name in self._arguments and p.default is p.empty and name not in samples
        ]
        if missing:
            raise SamplesError(
                f"the samples have no array {missing[0]!r} (they have {', '.join(samples)})",
                f"forward takes: {', '.join(self._arguments)}",
            )
        names = [name for name in self._arguments if name in samples]
        specs = [TensorSpec(n, str(samples[n].dtype), samples[n].shape) for n in names]
        return with_dynamic(specs, dynamic)

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """The module's own outputs, without gradients."""
        torch = import_torch()

        def forward() -> tuple[tuple[str, ...], tuple[Array, ...]]:
            inputs = {name: torch.from_numpy(array.copy()) for name, array in feeds.items()}
            names, tensors = _named(self.module(**inputs))
            return names, tuple(t.detach().numpy() for t in tensors)

        with _threads_for(torch, feeds), torch.inference_mode():
            answer: tuple[tuple[str, ...], tuple[Array, ...]] = call_factory(
                forward, f"the module, run on {describe_arrays(feeds)},"
            )
        return answer

    def conversions(self) -> tuple[Conversion, ...]:
        """The exporter on torch.export, and the older one on TorchScript."""
        dynamo = Conversion(
            "torch.onnx.export(dynamo=True)", "torch's current exporter", self._dynamo
        )
        script = Conversion(
            "torch.onnx.export(dynamo=False)",
            "the TorchScript exporter maps a recurrent layer to one ONNX operator with a free "
            "sequence length; torch.export declares the example's length in its result",
            self._torchscript,
        )
        return (script, dynamo) if self._is_recurrent() else (dynamo, script)

    def _is_recurrent(self) -> bool:
        torch = import_torch()
        return any(isinstance(m, torch.nn.RNNBase) for m in self.module.modules())

    def _dynamo(self, interface: Interface, example: Arrays, opset: int | None) -> onnx.ModelProto:
        if opset is not None and opset < DYNAMO_LEAST_OPSET:
            raise ConversionError(f"it writes opset {DYNAMO_LEAST_OPSET} or later, not {opset}")
        torch = import_torch()
        dims = {axis: torch.export.Dim(axis) for axis in interface.axes}
        shapes = tuple(
            {i: dims[d] for i, d in enumerate(s.shape) if isinstance(d, str)}
            for s in interface.inputs
        )
        options = {
            "dynamo": True,
            "opset_version": opset or DYNAMO_LEAST_OPSET,
            "dynamic_shapes": (shapes,),
            "external_data": False,
            "verbose": False,
        }
        return self._export(interface, example, options)

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
        return self._export(interface, example, options)

    def _export(
        self, interface: Interface, example: Arrays, options: dict[str, Any]
    ) -> onnx.ModelProto:
        import onnx

        torch = import_torch()
        inputs = tuple(torch.from_numpy(example[s.name].copy()) for s in interface.inputs)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "model.onnx"
            try:
                with quiet(), torch.no_grad():
                    torch.onnx.export(
                        _flat_module(torch, self.module, [s.name for s in interface.inputs]),
                        inputs,
                        str(file),
                        input_names=[s.name for s in interface.inputs],
                        output_names=[s.name for s in interface.outputs],
                        **options,
                    )
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
                raise ConversionError(one_line(error)) from error
            return onnx.load_model(io.BytesIO(file.read_bytes()))


@contextmanager
def _threads_for(torch: Any, feeds: Arrays) -> Iterator[None]:
    """One thread for small inputs: on a busy machine a second one costs 20 times more than
    it gains, since each operator waits for both.
    """
    if sum(array.size for array in feeds.values()) > SMALL_INPUT:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _flat_module(torch: Any, module: Any, names: list[str]) -> Any:
    """The module with positional inputs and a plain tuple of outputs."""

    class Flat(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            named = dict(zip(names, inputs, strict=True))
            return _named(self.module(**named))[1]

    return Flat().eval()


def _named(outputs: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Output names and tensors, nested tuples laid flat."""
    if isinstance(outputs, dict):
        return tuple(outputs), tuple(outputs.values())
    if hasattr(outputs, "_fields"):
        return tuple(outputs._fields), tuple(outputs)
    flat = _flatten(outputs)
    return tuple("output" if i == 0 else f"output_{i}" for i in range(len(flat))), tuple(flat)


def _flatten(outputs: Any) -> list[Any]:
    if isinstance(outputs, list | tuple):
        return [tensor for output in outputs for tensor in _flatten(output)]
    return [outputs]

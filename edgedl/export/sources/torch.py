"""PyTorch modules, through torch.onnx.

Inputs are called after `forward`'s arguments. Outputs are called after the fields of a
NamedTuple, the keys of a dict, or `output`, `output_1`, ... for plain tensors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgedl.export.errors import SamplesError, SourceError
from edgedl.export.interface import DynamicAxis, with_dynamic
from edgedl.export.sources import Conversion, call_factory, required_parameters
from edgedl.export.sources.batch import is_batch
from edgedl.export.sources.torch_files import load_weights
from edgedl.export.sources.torch_onnx import ModuleExport
from edgedl.export.sources.torch_run import Called, import_torch
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec
from edgedl.runtime.quality import BATCH


def build_torch(factory: Callable[..., Any], source: str, weights: Path) -> TorchSource:
    """Call a factory, with its weights.

    A factory with a required parameter is called with the loaded file (a dict of
    tensors and plain values); one without gets the file as its module's state dict.

    Raises:
        SourceError: The weights can't be loaded safely, or don't fit.
    """
    torch = import_torch()
    loaded = load_weights(weights)
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


class TorchSource:
    """An nn.Module in eval mode; a scripted one too."""

    framework = "torch"
    distributions: tuple[str, ...] = ("torch", "onnxscript")

    def __init__(self, module: Any) -> None:
        self.module = call_factory(module.eval, "the module's eval()")
        self._arguments = _arguments(module)
        if not self._arguments:
            raise SourceError(
                "the module's forward names no inputs",
                "name each: def forward(self, image); *args and **kwargs have no names",
            )
        self._names: tuple[str, ...] = tuple(self._arguments)

    def input_specs(
        self, samples: Arrays | None, dynamic: Sequence[DynamicAxis]
    ) -> tuple[TensorSpec, ...]:
        """The samples' dtypes and shapes; axes are dynamic where asked for.

        Where nothing was asked for, the batch is: the axis of the samples on which the
        module's own outputs prove to be row by row. Else every size is fixed.
        """
        if samples is None:
            raise SamplesError(
                "a torch module doesn't say what its inputs look like",
                f"give --samples FILE.npz with arrays {', '.join(self._arguments)}",
            )
        missing = [n for n, needed in self._arguments.items() if needed and n not in samples]
        if missing:
            raise SamplesError(
                f"the samples have no array {missing[0]!r} (they have {', '.join(samples)})",
                f"forward takes: {', '.join(self._arguments)}",
            )
        self._names = tuple(name for name in self._arguments if name in samples)
        specs = [TensorSpec(n, str(samples[n].dtype), samples[n].shape) for n in self._names]
        return with_dynamic(specs, dynamic or self._batch(specs, samples))

    def _batch(self, specs: Sequence[TensorSpec], samples: Arrays) -> tuple[DynamicAxis, ...]:
        """The batch axis of every input that has one; none where no choice is proved."""
        for choice in _batch_choices(specs):
            named = with_dynamic(specs, choice)
            if is_batch(lambda feeds: self.run(feeds)[1], named, BATCH, samples):
                return choice
        return ()

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """The module's own outputs, without gradients."""
        return self._called(tuple(feeds)).run(feeds)

    def conversions(self) -> tuple[Conversion, ...]:
        """Torch's exporters, in an order that depends on the layers."""
        return ModuleExport(self._called(self._names), self._is_recurrent()).conversions()

    def _is_recurrent(self) -> bool:
        torch = import_torch()
        layers = [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN]
        names = {layer.__name__ for layer in layers}
        return any(
            # A scripted module keeps its class's name only.
            isinstance(m, tuple(layers)) or getattr(m, "original_name", "") in names
            for m in self.module.modules()
        )

    def _called(self, names: tuple[str, ...]) -> Called:
        return Called(
            self.module,
            names,
            lambda module, tensors: module(**dict(zip(names, tensors, strict=True))),
        )


def _batch_choices(specs: Sequence[TensorSpec]) -> list[tuple[DynamicAxis, ...]]:
    """The leading axis of every input as long as the first's; then a state's second axis,
    as in (layers, batch, hidden).
    """
    if not specs[0].shape:
        return []
    count = specs[0].shape[0]
    choices = []
    for positions in ((0, 1), (1, 0)):
        found = [(specs[0].name, 0)]
        for spec in specs[1:]:
            fitting = [i for i in positions if i < len(spec.shape) and spec.shape[i] == count]
            found += [(spec.name, i) for i in fitting[:1]]
        choices.append(tuple(DynamicAxis(name, i, BATCH) for name, i in found))
    return list(dict.fromkeys(choices))


def _arguments(module: Any) -> Mapping[str, bool]:
    """`forward`'s arguments that can be named, and whether each must be given."""
    schema = getattr(module.forward, "schema", None)  # a scripted module's own signature
    if schema is not None:
        return {a.name: not a.has_default_value() for a in schema.arguments if a.name != "self"}
    return {
        name: p.default is p.empty
        for name, p in inspect.signature(module.forward).parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }

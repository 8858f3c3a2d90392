"""A call whose inputs and outputs are bound once: what a loop runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedl.runtime.engine import ENGINE_ERRORS, ort, run_options
from edgedl.runtime.errors import EngineError, InputError, one_line
from edgedl.runtime.manifest import TensorSpec, dynamic_axes

if TYPE_CHECKING:
    from edgedl.runtime.golden import Array, Arrays
    from edgedl.runtime.session import Model


class Call:
    """A model's inputs and outputs in buffers of their own, bound once.

    Write into `inputs`, call, read the answer: nothing is allocated, checked or copied on the
    way, so a call costs what ONNX Runtime's `run_with_iobinding` does. The arrays stay the
    same: what a call returns is `outputs`, overwritten by the next one (copy what you keep).
    An output with an axis that no input has is a new array each time. A call belongs to one
    thread; every thread can have its own of the same model.

    Made by `Model.bind`, or by `Stream.bind` for one that keeps its state.
    """

    def __init__(self, model: Model, sizes: Mapping[str, int]) -> None:
        check_axes(model.inputs, sizes)
        self._tie(model, sizes, model.inputs, model.outputs, [({}, {})])

    def _tie(
        self,
        model: Model,
        sizes: Mapping[str, int],
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        states: Sequence[tuple[Arrays, Arrays]],
    ) -> None:
        """Allocate and bind: one binding for each pair of state going in and coming out."""
        self._model = model
        self._session = model.session  # a binding must not outlive it
        self._options = run_options()
        own = allocate(inputs, sizes)
        axes = set(dynamic_axes(model.inputs))
        fixed = [t for t in outputs if all(isinstance(d, int) or d in axes for d in t.shape)]
        self._loose = [t.name for t in outputs if t not in fixed]
        self._answers = allocate(fixed, sizes)
        given = [own | state for state, _ in states]
        # Elsewhere than on the CPU a binding copies an input when it is bound, not when it runs.
        self._copied = [] if model.device == "cpu" else given
        self._bindings = [
            bind(model.session, arrays, self._answers | taken, self._loose)
            for arrays, (_, taken) in zip(given, states, strict=True)
        ]
        # An array put in another's place would never be read: these can't be assigned to.
        self._inputs, self._outputs = MappingProxyType(own), MappingProxyType(self._answers)

    @property
    def inputs(self) -> Mapping[str, Array]:
        """What to write into, by name: `call.inputs["image"][...] = image`."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Array]:
        """What the last call answered, by name."""
        return self._outputs

    def __call__(self) -> Mapping[str, Array]:
        """Run on what `inputs` hold.

        Returns:
            `outputs`, by name: the same arrays at every call.

        Raises:
            EngineError: ONNX Runtime failed, or the model is closed.
        """
        self._run_bound(0)
        return self._outputs

    def _run_bound(self, turn: int) -> None:
        """Run one of the bindings."""
        binding = self._bindings[turn]
        if self._copied:
            for name, array in self._copied[turn].items():
                binding.bind_cpu_input(name, array)
        try:
            self._model.session.run_with_iobinding(binding, self._options)
        except EngineError:
            raise  # the model is closed
        except ENGINE_ERRORS as error:
            file = self._model.variant.file
            raise EngineError(f"{file} failed to run: {one_line(error)}") from error
        if self._loose:
            values = dict(zip(self._model.output_names, binding.get_outputs(), strict=True))
            self._answers.update((name, values[name].numpy()) for name in self._loose)


def bind(session: Any, inputs: Arrays, outputs: Arrays, loose: Iterable[str]) -> Any:
    """A binding of arrays to a session's inputs and outputs; ORT allocates the `loose` ones."""
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    for output in session.get_outputs():
        if output.name in outputs:
            value = ort.OrtValue.ortvalue_from_numpy(outputs[output.name])
            binding.bind_ortvalue_output(output.name, value)
        else:
            binding.bind_output(output.name)
    return binding


def allocate(specs: Iterable[TensorSpec], sizes: Mapping[str, int]) -> Arrays:
    """Zeros for every tensor, dynamic axes at the given sizes; 1 where not given."""
    return {spec.name: zeros(spec, sizes) for spec in specs}


def zeros(spec: TensorSpec, sizes: Mapping[str, int]) -> Array:
    """Zeros of a tensor's dtype, dynamic axes at the given sizes; 1 where not given."""
    if spec.dtype in ("str", "object"):
        raise InputError(f"{spec} is text, which can't be bound", "call run() on the model")
    shape = [dim if isinstance(dim, int) else sizes.get(dim, 1) for dim in spec.shape]
    try:
        return np.zeros(shape, spec.dtype)
    except (MemoryError, ValueError) as error:  # more than there is, or than NumPy can count
        raise InputError(f"{spec} of shape {shape}: {one_line(error)}", "bind less") from None


def check_axes(specs: Iterable[TensorSpec], sizes: Mapping[str, int]) -> None:
    """Every size names an axis that the tensors have, and counts something."""
    axes = dynamic_axes(specs)
    for name, size in sizes.items():
        if name not in axes:
            raise InputError(f"there is no axis {name!r}", f"axes: {', '.join(axes) or 'none'}")
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
            raise InputError(f"{name} = {size!r} is no size", "give a whole number")

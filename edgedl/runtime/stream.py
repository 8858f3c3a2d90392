"""Stateful models: the state stays in bound buffers from step to step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgedl.runtime.engine import ENGINE_ERRORS, ort
from edgedl.runtime.errors import EngineError, InputError
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import dynamic_axes
from edgedl.runtime.session import check_inputs, concrete_shape

if TYPE_CHECKING:
    from edgedl.runtime.session import Model


class Stream:
    """One stateful run of a model; belongs to one thread.

    The state ping-pongs between two sets of buffers: what a step writes is what the next
    one reads, so nothing is copied. Arrays returned by `step` are new each time.

    Args:
        model: A model whose manifest declares state.
        sizes: Sizes of the state's dynamic axes; 1 where not given.
    """

    def __init__(self, model: Model, sizes: dict[str, int]) -> None:
        manifest = model.manifest
        if not manifest.state:
            raise InputError(f"{manifest.name!r} keeps no state", "call run() on the model")
        self._model = model
        self._sizes = sizes
        self._state = manifest.state
        axes = dynamic_axes(model.inputs)
        unknown = [name for name in sizes if name not in axes]
        if unknown:
            raise InputError(f"there is no axis {unknown[0]!r}", f"axes: {', '.join(axes)}")
        fed_back = {pair.input for pair in self._state}
        self._inputs = tuple(t for t in model.inputs if t.name not in fed_back)
        self._state_specs = tuple(t for t in model.inputs if t.name in fed_back)
        state_outputs = {pair.output for pair in self._state}
        self._outputs = [t.name for t in model.outputs if t.name not in state_outputs]
        self._binding = model.session.io_binding()
        self.reset()

    def reset(self) -> None:
        """Set the state back to zeros."""
        self._current = self._buffers()
        self._next = self._buffers()

    def state(self) -> Arrays:
        """A copy of the state, by input name."""
        return {name: value.numpy().copy() for name, value in self._current.items()}

    def step(self, **inputs: Array) -> Arrays:
        """Run one step and keep its state.

        Args:
            inputs: The inputs that are not state, by name.

        Returns:
            The outputs that are not state, by name. A failed step leaves the state as it was.
        """
        state_sizes = self._axes()
        sizes = check_inputs(self._inputs, inputs)
        wrong = [d for d in sizes.keys() & state_sizes.keys() if sizes[d] != state_sizes[d]]
        if wrong:
            raise InputError(
                f"this stream has {wrong[0]} = {state_sizes[wrong[0]]}, not {sizes[wrong[0]]}",
                f"open another: model.stream({wrong[0]}={sizes[wrong[0]]})",
            )
        binding = self._binding
        # The binding borrows the arrays' memory: they must live until the run is over.
        borrowed = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        for name, array in borrowed.items():
            binding.bind_cpu_input(name, array)
        for pair in self._state:
            binding.bind_ortvalue_input(pair.input, self._current[pair.input])
            binding.bind_ortvalue_output(pair.output, self._next[pair.input])
        for name in self._outputs:
            binding.bind_output(name)
        try:
            self._model.session.run_with_iobinding(binding)
        except ENGINE_ERRORS as error:
            raise EngineError(f"{self._model.variant.file} failed to run: {error}") from error
        self._current, self._next = self._next, self._current
        values = dict(zip(self._bound_names(), binding.get_outputs(), strict=True))
        return {name: values[name].numpy() for name in self._outputs}

    def _bound_names(self) -> list[str]:
        """Outputs in the order they were first bound, which is how the binding lists them."""
        return [*(pair.output for pair in self._state), *self._outputs]

    def _axes(self) -> dict[str, int]:
        return {name: self._sizes.get(name, 1) for name in dynamic_axes(self._state_specs)}

    def _buffers(self) -> dict[str, ort.OrtValue]:
        return {
            spec.name: ort.OrtValue.ortvalue_from_numpy(
                np.zeros(concrete_shape(spec, self._sizes), spec.dtype)
            )
            for spec in self._state_specs
        }

"""Stateful models: the state stays in bound buffers from step to step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgedl.runtime.bound import Call, allocate, check_axes
from edgedl.runtime.errors import InputError
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec, dynamic_axes
from edgedl.runtime.session import check_inputs

if TYPE_CHECKING:
    from edgedl.runtime.session import Model

# A text needs two: one for the prompt, one for a token.
STEPS_KEPT = 4


class Stream:
    """One stateful run of a model; belongs to one thread.

    The state ping-pongs between two sets of buffers: what a step writes is what the next
    one reads, so nothing is copied. `step` is for convenience: it checks its inputs and
    returns new arrays. It is built on `bind`, which is for loops.

    Args:
        model: A model whose manifest declares state.
        sizes: Sizes of the state's dynamic axes; 1 where not given.
    """

    def __init__(self, model: Model, sizes: Mapping[str, int]) -> None:
        manifest = model.manifest
        if not manifest.state:
            raise InputError(f"{manifest.name!r} keeps no state", "call run() on the model")
        check_axes(model.inputs, sizes)
        self.model = model
        fed_back = {pair.input: pair.output for pair in manifest.state}
        self.inputs = tuple(t for t in model.inputs if t.name not in fed_back)
        self.outputs = tuple(t for t in model.outputs if t.name not in fed_back.values())
        state = tuple(t for t in model.inputs if t.name in fed_back)
        self.sizes = {axis: sizes.get(axis, 1) for axis in dynamic_axes(state)}
        self._state = State(state, fed_back, self.sizes)
        self._steps: dict[tuple[tuple[str, int], ...], Step] = {}

    def reset(self) -> None:
        """Set the state back to zeros."""
        for array in self._state.now.values():
            array.fill(0)

    def state(self) -> Arrays:
        """A copy of the state, by input name."""
        return {name: array.copy() for name, array in self._state.now.items()}

    def set_state(self, state: Arrays) -> None:
        """Go on from another state: a copy is taken of what `state` returned, say."""
        buffers = self._state.now
        check_inputs([t for t in self.model.inputs if t.name in buffers], state)
        for name, array in state.items():
            if array.shape != buffers[name].shape:
                raise InputError(
                    f"state {name!r} has shape {list(array.shape)}; "
                    f"this stream's is {list(buffers[name].shape)}"
                )
            buffers[name][...] = array

    def bind(self, **sizes: int) -> Step:
        """A step for loops: its inputs and outputs bound once, the state kept.

        Args:
            sizes: Sizes of the axes that are not the state's; 1 where not given.
        """
        check_axes(self.inputs, sizes)
        self._check_state_sizes(sizes)
        return Step(self, self._state, {**sizes, **self.sizes})

    def step(self, **inputs: Array) -> Arrays:
        """Run one step and keep its state.

        Args:
            inputs: The inputs that are not state, by name.

        Returns:
            The outputs that are not state, by name, in new arrays. A failed step leaves the
            state as it was.
        """
        sizes = check_inputs(self.inputs, inputs)
        self._check_state_sizes(sizes)
        step = self._step_of(sizes)
        for name, array in inputs.items():
            step.inputs[name][...] = array
        return {name: array.copy() for name, array in step().items()}

    def _step_of(self, sizes: dict[str, int]) -> Step:
        """The step for these sizes: one of the last few, or a new one."""
        key = tuple(sizes.items())
        step = self._steps.pop(key, None) or self.bind(**sizes)
        self._steps[key] = step  # the last used stands last
        if len(self._steps) > STEPS_KEPT:
            del self._steps[next(iter(self._steps))]
        return step

    def _check_state_sizes(self, sizes: Mapping[str, int]) -> None:
        for axis, size in self.sizes.items():
            if sizes.get(axis, size) != size:
                raise InputError(
                    f"this stream has {axis} = {size}, not {sizes[axis]}",
                    f"open another: model.stream({axis}={sizes[axis]})",
                )


class State:
    """A stream's state, shared by its steps, in two sets of buffers.

    Args:
        specs: The inputs that are state.
        fed_back: The output that each of them comes from.
        sizes: Sizes of their dynamic axes.
    """

    def __init__(
        self, specs: Sequence[TensorSpec], fed_back: Mapping[str, str], sizes: Mapping[str, int]
    ) -> None:
        first, second = allocate(specs, sizes), allocate(specs, sizes)
        # By turns, what a step reads, by input, and what it writes, by output.
        self.turns: tuple[tuple[Arrays, Arrays], ...] = tuple(
            (given, {fed_back[name]: array for name, array in taken.items()})
            for given, taken in ((first, second), (second, first))
        )
        self.turn = 0

    @property
    def now(self) -> Arrays:
        """What the next step reads, by input."""
        return self.turns[self.turn][0]


class Step(Call):
    """A bound call that keeps its stream's state; made by `Stream.bind`.

    Steps of one stream, of several sizes, go on from each other's state.
    """

    def __init__(self, stream: Stream, state: State, sizes: Mapping[str, int]) -> None:
        self._state = state
        self._tie(stream.model, sizes, stream.inputs, stream.outputs, state.turns)

    def __call__(self) -> Mapping[str, Array]:
        """Run one step on what `inputs` hold; see `Call`. A failed one leaves the state."""
        state = self._state
        self._run_bound(state.turn)
        state.turn = 1 - state.turn
        return self._outputs

"""How a Keras model is called: by the inputs it declares, or by its `call`'s arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from edgedl.export.errors import SamplesError, SourceError
from edgedl.export.evidence import LABELS
from edgedl.export.interface import clean_name
from edgedl.export.sources.tensorflow import input_spec
from edgedl.runtime.golden import Arrays
from edgedl.runtime.manifest import TensorSpec

NOT_INPUTS = ("training", "mask")


class Calls(Protocol):
    """Names of a model's inputs, and a call by name."""

    def specs(self, samples: Arrays | None) -> tuple[TensorSpec, ...]:
        """The inputs, in order."""
        ...

    def __call__(self, model: Any, feeds: Mapping[str, Any]) -> Any:
        """Call a model with these inputs, in inference mode."""
        ...


def calls_of(keras: Any, model: Any) -> Calls:
    """How this model is called."""
    return DeclaredCalls(keras, model) if getattr(model, "inputs", None) else FreeCalls(model)


class DeclaredCalls:
    """A Sequential or functional model. Inputs in a dict are called after its keys."""

    def __init__(self, keras: Any, model: Any) -> None:
        self._keras = keras
        self._structure = getattr(model, "input", None)
        if self._structure is None:  # a Sequential model that was built by its first call
            self._structure = model.inputs[0] if len(model.inputs) == 1 else model.inputs
        leaves = keras.tree.flatten_with_path(self._structure)
        self._names = unique(
            [clean_name(_key(path) or _given(tensor.name) or "input") for path, tensor in leaves],
        )
        self._tensors = [tensor for _, tensor in leaves]

    def specs(self, samples: Arrays | None) -> tuple[TensorSpec, ...]:
        """As the model declares them."""
        return tuple(
            input_spec(name, str(tensor.dtype), tensor.shape)
            for name, tensor in zip(self._names, self._tensors, strict=True)
        )

    def __call__(self, model: Any, feeds: Mapping[str, Any]) -> Any:
        """Packs the inputs as the model declares them."""
        flat = [feeds[name] for name in self._names]
        return model(self._keras.tree.pack_sequence_as(self._structure, flat), training=False)


class FreeCalls:
    """A subclassed model. It has no inputs until it is called, so samples tell of them."""

    def __init__(self, model: Any) -> None:
        self._name = model.name
        parameters = inspect.signature(model.call).parameters
        self._required = [
            name
            for name, p in parameters.items()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        self._arguments = [
            name
            for name, p in parameters.items()
            if name not in NOT_INPUTS and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]

    def specs(self, samples: Arrays | None) -> tuple[TensorSpec, ...]:
        """The samples' dtypes and shapes; axis 0 is the batch."""
        wanted = ", ".join(self._arguments)
        if samples is None:
            raise SourceError(
                f"Keras model {self._name!r} has no inputs yet: it doesn't say what they look like",
                f"give --samples FILE.npz with arrays named after call's arguments: {wanted}",
            )
        names = [name for name in samples if name != LABELS]
        if len(self._arguments) > 1:
            missing = [name for name in self._required if name not in samples]
            if missing:
                raise SamplesError(
                    f"the samples have no array {missing[0]!r} (they have {', '.join(names)})",
                    f"call takes: {wanted}",
                )
            names = [name for name in self._arguments if name in samples]
        return tuple(
            input_spec(name, str(samples[name].dtype), (None, *samples[name].shape[1:]))
            for name in names
        )

    def __call__(self, model: Any, feeds: Mapping[str, Any]) -> Any:
        """By argument; several inputs for one argument are given as a list, else as a dict."""
        if feeds.keys() <= set(self._arguments):
            return model(**feeds, training=False)
        if len(feeds) == 1:
            return model(*feeds.values(), training=False)
        try:
            return model(list(feeds.values()), training=False)
        except TypeError:  # inputs["name"] of a list
            return model(dict(feeds), training=False)


def named_outputs(
    keras: Any, outputs: Any, declared: Sequence[str]
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Output names and tensors, laid flat: a dict's keys, else the names the model declares."""
    leaves = keras.tree.flatten_with_path(outputs)
    keys = [_key(path) for path, _ in leaves]
    if all(keys):
        names = keys
    elif len(declared) == len(leaves):
        names = list(declared)
    else:
        names = ["output"] * len(leaves)
    return unique(names), tuple(tensor for _, tensor in leaves)


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names told apart by a number: the second `dense` is `dense_1`."""
    told: list[str] = []
    for name in names:
        number, fresh = 0, name
        while fresh in told:
            number += 1
            fresh = f"{name}_{number}"
        told.append(fresh)
    return tuple(told)


def _given(name: str) -> str:
    """An input's name; empty where Keras made it up, another one in every process."""
    return "" if re.fullmatch(r"(keras_tensor|input_layer)(_\d+)?", name) else name


def _key(path: Sequence[Any]) -> str:
    """The innermost dict key on the way to a tensor."""
    return next((key for key in reversed(path) if isinstance(key, str)), "")

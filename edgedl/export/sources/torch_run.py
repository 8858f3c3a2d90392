"""A torch module as functions of named arrays: how it is called, and what it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from edgedl.export.errors import SourceError
from edgedl.export.quiet import quiet
from edgedl.export.sources import call_factory, describe_arrays
from edgedl.runtime.errors import MissingExtraError
from edgedl.runtime.golden import Array, Arrays

SMALL_INPUT = 4096  # elements


Inside = Callable[[], AbstractContextManager[Callable[[], list[Any]]]]


@contextmanager
def nothing_more() -> Iterator[Callable[[], list[Any]]]:
    """A call as it is, without further outputs."""
    yield list


@dataclass(frozen=True)
class Called:
    """A module and how it is called: `call(module, tensors)`, tensors in the order of `names`."""

    module: Any
    names: tuple[str, ...]
    call: Callable[[Any, Sequence[Any]], Any]

    def run(self, feeds: Arrays) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """The module's own outputs, without gradients: their names and values.

        Raises:
            SourceError: It can't run on these arrays.
        """
        torch = import_torch()

        def forward() -> tuple[tuple[str, ...], tuple[Array, ...]]:
            tensors = [torch.from_numpy(feeds[name].copy()) for name in self.names]
            names, outputs = name_outputs(self.call(self.module, tensors))
            return names, tuple(_array(n, t) for n, t in zip(names, outputs, strict=True))

        with _threads_for(torch, feeds), slow_attention(torch), torch.inference_mode():
            answer: tuple[tuple[str, ...], tuple[Array, ...]] = call_factory(
                forward, f"the module, run on {describe_arrays(feeds)},"
            )
        return answer

    def flat(self, inside: Inside = nothing_more) -> Any:
        """The module with positional inputs and a plain tuple of outputs, for an exporter.

        Args:
            inside: A context to call it in, which gives what gives outputs to append.
        """
        base: Any = import_torch().nn.Module
        called = self

        class Flat(base):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.module = called.module

            def forward(self, *inputs: Any) -> tuple[Any, ...]:
                with inside() as extra:
                    return (*name_outputs(called.call(self.module, inputs))[1], *extra())

            def train(self, mode: bool = True) -> Any:
                # Not the module: one of an exported program raises, and another is in eval mode.
                self.training = mode
                return self

        return Flat().eval()


def import_torch() -> Any:
    """torch, or an error that names the extra."""
    try:
        with quiet():
            import torch
    except ImportError as error:
        raise MissingExtraError(f"torch ({error})", "torch") from error
    return torch


def name_outputs(outputs: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Output names and tensors, nested ones laid flat and None left out.

    They are called after the fields of a NamedTuple or a dataclass and the keys of a dict,
    `output`, `output_1`, ... where nothing names them.
    """
    named = dict(_spread(_parts(outputs, "output")))
    return tuple(named), tuple(named.values())


def _spread(parts: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name, value in parts:
        inner = _parts(value, name)
        if len(inner) == 1 and inner[0][1] is value:
            yield name, value
        else:
            yield from _spread(inner)


def _parts(value: Any, name: str) -> list[tuple[str, Any]]:
    """What a value is made of; itself where it isn't a container."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [(str(key), inner) for key, inner in value.items()]
    if dataclasses.is_dataclass(value):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    if hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, list | tuple):
        flat = [inner for item in value for _, inner in _spread(_parts(item, name))]
        return [(name if i == 0 else f"{name}_{i}", inner) for i, inner in enumerate(flat)]
    return [(name, value)]


def _array(name: str, output: Any) -> Array:
    torch = import_torch()
    if not isinstance(output, torch.Tensor):
        raise SourceError(
            f"the module's output {name!r} is a {type(output).__name__}, not a tensor",
            "return tensors only",
        )
    array: Array = output.detach().numpy()
    return array


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


@contextmanager
def slow_attention(torch: Any) -> Iterator[None]:
    """nn.TransformerEncoder without its fast path.

    In inference the fast path takes the place of a layer's operators: no exporter knows the
    one it calls, and it answers zeros at the positions that a padding mask hides.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)

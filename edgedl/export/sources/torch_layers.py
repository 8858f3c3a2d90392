"""Which layer calls an operator: what the refusals of torch's exporters don't say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgedl.export.errors import SourceError
from edgedl.export.sources.torch_run import Called, import_torch
from edgedl.runtime.golden import Arrays

# In the words of torch's current exporter, and of the TorchScript one.
REFUSED = re.compile(
    r"(?:No ONNX function found for <OpOverload\(op='|Exporting the operator ')\w+(?:\.|::)(\w+)"
)


def refused_layer(called: Called, example: Arrays, refusal: str) -> str:
    """The path of the innermost layer that calls the operator an exporter refuses.

    Empty where the refusal names no operator, or none that a layer was seen to call: the
    module itself does, or the exporter took the operator apart.
    """
    refused = REFUSED.search(refusal)
    if refused is None:
        return ""
    with _watched(called.module) as callers:
        try:
            called.run(example)
        except SourceError:
            return ""
    return callers.get(_plain(refused[1]), "")


@contextmanager
def _watched(module: Any) -> Iterator[dict[str, str]]:
    """For each operator, the path of the layer that calls it first; filled while it runs."""
    torch = import_torch()
    callers: dict[str, str] = {}
    entered = [""]

    def note(name: str) -> None:
        callers.setdefault(_plain(name), entered[-1])

    functions: Any = torch.overrides.TorchFunctionMode
    operators: Any = torch.utils._python_dispatch.TorchDispatchMode

    class Functions(functions):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            note(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    class Operators(operators):  # type: ignore[misc]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            note(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    def enter(path: str) -> None:
        entered.append(path)

    def leave(*_: Any) -> None:
        entered.pop()

    handles = []
    for path, layer in module.named_modules():
        handles += [
            layer.register_forward_pre_hook(lambda *_, path=path: enter(path)),
            layer.register_forward_hook(leave, always_call=True),
        ]
    try:
        with Functions(), Operators():
            yield callers
    finally:
        for handle in handles:
            handle.remove()


def _plain(name: str) -> str:
    """An operator's name without the underscores of its in-place and inner forms."""
    return name.strip("_")

"""ExecuTorch: torch.export, lowered to XNNPACK. Kinds: `float`, `int8` (dynamic, per channel)."""

from __future__ import annotations

from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from benchmarks.peers.conversions import Wanted, wanted
from benchmarks.peers.torch_models import load_digits, load_text


def main() -> None:
    """Export, quantise where asked, lower, write."""
    asked = wanted()
    module = _module(asked)
    example = tuple(
        torch.zeros(shape, dtype=torch.int64 if name == "tokens" else torch.float32)
        for name, shape in asked.shapes.items()
    )
    if asked.kind == "int8":
        module = _quantised(module, example)
    program = torch.export.export(module, example)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    asked.file.write_bytes(lowered.to_executorch().buffer)


def _module(asked: Wanted) -> Any:
    if asked.model == "digits":
        return load_digits(str(asked.file.parent.parent / "pytorch" / "digits.npz"))
    return Plain(load_text(str(asked.demo / "text" / "model.pt")))


class Plain(torch.nn.Module):  # type: ignore[misc]  # torch is Any to the type checker
    """The text model with a plain tuple for its answer: torch.export can't write a named one."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Any, h: Any, c: Any) -> Any:
        """Logits, h and c."""
        return tuple(self.model(tokens, h, c))


def _quantised(module: Any, example: tuple[Any, ...]) -> Any:
    quantizer = XNNPACKQuantizer().set_global(
        get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    )
    prepared = prepare_pt2e(torch.export.export(module, example).module(), quantizer)
    with torch.inference_mode():
        prepared(*example)
    return convert_pt2e(prepared)


if __name__ == "__main__":
    main()

"""Graph rewrites, one per file, each verified before and after.

A pass takes a model and returns another one; the one it is given stays as it is. It must be
right on any model: what it can't be sure of it leaves alone. One stays in the table while
`benchmarks/passes.py` finds a gain by it on some real model.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import ModelProto

from edgedl.export.passes import (
    dense_rank,
    embedding_index,
    global_pool,
    input_scale,
    layer_norm,
    shape_arithmetic,
)
from edgedl.export.passes.wiring import PassResult

__all__ = ["PASSES", "PassResult"]

# In the order in which they are carried out.
PASSES: dict[str, Callable[[ModelProto], PassResult]] = {
    "dense-rank": dense_rank.run,
    "embedding-index": embedding_index.run,
    "global-pool": global_pool.run,
    "input-scale": input_scale.run,
    "layer-norm": layer_norm.run,
    "shape-arithmetic": shape_arithmetic.run,
}

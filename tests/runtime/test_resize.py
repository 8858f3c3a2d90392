"""Golden inputs brought to other sizes."""

from __future__ import annotations

import numpy as np

from edgedl.runtime.manifest import TensorSpec
from edgedl.runtime.resize import resize_axes

TOKENS = TensorSpec("tokens", "int64", ("batch", "time"))
H = TensorSpec("h", "float32", (1, "batch", 2))


def test_a_named_axis_is_cut_or_starts_again() -> None:
    tokens = np.array([[1, 2, 3], [4, 5, 6]])
    resized = resize_axes({"tokens": tokens}, [TOKENS], {"batch": 3, "time": 2})
    assert resized["tokens"].tolist() == [[1, 2], [4, 5], [1, 2]]


def test_every_tensor_gets_the_same_size_and_other_axes_stay() -> None:
    arrays = {"tokens": np.zeros((2, 5), np.int64), "h": np.ones((1, 2, 2), np.float32)}
    resized = resize_axes(arrays, [TOKENS, H], {"batch": 4})
    assert {name: array.shape for name, array in resized.items()} == {
        "tokens": (4, 5),
        "h": (1, 4, 2),
    }
    assert resized["h"].dtype == np.float32


def test_what_comes_out_is_a_copy_in_one_piece() -> None:
    tokens = np.arange(12).reshape(3, 4)
    resized = resize_axes({"tokens": tokens}, [TOKENS], {"time": 2})["tokens"]
    resized[:] = -1
    assert resized.flags.c_contiguous
    assert tokens.min() == 0

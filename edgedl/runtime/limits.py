"""What this machine does at most: bytes it reads and operations it computes, per second.

Measured, not looked up: a data sheet knows nothing of the virtual machine, the memory that was
fitted or the clock that the heat leaves. Each is the best of several short windows, in rounds
some time apart, since a limit is what is reached when nothing disturbs.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import numpy as np
from numpy.lib.stride_tricks import as_strided

from edgedl.runtime.golden import Array
from edgedl.runtime.protocol import Limits
from edgedl.runtime.settings import Settings

NEAR_BYTES = 32 << 10  # half of the smallest first-level cache and a second one beside it
MEMORY_BYTES = 64 << 20  # past most caches; a container may grant little more
ROUNDS, WINDOWS, WINDOW_S = 3, 8, 0.01
PRODUCT_S = 0.05
SIZE = 512
ROWS = (256, 1024)  # many threads want many rows, one thread's cache few
# y (rows, 512) = x (rows, 512) times a constant (512, 512) that the model fills itself when it is
# loaded, so that ONNX Runtime packs it like a model's weights: float32 MatMul, and MatMulInteger
# of uint8 with int8. tests/runtime/test_limits.py builds both with onnx and compares.
FLOAT32_MODEL = (
    "CAc6nQEKJBIBcyIIQ29uc3RhbnQqFQoKdmFsdWVfaW50c0CABECABKABBwoxCgFzEgFiIg9Db25zdGFudE9mU2hh"
    "cGUqGAoFdmFsdWUqDAgBEAEiBAAAgD9CAKABBAoRCgFhCgFiEgFjIgZNYXRNdWwSAWdaFQoBYRIQCg4IARIKCgMS"
    "AW0KAwiABGIVCgFjEhAKDggBEgoKAxIBbQoDCIAEQgQKABAN"
)
INT8_MODEL = (
    "CAc6oQEKJBIBcyIIQ29uc3RhbnQqFQoKdmFsdWVfaW50c0CABECABKABBwouCgFzEgFiIg9Db25zdGFudE9mU2hh"
    "cGUqFQoFdmFsdWUqCQgBEAMqAQFCAKABBAoYCgFhCgFiEgFjIg1NYXRNdWxJbnRlZ2VyEgFnWhUKAWESEAoOCAIS"
    "CgoDEgFtCgMIgARiFQoBYxIQCg4IBhIKCgMSAW0KAwiABEIECgAQDQ=="
)


def measure_limits(threads: int | None, weights_bytes: int) -> Limits:
    """Measure with the threads of a case, and a buffer as large as its constants."""
    threads = Settings(threads).resolved().threads or 1
    weights = max(weights_bytes, NEAR_BYTES * threads)
    memory = max(MEMORY_BYTES, weights)
    parts = [_split(size, threads) for size in (NEAR_BYTES * threads, weights, memory)]
    products = [
        _product(FLOAT32_MODEL, np.dtype(np.float32), threads),
        _product(INT8_MODEL, np.dtype(np.uint8), threads),
    ]
    rounds = [[*map(read_rate, parts), *(product() for product in products)] for _ in range(ROUNDS)]
    return Limits(threads, weights, memory, *map(max, zip(*rounds, strict=True)))


def _split(size: int, threads: int) -> list[Array]:
    """Each thread's part of `size` bytes."""
    return [_passes(max(size // threads, 1 << 12)) for _ in range(threads)]


def read_rate(parts: Sequence[Array]) -> float:
    """Bytes per second that threads read together, each its own part, again and again.

    They come from whichever cache the part fits into.
    """
    barrier = Barrier(len(parts))
    with ThreadPoolExecutor(len(parts)) as pool:
        windows = [
            sum(pool.map(lambda part: _read_window(part, barrier), parts)) for _ in range(WINDOWS)
        ]
    return max(windows)


def _passes(size: int) -> Array:
    """A view that runs over a buffer of `size` bytes many times, (passes, size) uint8.

    NumPy takes a microsecond to start, so a small buffer is read more than once a call. A
    stride of nothing would make NumPy swap the axes: each pass begins a line of 64 bytes later.
    """
    passes = max(1, min(256, (4 << 20) // size))
    buffer = np.ones(size + 64 * passes, np.uint8)
    start = -buffer.ctypes.data % 64
    return as_strided(buffer[start:], (passes, size), (64, 1), writeable=False)


def _read_window(part: Array, barrier: Barrier) -> float:
    barrier.wait()
    begin = time.perf_counter()
    reads, now = 0, begin
    while now - begin < WINDOW_S:
        np.maximum.reduce(part, axis=None)  # of NumPy's reductions the one nearest to the limit
        reads, now = reads + 1, time.perf_counter()
    return reads * part.size / (now - begin)


def _product(model: str, dtype: np.dtype[np.generic], threads: int) -> Callable[[], float]:
    """Operations per second of ONNX Runtime's matrix product; two per multiplication."""
    from edgedl.runtime.session import open_session

    settings = Settings(threads, spinning=True)
    session = open_session(base64.b64decode(model), "cpu", settings, "the matrix product")
    inputs = [{"a": np.ones((rows, SIZE), dtype)} for rows in ROWS]
    runs = [(partial(session.run, None, x), x["a"].size) for x in inputs]
    return lambda: max(_product_rate(run, size) for run, size in runs)


def _product_rate(run: Callable[[], object], size: int) -> float:
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < PRODUCT_S:
        before = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - before)
    return 2 * size * SIZE / best

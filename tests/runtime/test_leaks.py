"""Memory stays where it is: over 100,000 calls, and over 1,000 loads.

What is counted is this process's resident set between a first stretch, which fills caches
and allocators, and the end. A leak of one small array a call would be megabytes.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgedl import runtime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")

PAGE = 4096
CALLS, LOADS = 100_000, 1_000


def resident_growth(work: Callable[[], object], times: int) -> int:
    """Bytes that the resident set grew by while the work was done so many times."""

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE

    for _ in range(times // 10):
        work()
    before = resident()
    for _ in range(times):
        work()
    return resident() - before


def test_run_keeps_nothing(classifier_bundle: Path) -> None:
    model = runtime.load(classifier_bundle, threads=1)
    image = np.zeros((1, 4, 4, 1), np.float32)
    # 100 bytes a call would be 10 MB.
    assert resident_growth(lambda: model.run(image=image), CALLS) < 2_000_000


def test_bound_calls_and_steps_keep_nothing(text_bundle: Path) -> None:
    model = runtime.load(text_bundle, threads=1)
    call, step, stream = model.bind(), model.stream().bind(), model.stream()
    token = np.array([[1]])

    def work() -> None:
        call()
        step()
        stream.step(tokens=token)

    assert resident_growth(work, CALLS) < 2_000_000


@pytest.mark.parametrize("way", ["close", "forget"])
def test_loading_keeps_nothing(text_bundle: Path, way: str) -> None:
    def work() -> None:
        model = runtime.load(text_bundle, threads=1)
        stream = model.stream()
        stream.step(tokens=np.array([[1]]))
        model.bind()()
        if way == "close":
            model.close()

    # A session of this model takes some 300 kB.
    assert resident_growth(work, LOADS) < 10_000_000

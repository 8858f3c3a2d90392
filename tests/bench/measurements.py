"""Measurements made up for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgedl.runtime.health import Counters, Health, Report, Seen
from edgedl.runtime.host import Host
from edgedl.runtime.manifest import OutputParity
from edgedl.runtime.protocol import Case, Measurement

HOST = Host("Linux 6", "aarch64", "Cortex-A72", 4, 1 << 30, "3.11.7", {"onnxruntime": "1.20"})
RIGHT = OutputParity("y", True, 0.0, 0.0, "only")
WRONG = OutputParity("y", False, 2.0, 1.0, "only", reason="max |a-b| 2 is over 1")


def measurement(case: Case, samples_ns: Sequence[int] = (1000,) * 20, **fields: Any) -> Measurement:
    """A measurement of a case, right and on one machine unless said otherwise."""
    given = {
        "import_ns": 3_000_000,
        "load_ns": 5_000_000,
        "first_run_ns": 40_000,
        "warm_load_ns": 4_000_000,
        "peak_resident": 64 << 20,
        "empty_resident": 10 << 20,
        "parity": (RIGHT,),
        **fields,
    }
    return Measurement(case=case, host=HOST, samples_ns=tuple(samples_ns), **given)


def health(before: Health | None = None, **seen: Any) -> Report:
    """A launch's health, all of it unknown unless said otherwise."""
    return Report(before or Health(), Health(), Seen(**seen), Counters(), 10**9)

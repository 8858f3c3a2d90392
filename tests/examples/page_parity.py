"""What the page says of a bundle beside what Python's runtime says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedl import runtime
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.golden import read_golden
from edgedl.runtime.manifest import OutputParity
from edgedl.runtime.parity import answer_outputs, check_parity, classes_of
from tests.examples.browsing import Visit


def python_parity(path: Path) -> dict[tuple[str, str], OutputParity]:
    """What Python's runtime says of every output of every variant."""
    bundle = open_bundle(path)
    manifest, golden = bundle.manifest, read_golden(bundle)
    rows = {}
    for variant in manifest.variants:
        with runtime.load(path, variant=variant.name) as model:
            for row in check_parity(
                model.run_feeds,
                golden,
                variant.tolerance,
                manifest.state,
                classes_of(manifest),
                answer_outputs(manifest.outputs, manifest.state, manifest.task),
            ):
                rows[variant.name, row.output] = row
    return rows


def assert_same_parity(visit: Visit, path: Path) -> None:
    """The page's verdict on every variant is Python's, and so are the numbers behind it."""
    here, there = visit.prove_all(path.name), python_parity(path)
    assert here.keys() == there.keys()
    for key, row in there.items():
        seen = here[key]
        print(path.name, *key, seen["maxAbs"], seen["verdict"])
        assert (seen["verdict"] != "fails") == row.passed, key
        # Both are sums of float32 in an order of their own; what is quantised moves in steps.
        float_noise = 1e-4 + 0.5 * row.max_abs
        assert float(seen["maxAbs"]) == pytest.approx(row.max_abs, abs=float_noise), key
        if row.sqnr_db is not None and row.sqnr_db < 80:
            assert float(seen["sqnr"]) == pytest.approx(row.sqnr_db, abs=2.0), key

"""The Batcher's benchmark asks what it says it asks, and tells it in one table."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import batcher
from benchmarks.batcher import WAYS, Launch, Way, launch, tabulate


def test_every_way_of_serving_answers_its_clients(
    classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "WARM_S", 0.0)
    monkeypatch.setattr(batcher, "LEAST_S", 0.03)
    ran = {way: asyncio.run(launch(str(classifier_bundle), way, 4)) for way in WAYS}
    for way, one in ran.items():
        assert len(one.latencies_ns) >= 4, way
        assert min(one.latencies_ns) > 0
        assert one.seconds >= 0.03
    assert ran[Way(1)].mean_batch == 1.0
    assert ran[Way(8, 0.002)].mean_batch > 1.0


def test_a_rows_ratio_is_paired_by_round() -> None:
    """Twice as many answers in the same time is 0.5, though both rounds differ tenfold."""
    fast = [Launch([1000] * 20, 1.0, 8.0), Launch([1000] * 200, 1.0, 8.0)]
    slow = [Launch([2000] * 10, 1.0, 1.0), Launch([2000] * 100, 1.0, 1.0)]
    found = {(way, 8): slow if WAYS[way] == Way(1) else fast for way in range(len(WAYS))}
    rows = {row[1]: row for row in tabulate(found).rows}
    assert rows["`max_batch=8, max_wait_s=0`"][-1] == "0.50 (0.50 - 0.50)"
    assert rows["`max_batch=1, max_wait_s=0`"][-1] == ""
    assert rows["`max_batch=8, max_wait_s=0`"][2:4] == ("8.0", "1 us")

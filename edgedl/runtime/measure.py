"""One launch of a case, phase by phase: load cold, run once, warm up, time, load again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from edgedl.runtime.bundle import MANIFEST_FILE, Bundle, open_bundle
from edgedl.runtime.feeds import pick_inputs
from edgedl.runtime.golden import read_golden
from edgedl.runtime.host import describe_host
from edgedl.runtime.loops import time_runs
from edgedl.runtime.modes import load_variant
from edgedl.runtime.page_cache import evict
from edgedl.runtime.protocol import Case, Measurement
from edgedl.runtime.start import peak_resident_bytes
from edgedl.runtime.subjects import load_subject
from edgedl.runtime.watch import Watch

Result = TypeVar("Result")


def measure(case: Case, import_ns: int = 0, empty_resident: int | None = None) -> Measurement:
    """Go through a launch's phases in the order an app meets them.

    Args:
        case: What to measure.
        import_ns: What importing the runtime took.
        empty_resident: The process's peak resident set before that, in bytes.
    """
    bundle = open_bundle(case.bundle)
    golden = read_golden(bundle)
    feeds = pick_inputs(bundle, golden, case)
    load = load_subject if case.subject else load_variant
    still_cached = _evict(bundle, case)
    loaded, load_ns = _timed(lambda: load(case, feeds.inputs))
    first, first_run_ns = _timed(loaded.run)
    outputs = loaded.answer(first)
    watch = Watch()
    timed = time_runs(loaded.run, case, watch)
    peak = peak_resident_bytes()
    health = watch.report()
    _, warm_load_ns = (None, None) if case.subject else _timed(lambda: load(case, feeds.inputs))
    # Comparing is imported when nothing is timed any more, and the memory has been read.
    from edgedl.runtime.answer_check import check_answer

    return Measurement(
        case=case,
        host=describe_host(),
        import_ns=import_ns,
        load_ns=load_ns,
        warm_load_ns=warm_load_ns,
        still_cached=still_cached,
        first_run_ns=first_run_ns,
        samples_ns=timed.samples_ns,
        served=timed.served,
        sustained=timed.sustained,
        peak_resident=peak,
        empty_resident=empty_resident,
        settings=loaded.settings,
        providers=loaded.providers,
        health=health,
        parity=check_answer(bundle, golden, case, outputs, feeds.expected),
    )


def _evict(bundle: Bundle, case: Case) -> str:
    """Drop what loading reads from the page cache; see `page_cache.evict`."""
    if case.subject:
        return "a subject reads files of its own"
    variant = bundle.manifest.variant(case.variant)
    return evict([bundle.path / MANIFEST_FILE, bundle.path / variant.file])


def _timed(act: Callable[[], Result]) -> tuple[Result, int]:
    """What it returns, and the nanoseconds it took."""
    begin = time.perf_counter_ns()
    result = act()
    return result, time.perf_counter_ns() - begin

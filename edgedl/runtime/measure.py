"""One launch of a case: load, run once, warm up, then time single runs."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import structs

from edgedl.runtime.bundle import Bundle, open_bundle
from edgedl.runtime.errors import InputError, UnknownDeviceError
from edgedl.runtime.flips import golden_spreads
from edgedl.runtime.golden import Arrays, GoldenVectors, largest_call, read_golden
from edgedl.runtime.host import describe_host, peak_resident_bytes
from edgedl.runtime.imports import import_file
from edgedl.runtime.manifest import GoldenCase, OutputParity, Tolerance, dynamic_axes
from edgedl.runtime.parity import answer_outputs, check_parity, classes_of
from edgedl.runtime.protocol import Case, Measurement
from edgedl.runtime.resize import resize_axes
from edgedl.runtime.settings import Settings
from edgedl.runtime.tally import CASE_MARGIN_DB


def measure(case: Case) -> Measurement:
    """Load, run once, warm up, then time single runs until both leasts are reached."""
    bundle = open_bundle(case.bundle)
    golden = read_golden(bundle)
    inputs, expected = _case_inputs(bundle, golden, case)
    begin = time.perf_counter_ns()
    if not case.subject:
        importlib.import_module("edgedl.runtime.session")
    imported = time.perf_counter_ns()
    run, settings = _subject(case, inputs) if case.subject else _variant_runner(case, inputs)
    loaded = time.perf_counter_ns()
    outputs = run()
    first = time.perf_counter_ns()
    samples = _time_runs(run, case)
    return Measurement(
        case=case,
        host=describe_host(),
        import_ns=imported - begin,
        load_ns=loaded - imported,
        first_run_ns=first - loaded,
        samples_ns=samples,
        peak_resident=peak_resident_bytes(),
        settings=settings,
        parity=_check_answer(bundle, golden, case, outputs, expected),
    )


def _time_runs(run: Callable[[], object], case: Case) -> tuple[int, ...]:
    clock = time.perf_counter_ns
    stop = clock() + int(case.warmup_s * 1e9)
    while clock() < stop:
        run()
    samples: list[int] = []
    gc.collect()
    gc.disable()
    try:
        start = clock()
        enough, limit = start + int(case.least_s * 1e9), start + int(case.most_s * 1e9)
        now = start
        while (now < enough or len(samples) < case.least_count) and now < limit:
            before = clock()
            run()
            now = clock()
            samples.append(now - before)
    finally:
        gc.enable()
    return tuple(samples)


Runner = tuple[Callable[[], Arrays | None], Settings | None]


def _variant_runner(case: Case, inputs: Arrays) -> Runner:
    from edgedl.runtime.session import load

    model = load(case.bundle, case.variant, case.device, case.threads, case.spinning, case.arena)
    return lambda: model.run_feeds(inputs), model.settings


def _subject(case: Case, inputs: Arrays) -> Runner:
    """Load `file.py:factory` and build what it measures."""
    file, _, factory = case.subject.rpartition(":")
    if not Path(file).is_file() or not factory:
        raise InputError(f"there is no {case.subject!r} to measure", "give file.py:factory")
    if case.device != "cpu":
        raise UnknownDeviceError(f"{case.subject} is measured on cpu only, not {case.device}")
    build = getattr(import_file(Path(file)), factory, None)
    if build is None:
        raise InputError(f"{file} has no {factory!r} to measure", "give file.py:factory")
    return build(inputs, case.threads, *case.subject_args), None


def _case_inputs(
    bundle: Bundle, golden: Sequence[GoldenVectors], case: Case
) -> tuple[Arrays, GoldenVectors | None]:
    """Inputs of the wanted sizes, real ones from the golden vectors.

    Returns:
        The inputs, and the golden case they are if their sizes are exactly one's.
    """
    axes = dynamic_axes(bundle.manifest.inputs)
    unknown = [name for name in case.sizes if name not in axes]
    if unknown:
        raise InputError(
            f"bundle {bundle.manifest.name!r} has no dynamic axis {unknown[0]!r}",
            f"it has: {', '.join(sorted(axes)) or 'none'}",
        )
    calls = [vectors.case.sizes for vectors in golden if vectors.case.is_single]
    sizes = {axis: case.sizes.get(axis, min(call[axis] for call in calls)) for axis in axes}
    for vectors in golden:
        if vectors.case.is_single and vectors.case.sizes == sizes:
            return vectors.inputs, vectors
    return resize_axes(largest_call(golden).inputs, bundle.manifest.inputs, sizes), None


def _check_answer(
    bundle: Bundle,
    golden: Sequence[GoldenVectors],
    case: Case,
    outputs: Arrays | None,
    expected: GoldenVectors | None,
) -> tuple[OutputParity, ...]:
    """The first run's outputs beside the golden ones, where the inputs are golden."""
    if expected is None or outputs is None:
        return ()
    call = GoldenCase(expected.case.name, expected.case.sizes)  # its sequence in parts isn't run
    manifest = bundle.manifest
    return check_parity(
        lambda _: outputs,
        [GoldenVectors(call, expected.inputs, expected.outputs, expected.scores)],
        _of_one_case(case.tolerance or manifest.variant(case.variant).tolerance),
        manifest.state,
        classes_of(manifest),
        answer_outputs(manifest.outputs, manifest.state, manifest.task),
        golden_spreads(golden),
    )


def _of_one_case(tolerance: Tolerance) -> Tolerance:
    """What one golden case alone is held to: it may be noisier than all together."""
    if tolerance.min_sqnr_db is None:
        return tolerance
    return structs.replace(tolerance, min_sqnr_db=tolerance.min_sqnr_db - CASE_MARGIN_DB)

"""The worker: the only code that measures. Requests on stdin, one JSON line each.

    python -m edgedl.runtime.worker < requests.jsonl > answers.jsonl

A request is a `Case` (measure one variant), a `ParityRequest` (verify a bundle's hashes and
compare its variants with the golden vectors) or a `HostRequest` (what machine is this). Every
answer is a `Measurement`, a `ParityAnswer`, a `HostAnswer` or a `Failure`. A worker process
measures one launch: whoever wants repetition starts several.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from edgedl.runtime.bundle import Bundle, open_bundle
from edgedl.runtime.errors import EdgedlError, InputError, UnknownDeviceError
from edgedl.runtime.flips import golden_spreads
from edgedl.runtime.golden import Arrays, GoldenVectors, largest_call, read_evaluation, read_golden
from edgedl.runtime.host import Host, describe_host, peak_resident_bytes
from edgedl.runtime.imports import import_file
from edgedl.runtime.manifest import GoldenCase, OutputParity, Quality, Tolerance, dynamic_axes
from edgedl.runtime.parity import answer_outputs, check_parity, classes_of, failures
from edgedl.runtime.quality import evaluate_variant, over_budget
from edgedl.runtime.resize import resize_axes
from edgedl.runtime.tally import CASE_MARGIN_DB


class Case(Struct, frozen=True, tag="measure", tag_field="request"):
    """One planned launch.

    `sizes` are the dynamic axes' sizes; one that is not given has the least of the golden
    vectors, which is 1 unless the source itself can't run that. `subject` is
    `file.py:factory`, something else to measure on the same inputs (a framework, say):
    `factory(inputs, threads, *subject_args)` returns a callable without arguments
    whose result is a dict of arrays or None. `tolerance` is what its answer is held to,
    the variant's own for None. Durations are in seconds.
    """

    bundle: str
    variant: str
    device: str = "cpu"
    threads: int | None = None
    sizes: dict[str, int] = {}
    subject: str = ""
    subject_args: tuple[str, ...] = ()
    label: str = ""
    tolerance: Tolerance | None = None
    warmup_s: float = 0.1
    least_s: float = 0.5
    least_count: int = 20
    most_s: float = 20.0

    @property
    def name(self) -> str:
        """What is measured, as a row of a table calls it."""
        return self.label or self.variant


class Measurement(Struct, frozen=True, tag="measurement", tag_field="answer"):
    """One launch of a case. Times are in nanoseconds, memory in bytes.

    `import_ns` is importing the runtime, `load_ns` opening and verifying the bundle and
    creating the session (or the subject's factory, its framework's import included),
    `first_run_ns` the first inference, `samples_ns` each inference after warm-up, raw.
    """

    case: Case
    host: Host
    import_ns: int
    load_ns: int
    first_run_ns: int
    samples_ns: tuple[int, ...]
    peak_resident: int | None
    parity: tuple[OutputParity, ...] = ()


class ParityRequest(Struct, frozen=True, tag="parity", tag_field="request"):
    """Verify a bundle's files and compare variants with the golden vectors."""

    bundle: str
    variants: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int | None = None


class VariantParity(Struct, frozen=True):
    """One variant's verdict on this device."""

    variant: str
    passed: bool
    outputs: tuple[OutputParity, ...]
    quality: Quality | None
    reasons: tuple[str, ...]


class ParityAnswer(Struct, frozen=True, tag="parity", tag_field="answer"):
    """Every requested variant's verdict."""

    bundle: str
    device: str
    host: Host
    variants: tuple[VariantParity, ...]


class HostRequest(Struct, frozen=True, tag="host", tag_field="request"):
    """Tell what machine this is, if it can serve the device."""

    device: str = "cpu"


class HostAnswer(Struct, frozen=True, tag="host", tag_field="answer"):
    """The machine the worker runs on; it has the provider that the device needs."""

    device: str
    host: Host


class Failure(Struct, frozen=True, tag="failure", tag_field="answer"):
    """An error the person can act on."""

    message: str
    hint: str
    exit_code: int

    def error(self, prefix: str = "") -> EdgedlError:
        """The error as the worker raised it, to end with the same exit code."""
        error = EdgedlError(prefix + self.message, self.hint)
        error.exit_code = self.exit_code
        return error


Request = Case | ParityRequest | HostRequest
Answer = Measurement | ParityAnswer | HostAnswer | Failure


def answer(request: Request) -> Answer:
    """Carry out one request."""
    try:
        if isinstance(request, Case):
            return measure(request)
        if isinstance(request, HostRequest):
            return describe(request)
        return compare(request)
    except EdgedlError as error:
        return Failure(error.message, error.hint, error.exit_code)


def describe(request: HostRequest) -> HostAnswer:
    """The machine, once it is known to have the device's provider."""
    from edgedl.runtime.session import resolve_provider

    resolve_provider(request.device)
    return HostAnswer(request.device, describe_host())


def compare(request: ParityRequest) -> ParityAnswer:
    """Verify every file of a bundle, then each variant against the golden vectors."""
    bundle = open_bundle(request.bundle)
    bundle.verify()
    manifest = bundle.manifest
    names = request.variants or tuple(v.name for v in manifest.variants)
    golden = read_golden(bundle)
    evaluation = read_evaluation(bundle)
    rows = tuple(_compare_variant(bundle, name, request, golden, evaluation) for name in names)
    return ParityAnswer(request.bundle, request.device, describe_host(), rows)


def _compare_variant(
    bundle: Bundle,
    name: str,
    request: ParityRequest,
    golden: list[GoldenVectors],
    evaluation: Any,
) -> VariantParity:
    from edgedl.runtime.session import Model

    manifest = bundle.manifest
    variant = manifest.variant(name)
    with Model(bundle, variant, request.device, request.threads) as model:
        outputs = check_parity(
            model.run_feeds,
            golden,
            variant.tolerance,
            manifest.state,
            classes_of(manifest),
            answer_outputs(manifest.outputs, manifest.state, manifest.task),
        )
        quality = (
            evaluate_variant(model.run_feeds, manifest, variant, evaluation)
            if evaluation is not None
            else None
        )
    reasons = [*failures(outputs), over_budget(quality, variant.tolerance)]
    found = tuple(reason for reason in reasons if reason)
    return VariantParity(name, not found, outputs, quality, found)


def measure(case: Case) -> Measurement:
    """Load, run once, warm up, then time single runs until both leasts are reached."""
    bundle = open_bundle(case.bundle)
    golden = read_golden(bundle)
    inputs, expected = _case_inputs(bundle, golden, case)
    begin = time.perf_counter_ns()
    if not case.subject:
        importlib.import_module("edgedl.runtime.session")
    imported = time.perf_counter_ns()
    run = _subject(case, inputs) if case.subject else _variant_runner(case, inputs)
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


def _variant_runner(case: Case, inputs: Arrays) -> Callable[[], Arrays]:
    from edgedl.runtime.session import load

    model = load(case.bundle, case.variant, case.device, case.threads)
    return lambda: model.run_feeds(inputs)


def _subject(case: Case, inputs: Arrays) -> Callable[[], Arrays | None]:
    """Load `file.py:factory` and build what it measures."""
    file, _, factory = case.subject.rpartition(":")
    if not Path(file).is_file() or not factory:
        raise InputError(f"there is no {case.subject!r} to measure", "give file.py:factory")
    if case.device != "cpu":
        raise UnknownDeviceError(f"{case.subject} is measured on cpu only, not {case.device}")
    build = getattr(import_file(Path(file)), factory, None)
    if build is None:
        raise InputError(f"{file} has no {factory!r} to measure", "give file.py:factory")
    run: Callable[[], Arrays | None] = build(inputs, case.threads, *case.subject_args)
    return run


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


def main() -> None:
    """Answer every request on stdin until it ends."""
    # Answers have a descriptor of their own: a framework that prints must not mix with them.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        encoder = msgspec.json.Encoder()
        decoder = msgspec.json.Decoder(Request)
        for line in sys.stdin.buffer:
            if line.strip():
                answers.write(encoder.encode(answer(decoder.decode(line))) + b"\n")
                answers.flush()


if __name__ == "__main__":
    main()

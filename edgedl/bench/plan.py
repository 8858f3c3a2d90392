"""Cases: the cross-product of what is asked for, launched interleaved in random order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, structs

from edgedl.devices import open_device
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.errors import EdgedlError, InputError, ParityError, WorkerError, one_line
from edgedl.runtime.health import Report
from edgedl.runtime.health_verdict import reasons_invalid
from edgedl.runtime.manifest import Manifest, dynamic_axes
from edgedl.runtime.modes import no_task, one_at_a_time
from edgedl.runtime.parity import failures
from edgedl.runtime.protocol import (
    Answer,
    Case,
    Failure,
    HostAnswer,
    HostRequest,
    Measurement,
    Mode,
    OpenLoop,
)

DEFAULT_LAUNCHES = 5
MOST_S = 20.0  # a launch ends then, with fewer samples than it should have, if need be
ROWS_SCHEMA = 2  # of the JSON lines; 1 had no number, no phases and no memory of an empty process


@dataclass(frozen=True)
class BenchRequest:
    """What to measure: every combination of bundle, variant, device, mode, batch and settings.

    A bundle may name its variant: `x.bundle:fp32`. `threads` may be `auto`: 1, 2, 4 and so on
    up to the CPUs that the device's worker may use. See `Case` for the rest.
    """

    bundles: tuple[str, ...]
    variants: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    batches: tuple[int, ...] = (1,)
    threads: tuple[int | None, ...] | Literal["auto"] = (None,)
    spinning: tuple[bool | None, ...] = (None,)
    arena: tuple[bool | None, ...] = (None,)
    modes: tuple[Mode, ...] = ("model",)
    open_loop: OpenLoop | None = None
    sustained_s: float | None = None
    sizes: tuple[tuple[str, int], ...] = ()
    launches: int = DEFAULT_LAUNCHES
    least_s: float = 0.5
    seed: int = 0


class Side(Struct, frozen=True):
    """A row's place in an `A vs B` run: which pair it is of, and what in it.

    `again` is A launched a second time: what equal files differ by.
    """

    pair: int
    role: Literal["a", "again", "b"]


class Row(Struct, frozen=True):
    """All launches of one case, or the error that ended them.

    Measurement i is of round i, which every row of the run shares: a case that fails is not
    launched again, so a row is cut short but never has a gap. `ended` is when the run did, in
    UTC by ISO 8601; empty where an older edgedl measured. `interrupted` says that a person or
    a signal ended the run before every launch was done.
    """

    case: Case
    measurements: tuple[Measurement, ...]
    failure: Failure | None = None
    schema_version: int = ROWS_SCHEMA
    side: Side | None = None
    ended: str = ""
    interrupted: bool = False

    def wrong_answers(self) -> list[str]:
        """What parity found in the launches' first runs; empty where they answered rightly."""
        return [reason for m in self.measurements for reason in failures(m.parity)]

    @property
    def invalid(self) -> list[str]:
        """Why its timings can't be trusted: the machine throttled, say; see docs/bench.md."""
        return reasons_invalid(self.health)

    @property
    def health(self) -> list[Report]:
        """The machine's in every launch, where it was watched."""
        return [m.health for m in self.measurements if m.health is not None]


def plan_cases(request: BenchRequest) -> list[Case]:
    """One case per combination, in a table's order; what is asked for twice is one case.

    Raises:
        BundleError: A bundle or variant isn't there.
        InputError: A batch size is asked of a bundle whose batch is fixed, or the whole task
            of a bundle that has none, or of a batch.
        DeviceError: The device can't tell how many CPUs it has, for `threads="auto"`.
    """
    cases: list[Case] = []
    known: set[str] = set()
    for target, device in itertools.product(request.bundles, request.devices):
        path, variants = split_target(target, request.variants)
        manifest = open_bundle(path).manifest
        known.update(dynamic_axes(manifest.inputs))
        found = _cases_of(Path(path), manifest, variants, device, request)
        cases += [case for case in found if case not in cases]
    unknown = [name for name, _ in request.sizes if name not in known]
    if unknown:
        axes_known = ", ".join(sorted(known)) or "none"
        raise InputError(f"no dynamic axis is called {unknown[0]!r}", f"there are: {axes_known}")
    return cases


def _cases_of(
    path: Path,
    manifest: Manifest,
    variants: Sequence[str],
    device: str,
    request: BenchRequest,
) -> Iterator[Case]:
    """The cases of one bundle on one device."""
    axes = dynamic_axes(manifest.inputs)
    if "batch" not in axes and request.batches != (1,):
        raise InputError(f"{path} has a fixed batch size", "leave out --batch")
    if "app" in request.modes and manifest.task is None:
        raise no_task(manifest.name)
    if "app" in request.modes and request.batches != (1,):
        raise one_at_a_time()
    threads = request.threads if request.threads != "auto" else thread_counts(device)
    sizes = {name: size for name, size in request.sizes if name in axes}
    names = variants or tuple(v.name for v in manifest.variants)
    settings = itertools.product(request.modes, threads, request.spinning, request.arena)
    for variant, batch, setting in itertools.product(names, request.batches, tuple(settings)):
        manifest.variant(variant)
        mode, count, spinning, arena = setting
        yield Case(
            bundle=str(path),
            variant=variant,
            device=device,
            threads=count,
            spinning=spinning,
            arena=arena,
            sizes={**sizes, **({"batch": batch} if "batch" in axes else {})},
            least_s=request.least_s,
            most_s=max(MOST_S, 2 * request.least_s),
            mode=mode,
            open_loop=request.open_loop,
            sustained_s=request.sustained_s,
        )


def thread_counts(device: str) -> tuple[int, ...]:
    """1, 2, 4 and so on, and as many as the CPUs that the device's worker may use.

    Raises:
        EdgedlError: The device can't be asked.
    """
    answer = open_device(device).run(HostRequest(device))
    if isinstance(answer, Failure):
        raise answer.error()
    if not isinstance(answer, HostAnswer):
        raise WorkerError(f"{device} doesn't tell how many CPUs it has", "give --threads 1,2,4")
    cpus = answer.host.cpus
    return (*(1 << power for power in range(cpus.bit_length()) if 1 << power < cpus), cpus)


def split_target(target: str, variants: tuple[str, ...] = ()) -> tuple[str, tuple[str, ...]]:
    """`x.bundle:fp32` as its path and variant; a path alone keeps the variants asked for."""
    path, colon, variant = target.rpartition(":")
    if colon and variant and not Path(target).exists() and Path(path).exists():
        return path, (variant,)
    return target, variants


def launch_on_device(case: Case) -> Answer:
    """A fresh worker on the case's device."""
    return open_device(case.device).run(case)


def run_cases(
    cases: Sequence[Case],
    launches: int = DEFAULT_LAUNCHES,
    seed: int = 0,
    progress: Callable[[Case], None] = lambda case: None,
    launch: Callable[[Case], Answer] = launch_on_device,
    interrupted: Callable[[list[Row]], None] = lambda rows: None,
) -> list[Row]:
    """Launch every case several times, all cases once per round, each round shuffled.

    A case that fails is not launched again; the others' rows are kept.

    Args:
        cases: What to measure.
        launches: Fresh processes per case.
        seed: Of the order.
        progress: Called before every launch.
        launch: Starts a worker; a WorkerError is that case's failure.
        interrupted: Called with what was measured before a KeyboardInterrupt goes on.
    """
    answers: list[list[Answer]] = [[] for _ in cases]
    try:
        for index in _order(len(cases), launches, seed):
            progress(cases[index])
            if not any(isinstance(answer, Failure) for answer in answers[index]):
                answers[index].append(_answer(launch, cases[index]))
    except KeyboardInterrupt:
        interrupted(_rows(cases, answers, interrupted=True))
        raise
    return _rows(cases, answers)


def _order(cases: int, launches: int, seed: int) -> Iterator[int]:
    rng = random.Random(seed)
    for _ in range(launches):
        yield from rng.sample(range(cases), cases)


def _rows(
    cases: Sequence[Case], answers: Sequence[Sequence[Answer]], interrupted: bool = False
) -> list[Row]:
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    rows = []
    for case, given in zip(cases, answers, strict=True):
        measured = tuple(answer for answer in given if isinstance(answer, Measurement))
        failure = next((answer for answer in given if isinstance(answer, Failure)), None)
        rows.append(Row(case, measured, failure, ended=ended, interrupted=interrupted))
    return rows


def _answer(launch: Callable[[Case], Answer], case: Case) -> Answer:
    try:
        return launch(case)
    except WorkerError as error:
        return Failure(error.message, error.hint, error.exit_code)


def encode_rows(rows: Sequence[Row]) -> bytes:
    """Rows as JSON lines, raw samples and the machine included; `invalid` says why one is."""
    lines = [{**structs.asdict(row), "invalid": row.invalid} for row in rows]
    return msgspec.json.Encoder().encode_lines(lines)


def check_timed(rows: Sequence[Row], where: str) -> None:
    """Refuse rows that no statistics can be made of.

    Raises:
        InputError: A launch has no samples, or one of no time.
    """
    for row in rows:
        if any(min(m.samples_ns, default=0) < 1 for m in row.measurements):
            raise InputError(
                f"{where}: {row.case.name} has a launch without times", "measure again"
            )


class _Schema(Struct):
    schema_version: int = 1


def decode_rows(content: bytes, where: str = "the rows") -> list[Row]:
    """Rows from the JSON lines that `encode_rows` makes.

    Args:
        content: A file's bytes.
        where: The file to name in errors.

    Raises:
        InputError: Another version wrote them, or they are no rows.
    """
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            rows.append(_decode_row(line, f"{where}, line {number}"))
    if not rows:
        raise InputError(f"{where}: there are no rows", "write them with edgedl bench --json FILE")
    return rows


def _decode_row(line: bytes, where: str) -> Row:
    try:
        version = msgspec.json.decode(line, type=_Schema).schema_version
        if version != ROWS_SCHEMA:
            age = "an older" if version < ROWS_SCHEMA else "a newer"
            raise InputError(
                f"{where} was written by {age} edgedl (rows of schema {version}, "
                f"this one reads {ROWS_SCHEMA})",
                "measure again with one version of edgedl",
            )
        return msgspec.json.decode(line, type=Row)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{where} is no row of edgedl bench: {one_line(error)}",
            "write rows with edgedl bench --json FILE",
        ) from None


def first_failure(rows: Sequence[Row]) -> EdgedlError | None:
    """The first case that failed or answered wrongly, as an error to end with."""
    for row in rows:
        if row.failure is not None:
            return row.failure.error(f"{row.case.name}: ")
    for row in rows:
        wrong = row.wrong_answers()
        if wrong:
            return ParityError(f"{row.case.name} answers wrongly: {wrong[0]}", "see edgedl parity")
    return None

"""What is fastest on this machine: variant, threads, spinning and arena, found by measuring."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import structs

from edgedl.bench.plan import Row, first_failure
from edgedl.bench.stats import median
from edgedl.runtime.bundle import Bundle
from edgedl.runtime.errors import EdgedlError, InputError
from edgedl.runtime.protocol import Case
from edgedl.runtime.settings import Settings
from edgedl.runtime.tuned import Machine, Tuned

# Of what is within this factor of the fastest, the one that takes least of the machine is
# best: launches of equal files differ by about as much.
LEVEL = 1.03

Measure = Callable[[list[Case]], list[Row]]


@dataclass(frozen=True)
class Sweep:
    """What may be chosen from."""

    variants: tuple[str, ...]
    threads: tuple[int, ...]
    spinning: tuple[bool, ...] = (False, True)
    arena: tuple[bool, ...] = (True, False)


def tune(bundle: Bundle, case: Case, sweep: Sweep, measure: Measure) -> Tuned:
    """Measure what a sweep holds, and choose.

    Two runs: everything but the arena, beside what `load` does untuned; then the best of
    it, with the arena and without, beside that again.

    Args:
        bundle: The bundle.
        case: Where, at what sizes and for how long to measure.
        sweep: What to choose from.
        measure: Launches cases interleaved.

    Raises:
        EdgedlError: A case failed, or no timing can be trusted.
    """
    untuned = _with(case, bundle.manifest.default_variant, Settings().resolved())
    heats = measure(_each_once(untuned, _without_arena(case, sweep)))
    best = fastest(heats).case
    arenas = [structs.replace(best, arena=arena) for arena in sweep.arena]
    finals = measure(_each_once(untuned, [best, *arenas]))
    return _choice(bundle, fastest(finals), finals[0])


def fastest(rows: Sequence[Row]) -> Row:
    """The fastest row whose timings can be trusted; of those level with it, the lightest.

    Raises:
        EdgedlError: No row can be trusted.
    """
    trusted = [row for row in rows if first_failure([row]) is None and not row.invalid]
    if not trusted:
        raise first_failure(rows) or _untrusted(rows)
    limit = LEVEL * min(_p50(row) for row in trusted)
    return min((row for row in trusted if _p50(row) <= limit), key=_weight)


def _untrusted(rows: Sequence[Row]) -> EdgedlError:
    reasons = dict.fromkeys(reason for row in rows for reason in row.invalid)
    return InputError(
        f"no timing can be trusted: {'; '.join(reasons)}", "see to that, and tune again"
    )


def _weight(row: Row) -> tuple[bool, int, bool, float]:
    """What a case takes of the machine; the same, and the faster goes first."""
    case = row.case
    return bool(case.spinning), case.threads or 0, case.arena is False, _p50(row)


def _p50(row: Row) -> float:
    return median([m.samples_ns for m in row.measurements])


def _without_arena(case: Case, sweep: Sweep) -> list[Case]:
    """Every variant and number of threads; one thread alone never spins."""
    return [
        _with(case, variant, Settings(threads, spinning, arena=True))
        for variant, threads in itertools.product(sweep.variants, sweep.threads)
        for spinning in (sweep.spinning if threads > 1 else (False,))
    ]


def _with(case: Case, variant: str, settings: Settings) -> Case:
    return structs.replace(case, variant=variant, **structs.asdict(settings))


def _each_once(first: Case, others: Sequence[Case]) -> list[Case]:
    cases = [first]
    for case in others:
        if case not in cases:
            cases.append(case)
    return cases


def _choice(bundle: Bundle, best: Row, untuned: Row) -> Tuned:
    case, host = best.case, best.measurements[0].host
    version = host.versions.get("onnxruntime") or host.versions.get("onnxruntime-gpu", "")
    return Tuned(
        bundle=bundle.manifest.seal,
        device=case.device,
        machine=Machine(host.processor, host.cpus, version),
        variant=case.variant,
        settings=Settings(case.threads, case.spinning, case.arena),
        median_ns=round(_p50(best)),
        default_ns=round(_p50(untuned)),
    )

"""A measured case's first answer beside the golden one: a wrong one has no timing."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from edgedl.runtime.bundle import Bundle
from edgedl.runtime.flips import golden_spreads
from edgedl.runtime.golden import Arrays, GoldenVectors
from edgedl.runtime.manifest import GoldenCase, OutputParity, Tolerance
from edgedl.runtime.parity import answer_outputs, check_parity, classes_of
from edgedl.runtime.protocol import Case
from edgedl.runtime.tally import CASE_MARGIN_DB


def check_answer(
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

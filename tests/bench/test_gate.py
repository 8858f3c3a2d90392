"""What the gate for CI lets through."""

from __future__ import annotations

import pytest

from edgedl.bench.compare import Compared, Comparison, Verdict
from edgedl.bench.gate import Gate
from edgedl.bench.stats import Ratio


def compared(
    low: float, high: float, verdict: Verdict = "inconclusive", same_machine: bool = True
) -> Comparison:
    ratio = Ratio((low * high) ** 0.5, low, high)
    cautions = () if same_machine else ("processor: N100 in A, N200 in B",)
    return Comparison("digits fp32", "A", "B", verdict, "", (5, 5), True, 1.05, 1.0, 1.0, ratio,
                      1.01, 17, same_machine, cautions)  # fmt: skip


INVALID = Comparison("digits int8", "A", "B", "invalid", "B: throttled", (5, 5), True, 1.05)


def code(gate: Gate, *comparisons: Comparison, only_a: tuple[str, ...] = ()) -> int:
    error = gate.check(Compared(comparisons, only_a))
    return 0 if error is None else error.exit_code


@pytest.mark.parametrize(
    ("comparison", "usual", "strict"),
    [
        (compared(0.7, 0.8, "faster"), 0, 0),
        (compared(0.98, 1.02), 0, 0),
        (compared(1.01, 1.04, "slower"), 0, 0),
        (compared(0.9, 1.2), 0, 3),
        (compared(1.02, 1.09, "slower"), 0, 3),
        (compared(1.06, 1.09, "slower"), 3, 3),
        (compared(1.06, 1.20, "inconclusive"), 0, 3),  # equal files differ as much
        (INVALID, 1, 3),
    ],
)
def test_a_gate_fails_on_what_is_shown_and_strictly_on_what_is_not(
    comparison: Comparison, usual: int, strict: int
) -> None:
    assert code(Gate(0.05), comparison) == usual
    assert code(Gate(0.05, strict=True), comparison) == strict


def test_the_worst_of_several_is_named() -> None:
    error = Gate(0.05).check(
        Compared((compared(1.1, 1.2, "slower"), compared(1.5, 1.6, "slower"), INVALID))
    )
    assert error is not None
    assert error.message.startswith("slower by more than 5 %: digits fp32: B takes 1.55 (1.50 - 1.")
    assert error.message.endswith("(and 1 more)")


def test_a_case_that_is_invalid_beside_others_is_let_through_unless_strict() -> None:
    fine = compared(0.98, 1.02)
    assert code(Gate(0.05), fine, INVALID) == 0
    assert code(Gate(0.05, strict=True), fine, INVALID) == 3


def test_a_case_that_b_lacks_is_let_through_unless_strict() -> None:
    fine = compared(0.98, 1.02)
    assert code(Gate(0.05), fine, only_a=("digits int8",)) == 0
    assert code(Gate(0.05, strict=True), fine, only_a=("digits int8",)) == 3


def test_strictness_says_how_many_launches_would_tell() -> None:
    error = Gate(0.05, strict=True).check(Compared((compared(0.9, 1.2),)))
    assert error is not None
    assert "not shown to be within 5 %" in error.message
    assert "--launches 17" in error.hint


def test_two_machines_are_no_gate() -> None:
    error = Gate(0.05).check(Compared((compared(1.5, 1.6, "slower", same_machine=False),)))
    assert error is not None
    assert error.exit_code == 1
    assert "N100 in A, N200 in B" in error.message
    assert "vs" in error.hint

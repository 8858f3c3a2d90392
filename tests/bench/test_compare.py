"""Verdicts on made-up measurements whose ratio is known, and on processes that sleep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from edgedl.bench.compare import Comparison, compare_run, compare_runs, judge
from edgedl.bench.comparison_table import sentence, show_interval, tabulate_comparisons
from edgedl.bench.matching import Names, match_cases, name_pairs
from edgedl.bench.plan import BenchRequest, Row, Side, decode_rows, encode_rows, run_cases
from edgedl.bench.stats import Ratio, paired_ratio
from edgedl.bench.versus import plan_versus
from edgedl.runtime.errors import InputError
from edgedl.runtime.host import Host
from edgedl.runtime.protocol import Case, Failure, OpenLoop
from tests.bench.measurements import HOST, WRONG, health, measurement

FP32, INT8 = Case("x.bundle", "fp32"), Case("x.bundle", "int8")
THROTTLED = health(bits=0x4)


def row(case: Case, centres: Sequence[float], **fields: object) -> Row:
    """One launch per centre, in nanoseconds, of 20 samples."""
    launches = tuple(measurement(case, [round(c)] * 20, **fields) for c in centres)
    return Row(case, launches)


def launches(centre: float, count: int = 8, spread: float = 0.01, seed: int = 0) -> list[float]:
    rng = np.random.default_rng((seed, round(centre)))
    return (1e6 * centre * np.exp(rng.normal(0, spread, count))).tolist()


def versus(factor: float, spread: float = 0.01, count: int = 8) -> list[Row]:
    """A run of fp32 vs int8 with another weather in every round."""
    weather = np.exp(np.random.default_rng(9).normal(0, 0.3, count))
    return [
        structs.replace(
            row(case, weather * launches(scale, count, spread, seed)), side=Side(0, role)
        )
        for seed, (case, role, scale) in enumerate(
            [(FP32, "a", 1.0), (FP32, "again", 1.0), (INT8, "b", factor)]
        )
    ]  # type: ignore[arg-type]


def only(rows: Sequence[Row]) -> Comparison:
    (comparison,) = compare_run(rows).comparisons
    return comparison


def between(ours: Row, theirs: Row, again: Row | None = None) -> Comparison:
    (comparison,) = compare_runs([ours], [theirs], [again] if again else []).comparisons
    return comparison


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.7, "faster"), (1.3, "slower"), (1.0, "inconclusive")]
)
def test_rounds_are_paired_so_their_weather_drops_out(factor: float, verdict: str) -> None:
    comparison = only(versus(factor))
    assert comparison.verdict == verdict
    assert comparison.ratio is not None
    assert comparison.ratio.low <= factor <= comparison.ratio.high
    assert comparison.ratio.high / comparison.ratio.low < 1.1
    assert (comparison.a, comparison.b, comparison.paired) == ("fp32", "int8", True)


def test_a_run_says_the_same_when_it_is_read_back() -> None:
    rows = versus(0.8)
    assert compare_run(decode_rows(encode_rows(rows))) == compare_run(rows)


def test_a_difference_within_what_equal_files_differ_by_is_inconclusive() -> None:
    assert judge(Ratio(1.04, 1.02, 1.06), 1.03) == ("slower", "")
    assert judge(Ratio(1.04, 1.02, 1.06), 1.05)[0] == "inconclusive"
    assert judge(Ratio(0.96, 0.94, 0.98), 1.05)[0] == "inconclusive"
    assert judge(Ratio(0.9, 0.88, 0.92), 1.05) == ("faster", "")
    assert judge(Ratio(1.04, 0.99, 1.09), None) == ("inconclusive", "the interval holds 1")


def test_a_launch_that_failed_ends_its_row_and_the_other_rounds_count() -> None:
    a, again, b = versus(0.5)
    b = structs.replace(b, measurements=b.measurements[:3])
    comparison = only([a, again, b])
    assert (comparison.launches, comparison.verdict) == ((8, 3), "faster")
    assert comparison.ratio is not None
    assert comparison.ratio.high / comparison.ratio.low < 1.2  # the first 3 rounds, paired


def test_one_launch_has_no_verdict() -> None:
    comparison = only(versus(0.5, count=1))
    assert (comparison.verdict, comparison.ratio) == ("inconclusive", None)
    assert "two launches" in sentence(comparison)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"parity": (WRONG,)}, "answers wrongly"), ({"health": THROTTLED}, "throttling")],
)
def test_timings_that_can_not_be_trusted_have_no_verdict(
    fields: dict[str, object], reason: str
) -> None:
    bad = row(INT8, launches(0.5), **fields)
    comparison = between(row(FP32, launches(1)), bad)
    assert (comparison.verdict, comparison.ratio) == ("invalid", None)
    assert reason in comparison.reason
    assert comparison.reason.startswith("int8: ")
    assert reason in sentence(comparison)


def test_a_case_that_failed_has_no_verdict() -> None:
    failed = Row(INT8, (), Failure("out of memory", "", 1))
    comparison = between(row(FP32, launches(1)), failed)
    assert (comparison.verdict, comparison.reason) == ("invalid", "int8: out of memory")


@pytest.mark.parametrize(("factor", "verdict"), [(0.7, "faster"), (1.4, "slower")])
def test_two_runs_are_compared_without_pairing(factor: float, verdict: str) -> None:
    comparison = between(row(FP32, launches(1, 5)), row(FP32, launches(factor, 9)))
    assert (comparison.verdict, comparison.paired, comparison.noise) == (verdict, False, None)
    assert comparison.launches == (5, 9)
    assert comparison.ratio is not None
    assert comparison.ratio.low <= factor <= comparison.ratio.high


def test_a_third_run_tells_what_two_runs_of_equal_files_differ_by() -> None:
    a, b = row(FP32, launches(1)), row(FP32, launches(1.1))
    assert between(a, b).verdict == "slower"
    again = between(a, b, row(FP32, launches(1.12)))
    assert again.verdict == "inconclusive"
    assert again.noise == pytest.approx(1.12, abs=0.03)


def test_a_run_of_a_vs_b_brings_its_own_noise() -> None:
    rows = versus(1.0)
    compared = compare_runs(rows, [row(FP32, launches(0.5)), row(INT8, launches(0.5))])
    noises = {c.case: c.noise for c in compared.comparisons}
    assert noises["x fp32"] == only(rows).noise
    assert noises["x int8"] is None


def test_cases_that_one_run_lacks_are_told() -> None:
    a = [row(FP32, launches(1)), row(INT8, launches(0.5))]
    compared = compare_runs(a, [row(FP32, launches(1)), row(Case("x.bundle", "fp16"), [1, 2])])
    assert len(compared.comparisons) == 1
    notes = tabulate_comparisons(compared).notes
    assert any(n.startswith("only in A, not compared: x int8") for n in notes)
    assert any(n.startswith("only in B, not compared: x fp16") for n in notes)


def test_runs_without_a_case_in_common_are_refused() -> None:
    a = [row(FP32, [1, 2]), row(INT8, [1, 2])]
    b = [row(Case("x.bundle", name), [1, 2]) for name in ("fp16", "int4")]
    with pytest.raises(InputError, match="no case is on both sides: A has x fp32"):
        compare_runs(a, b)


def test_rows_of_no_a_vs_b_run_need_another_file() -> None:
    with pytest.raises(InputError, match="no A vs B run") as caught:
        compare_run([row(FP32, [1, 2])])
    assert "B.json" in caught.value.hint


def on(host: Host, centre: float) -> Row:
    made = row(FP32, launches(centre))
    return structs.replace(
        made, measurements=tuple(structs.replace(m, host=host) for m in made.measurements)
    )


def test_another_machine_marks_the_verdict() -> None:
    comparison = between(row(FP32, launches(1)), on(structs.replace(HOST, processor="N100"), 0.5))
    assert (comparison.verdict, comparison.same_machine) == ("faster", False)
    assert comparison.cautions == ("processor: Cortex-A72 in A, N100 in B",)
    assert "faster, on different machines" in sentence(comparison)


def test_other_versions_settings_and_durations_are_cautions() -> None:
    newer = structs.replace(HOST, versions={"onnxruntime": "1.21"}, cpus=2)
    longer = structs.replace(on(newer, 1), case=structs.replace(FP32, least_s=2.0))
    comparison = between(row(FP32, launches(1)), longer)
    assert comparison.same_machine
    assert comparison.cautions == (
        "cpus: 4 in A, 2 in B",
        "onnxruntime: 1.20 in A, 1.21 in B",
        "least time: 0.5 s in A, 2 s in B",
    )
    compared = compare_runs([row(FP32, launches(1))], [longer])
    assert "differs: cpus: 4 in A, 2 in B" in tabulate_comparisons(compared).notes


def test_a_sentence_says_which_takes_how_much_of_whose_time() -> None:
    said = sentence(only(versus(0.7)))
    assert said.startswith("x: int8 takes 0.")
    assert " of fp32's time: faster; equal files differ by up to 1.0" in said


def test_an_inconclusive_sentence_says_how_many_launches_it_takes() -> None:
    comparison = only(versus(1.0, spread=0.05))
    assert comparison.verdict == "inconclusive"
    assert comparison.launches_to_tell is not None
    assert comparison.launches_to_tell > 8
    said = sentence(comparison)
    assert f"to tell 5 % apart takes about {comparison.launches_to_tell} launches of each" in said


def test_a_twin_that_varies_more_says_that_more_launches_are_needed() -> None:
    a, _, b = versus(1.0, spread=0.005)
    wild = structs.replace(row(FP32, launches(1, spread=0.1, seed=5)), side=Side(0, "again"))
    comparison = only([a, wild, b])
    assert comparison.launches_to_tell is not None
    assert comparison.launches_to_tell > 30
    assert "to tell 5 % apart takes about" in sentence(comparison)


def test_an_inconclusive_sentence_of_launches_enough_says_so() -> None:
    comparison = only(versus(1.0, spread=0.005))
    assert comparison.verdict == "inconclusive"
    assert sentence(comparison).endswith("5 % would most likely have been told")


def test_equal_files_are_told_apart_in_less_than_1_percent_of_runs() -> None:
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(2000):
        a, again, b = np.exp(rng.normal(0, 0.03, (3, 5))).tolist()
        ratio, noise = paired_ratio(b, a), paired_ratio(again, a)
        assert noise is not None
        told += judge(ratio, noise.reach)[0] != "inconclusive"
    assert told / 2000 <= 0.01


def test_a_vs_b_launches_both_and_a_again(classifier_bundle: Path) -> None:
    path = str(classifier_bundle)
    plan = plan_versus(BenchRequest((path,), batches=(1, 2)), [path])
    assert [side.role for side in plan.sides] == ["a", "again", "b"] * 4
    assert [c.name for c in plan.cases[:3]] == ["fp32", "fp32 again", "fp32"]
    assert [c.sizes for c in plan.cases[:6:3]] == [{"batch": 1}, {"batch": 2}]
    one = plan_versus(BenchRequest((f"{path}:fp32",)), [f"{path}:rounded"])
    assert [c.variant for c in one.cases] == ["fp32", "fp32", "rounded"]
    alone = plan_versus(BenchRequest((path,)), [f"{path}:rounded"])
    assert len(alone.cases) == 3
    assert [name.split()[1] for name in alone.only_a] == ["fp32"]


SLEEPS = """
import time
def short(inputs, threads):
    return lambda: time.sleep(0.015)
def long(inputs, threads):
    return lambda: time.sleep(0.3)
"""


def test_a_process_that_takes_twenty_times_as_long_is_slower(
    classifier_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "sleeps.py").write_text(SLEEPS)
    cases = [
        Case(str(classifier_bundle), "fp32", label=name, subject=f"{tmp_path}/sleeps.py:{name}",
             warmup_s=0, least_s=0.0, least_count=3)
        for name in ("short", "short", "long")
    ]  # fmt: skip
    rows = [
        structs.replace(r, side=Side(0, role))  # type: ignore[arg-type]
        for r, role in zip(run_cases(cases, launches=3), ("a", "again", "b"), strict=True)
    ]
    comparison = only(rows)
    # Twenty times, so that a busy machine can't hide it; one that is overloaded may say so.
    unsound = [reason for r in rows for reason in r.invalid]
    assert comparison.verdict == ("invalid" if unsound else "slower"), comparison


def test_an_interval_of_any_width_stays_short() -> None:
    assert show_interval(Ratio(0.98, 0.975, 0.985)) == "0.980 (0.975 - 0.985)"
    assert show_interval(Ratio(1.5, 0.0001, 1e90)) == "1.50 (0.00 - 1e+90)"


def test_only_what_was_chosen_of_a_loop_is_in_a_name() -> None:
    slow, fast = (Case("x.bundle", "fp32", open_loop=OpenLoop(rate)) for rate in (10.0, 20.0))
    assert name_pairs([(slow, fast)]) == [Names("x fp32", "rate 10.0", "rate 20.0")]
    late = Case("x.bundle", "fp32", open_loop=OpenLoop(10.0, deadline_s=0.5))
    assert match_cases([slow, late], [late]).only_a == ("x fp32 cpu rate 10.0 deadline_s default",)
